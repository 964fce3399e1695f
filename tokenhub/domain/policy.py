"""The one policy table: every knob of a request, who may set it, and how that is merged.

A knob is a row: name, how its value is read and shown, which levels set it, how a key's ceiling bounds it. Levels are
merged in the order of LEVELS, then the ceilings of the key are applied, and the result says who set each value. A new
limit or option is a row here, never a new `if`. How values are read is in `policy_values.py`.

`docs/policy.md` is printed from the table by `policy_document.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenhub.domain import policy_values as values
from tokenhub.domain.catalog import MAX_WEIGHT
from tokenhub.domain.policy_values import FALLBACKS as FALLBACKS
from tokenhub.domain.policy_values import MAX_BUDGET_USD, WORDS_OF_FALLBACK, Reader
from tokenhub.domain.policy_values import MODES as MODES
from tokenhub.errors import InvalidRequest

Level = Literal["server", "admin", "key", "header", "request"]
LEVELS: dict[Level, str] = {
    "server": "the environment of the server",
    "admin": "`/admin/v1/routing-config`",
    "key": "the API key's `policy`",
    "header": "a header of the request",
    "request": "the body of the request",
}
"""From the weakest to the strongest. Under all of them is "default", the table; above all is "key_ceiling"."""
TEXT_LEVELS = frozenset({"server", "header"})
"""Levels whose values are text."""
HARD_LEVELS = frozenset({"key", "header", "request", "key_ceiling"})
"""Levels that demand. The others only prefer: what they set is put aside where nothing else would be left."""
MAX_LATENCY_MS = 300_000


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How far a key lets a value go: `apply` brings a value (first) within a ceiling that `read` took."""

    read: Reader
    apply: Callable[[Any, Any], Any]
    about: str


@dataclass(frozen=True, slots=True)
class Knob:
    """One row. `read` takes JSON and `read_text` text; both give the inner value, or raise ValueError saying what is
    accepted. `show` gives the JSON of an inner value (or ceiling)."""

    name: str
    unit: str
    """What its number counts, or what its word is."""
    accepted: str
    about: str
    read: Reader
    read_text: Reader
    show: Callable[[Any], Any]
    default: Any
    """Inner."""
    ceiling: Ceiling | None
    levels: frozenset[Level] = frozenset(LEVELS)

    @property
    def header(self) -> str:
        """The header that sets it."""
        return header_of(self.name)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"TOKENHUB_DEFAULT_{self.name.upper()}"

    @property
    def default_text(self) -> str:
        """The default as that variable would say it."""
        return f"{self.show(self.default)}"


def header_of(name: str) -> str:
    """The header that sets the knob of this name."""
    return f"x-tokenhub-{name.replace('_', '-')}"


_latency, _weight = values.integer(0, MAX_LATENCY_MS), values.integer(0, MAX_WEIGHT)

TABLE: tuple[Knob, ...] = (
    Knob(
        name="mode",
        unit="mode",
        accepted=", ".join(MODES),
        about="How to weigh cost against quality, latency and failures",
        read=values.mode,
        read_text=values.mode,
        show=values.as_it_is,
        default="normal",
        ceiling=Ceiling(values.modes, values.one_of, "an array of allowed modes; the first stands in for others"),
    ),
    Knob(
        name="max_budget_usd",
        unit="USD",
        accepted=f"0 to {MAX_BUDGET_USD}; 0: no limit",
        about="Most that one request may cost, as estimated",
        read=values.budget,
        read_text=values.budget_text,
        show=values.budget_json,
        default=50_000_000,
        ceiling=Ceiling(values.limit(values.budget), values.at_most, "a larger value, or none, becomes this one"),
    ),
    Knob(
        name="max_latency_ms",
        unit="ms",
        accepted=f"0 to {MAX_LATENCY_MS}; 0: no limit",
        about="Longest that an answer may take; one that a request or key sets is a deadline",
        read=_latency,
        read_text=values.integer_text(0, MAX_LATENCY_MS),
        show=values.as_it_is,
        default=20_000,
        ceiling=Ceiling(values.limit(_latency), values.at_most, "a larger value, or none, becomes this one"),
    ),
    Knob(
        name="min_weight",
        unit="weight",
        accepted=f"0 to {MAX_WEIGHT}",
        about="Least weight that a model must have",
        read=_weight,
        read_text=values.integer_text(0, MAX_WEIGHT),
        show=values.as_it_is,
        default=0,
        ceiling=Ceiling(values.limit(_weight), values.at_least, "a smaller value becomes this one"),
    ),
    Knob(
        name="fallback",
        unit="models",
        accepted=f"{WORDS_OF_FALLBACK}, or a list of models (as text: names with commas between them)",
        about="What is tried when the model that was asked for fails: any other, the same model at another provider, "
        "nothing, or these models in this order",
        read=values.fallback,
        read_text=values.fallback_text,
        show=values.fallback_json,
        default="any",
        ceiling=Ceiling(
            values.widest_fallback, values.no_wider, f"one of {WORDS_OF_FALLBACK}; what is wider becomes this one"
        ),
    ),
)
ROWS: Mapping[str, Knob] = {knob.name: knob for knob in TABLE}
CEILINGS: Mapping[str, Ceiling] = {knob.name: knob.ceiling for knob in TABLE if knob.ceiling is not None}


# ---------------------------------------------------------------- what is merged


