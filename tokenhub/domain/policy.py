"""The one policy table: every knob that a request or the server can set.

A knob is a row: name, how its value is read, which levels set it. Levels are merged in the order of LEVELS, and
the result says who set each value. A new limit or option is a row here, never a new `if`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tokenhub.domain.catalog import MAX_WEIGHT
from tokenhub.domain.money import nanousd
from tokenhub.errors import InvalidRequest

Level = Literal["server", "request"]
LEVELS: tuple[Level, ...] = ("server", "request")

MODES = ("cheap", "normal", "high_confidence", "planning", "adversarial")
MAX_BUDGET_USD = 100
MAX_LATENCY_MS = 300_000


def _mode(value: Any) -> str:
    if value == "thompson":
        raise ValueError("mode 'thompson' is not available yet")
    if value not in MODES:
        raise ValueError(f"must be one of {', '.join(MODES)}")
    return str(value)


def _budget(value: Any) -> int | None:
    try:
        amount = nanousd(value)
    except ValueError as error:
        raise ValueError(f"must be between 0 and {MAX_BUDGET_USD}") from error
    if amount > nanousd(MAX_BUDGET_USD):
        raise ValueError(f"must be between 0 and {MAX_BUDGET_USD}")
    return amount or None


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be an integer between {low} and {high}")
        return value

    return read


@dataclass(frozen=True, slots=True)
class Knob:
    """One row: `read` turns an outside value into the inner one or raises ValueError saying what is accepted."""

    name: str
    unit: str
    read: Callable[[Any], Any]
    default: Any
    levels: frozenset[Level]
    about: str


_BOTH: frozenset[Level] = frozenset(("server", "request"))

TABLE: tuple[Knob, ...] = (
    Knob("mode", "", _mode, "normal", _BOTH, "What to weigh: " + ", ".join(MODES)),
    Knob("max_budget_usd", "USD", _budget, None, _BOTH, "Most this request may cost, as estimated; 0: no limit"),
    Knob("max_latency_ms", "ms", _integer(0, MAX_LATENCY_MS), 0, _BOTH, "Latency wished for; 0: no limit"),
    Knob("min_weight", "", _integer(0, MAX_WEIGHT), 0, frozenset(("request",)), "Least weight a model must have"),
)
ROWS: Mapping[str, Knob] = {knob.name: knob for knob in TABLE}


@dataclass(frozen=True, slots=True)
class Setting:
    """A knob's value and the level that set it; level "default" is the table itself."""

    value: Any
    set_by: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The merged result for one request."""

    settings: Mapping[str, Setting]

    def __getitem__(self, name: str) -> Any:
        return self.settings[name].value

    def set_by(self, name: str) -> str:
        """Which level set this knob."""
        return self.settings[name].set_by


DEFAULTS = Policy({knob.name: Setting(knob.default, "default") for knob in TABLE})


def merge(base: Policy, level: Level, values: Mapping[str, Any]) -> Policy:
    """Lay one level's values over what came before. Raises InvalidRequest naming the knob and what it takes."""
    if not values:
        return base
    settings = dict(base.settings)
    for name, value in values.items():
        knob = ROWS.get(name)
        if knob is None or level not in knob.levels:
            raise InvalidRequest(f"policy has no {name!r}; it takes {', '.join(ROWS)}", param=f"policy.{name}")
        try:
            settings[name] = Setting(knob.read(value), level)
        except ValueError as error:
            raise InvalidRequest(f"{name} {error}", param=f"policy.{name}") from error
    return Policy(settings)