@dataclass(frozen=True, slots=True)
class Setting:
    """A knob's value, the level that set it, and the ceiling of the key, where it has one."""

    value: Any
    set_by: str
    ceiling: Any = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The merged result for one request."""

    settings: Mapping[str, Setting]
    _told: Mapping[str, Any] | None = field(init=False, repr=False, compare=False, default=None)

    def __getitem__(self, name: str) -> Any:
        return self.settings[name].value

    def set_by(self, name: str) -> str:
        """Which level set this knob."""
        return self.settings[name].set_by

    def is_hard(self, name: str) -> bool:
        """Whether the value is demanded; if not it is a wish, put aside where nothing else would be left."""
        return self.settings[name].set_by in HARD_LEVELS

    def hard(self, name: str) -> Any:
        """What may not be broken even where a wish is put aside: the value where it is demanded, else the ceiling of
        the key; None where nothing is."""
        setting = self.settings[name]
        return setting.value if setting.set_by in HARD_LEVELS else setting.ceiling

    def as_json(self) -> Mapping[str, Any]:
        """Each value as callers write it, who set it, and the key's ceiling where there is one. Not to be changed: made
        once, as most requests have the same policy and each of their receipts tells it."""
        if self._told is None:
            object.__setattr__(self, "_told", {name: _told(name, setting) for name, setting in self.settings.items()})
        return self._told or {}


def _told(name: str, setting: Setting) -> dict[str, Any]:
    show = ROWS[name].show
    ceiling = {} if setting.ceiling is None else {"ceiling": show(setting.ceiling)}
    return {"value": show(setting.value), "set_by": setting.set_by, **ceiling}


DEFAULTS = Policy({knob.name: Setting(knob.default, "default") for knob in TABLE})


class Terms:
    """What an API key says of the policy table, in JSON values: its own, and the ceilings of its requests.

    Remembers what it made of the defaults that it met last, so that most requests merge nothing.
    """

    __slots__ = ("_ceilings", "_met", "_values")

    def __init__(self, own: Mapping[str, Any], ceilings: Mapping[str, Any]) -> None:
        self._values = own
        self._ceilings = ceilings
        self._met: tuple[Policy, Policy, Policy, Mapping[str, Any]] | None = None

    def over(self, base: Policy) -> tuple[Policy, Policy, Mapping[str, Any]]:
        """The key's values over the defaults: without and with its ceilings; and the ceilings, read."""
        met = self._met
        if met is None or met[0] is not base:
            read = read_ceilings(self._ceilings)
            merged = merge(base, "key", self._values)
            met = self._met = (base, merged, Policy(_bounded(merged.settings, read)), read)
        return met[1:]


NO_TERMS = Terms({}, {})
"""Those of a key that says nothing."""


def merge(base: Policy, level: Level, given: Mapping[str, Any]) -> Policy:
    """Lay one level's values over what came before. Raises InvalidRequest naming the knob and what it takes."""
    return Policy(_laid(base.settings, level, given)) if given else base


def resolve(base: Policy, terms: Terms, headers: Mapping[str, str], body: Mapping[str, Any]) -> Policy:
    """The policy of one request over the server's defaults: its key, its headers, its body, and the ceilings of its
    key. Raises InvalidRequest naming the knob and what it takes."""
    if terms is NO_TERMS:
        return base if not headers and not body else merge(merge(base, "header", headers), "request", body)
    own, bounded, ceilings = terms.over(base)
    if not headers and not body:
        return bounded
    return Policy(_bounded(merge(merge(own, "header", headers), "request", body).settings, ceilings))


def read_ceilings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Ceilings, read. Raises InvalidRequest naming the knob and what it takes."""
    return {name: _read(name, "policy_ceilings.", value, CEILING_READERS) for name, value in given.items()}


def readers(level: Level) -> dict[str, Reader]:
    """How the values of a level are read, by row."""
    known = [knob for knob in TABLE if level in knob.levels]
    return {knob.name: knob.read_text if level in TEXT_LEVELS else knob.read for knob in known}


CEILING_READERS: Mapping[str, Reader] = {name: ceiling.read for name, ceiling in CEILINGS.items()}
_READERS: Mapping[Level, Mapping[str, Reader]] = {level: readers(level) for level in LEVELS}


def _laid(settings: Mapping[str, Setting], level: Level, given: Mapping[str, Any]) -> dict[str, Setting]:
    laid, known = dict(settings), _READERS[level]
    where = "" if level == "header" else "policy."
    for name, value in given.items():
        laid[name] = Setting(_read(name, where, value, known), level)
    return laid


def _read(name: str, where: str, value: Any, known: Mapping[str, Reader]) -> Any:
    """`where`: what the name stands behind in the place it came from; "" is its header."""
    param = where + name if where else header_of(name)
    if name not in known:
        raise InvalidRequest(f"policy has no {name!r}; it takes {', '.join(known)}", param=param)
    try:
        return known[name](value)
    except ValueError as error:
        told = str(error)
        raise InvalidRequest(told if told.startswith(name) else f"{name} {told}", param=param) from error


def _bounded(settings: Mapping[str, Setting], ceilings: Mapping[str, Any]) -> dict[str, Setting]:
    bounded = dict(settings)
    for name, ceiling in ceilings.items():
        had = settings[name]
        value = CEILINGS[name].apply(had.value, ceiling)
        bounded[name] = Setting(value, had.set_by if value == had.value else "key_ceiling", ceiling)
    return bounded
