"""Which targets may answer a request at all; every one that may not has its reason, worked out when it is looked at.

What a caller or their key demands is hard. What the server only prefers is set aside where nothing else is left. The
reasons themselves are in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from tokenhub.domain.catalog import MAX_WEIGHT, Facts, Flags, Positions, Target
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.checks import CHECKS, Check, Needs, needed_capabilities
from tokenhub.domain.checks import Prepared as Prepared
from tokenhub.domain.observed import ALL, Observations, Picked

CALLER_REASONS = frozenset(
    {
        "not_allowed",
        "weight_below_minimum",
        "context_overflow",
        "capability_missing",
        "price_unknown",
        "cost_unbounded",
        "budget_exceeded",
        "latency_exceeded",
    }
)
"""Reasons that the caller's own limits are behind; the others are the server's (health, configuration)."""


_BY_REASON = {check.reason: check for check in CHECKS}
WISHES = {
    "min_weight": ("default_weight", _BY_REASON["weight_below_minimum"]),
    "max_budget_usd": ("default_budget", _BY_REASON["budget_exceeded"]),
    "max_latency_ms": ("default_latency", _BY_REASON["latency_exceeded"]),
}
"""Rows of the policy that the server may wish for only: under which reason, and how they are checked."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a model is not tried."""

    model_id: str
    provider_id: str
    reason: str
    detail: str = ""

    def as_json(self) -> JsonObject:
        """As receipts and simulations show it."""
        return {
            "model": self.model_id,
            "provider": self.provider_id,
            "reason": self.reason,
            "detail": self.detail,
        }


@dataclass(slots=True)
class Candidate:
    """A target that may answer."""

    target: Target
    estimate_nanousd: int | None
    """None: the price is not known."""
    bound_nanousd: int
    """What is reserved for an attempt on a budgeted key; 0 for other keys, whose spend has no cap to keep."""
    score: float = 0.0
    """Lower is better: the sum of `parts`."""
    parts: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    """Of cost, latency, errors and weight."""
    predicted_ms: int | None = None
    """How long the answer will probably take; None: nothing was seen of it yet."""


class Rejections(Sequence[Rejection]):
    """The targets that are not tried, in the catalog's order; each is described when it is looked at."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._grounds: list[tuple[str, Check, Needs]] = []
        self._codes: npt.NDArray[np.int8] | None = None
        """Of each target: 0, or which of the grounds, counted from 1, it is rejected on. None: nothing is."""
        self._positions: list[int] | None = None

    @property
    def left(self) -> Flags | None:
        """Which targets are not rejected; None: all."""
        return None if self._codes is None else self._codes == 0

    def add(self, reason: str, check: Check, needs: Needs, fails: Flags) -> None:
        """Reject what fails and was not rejected before."""
        self._grounds.append((reason, check, needs))
        if self._codes is None:
            self._codes = np.zeros(len(fails), np.int8)
        self._codes[fails & (self._codes == 0)] = len(self._grounds)

    @property
    def reasons(self) -> set[str]:
        """Every reason that somebody is rejected for."""
        used = () if self._codes is None else np.unique(self._codes).tolist()
        return {self._grounds[code - 1][0] for code in used if code}

    @property
    def positions(self) -> list[int]:
        """Where the rejected targets are in the catalog."""
        if self._positions is None:
            self._positions = [] if self._codes is None else np.flatnonzero(self._codes).tolist()
        return self._positions

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> Rejection: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rejection]: ...
    def __getitem__(self, index: int | slice) -> Rejection | list[Rejection]:
        if isinstance(index, slice):
            return [self._describe(position) for position in self.positions[index]]
        return self._describe(self.positions[index])

    def __add__(self, more: Iterable[Rejection]) -> list[Rejection]:
        return [*self, *more]

    def _describe(self, position: int) -> Rejection:
        assert self._codes is not None  # noqa: S101 - for the type checker: there are no positions without codes.
        reason, check, needs = self._grounds[self._codes[position] - 1]
        target = self._facts.targets[position]
        return Rejection(target.model.id, target.provider.id, reason, check.detail(needs, target, position))


@dataclass(slots=True)
class Eligible:
    """The targets that may answer, and why the others may not."""

    needs: Needs
    positions: Picked
    """Where they are in the catalog."""
    count: int
    rejections: Rejections
    set_aside: tuple[str, ...]
    """Wishes of the server's that would have left nothing."""
    clamped: Mapping[str, tuple[int, int]]
    """Rows of the policy that ask for more than there is: what was asked, what is used instead."""

    def at(self, picked: Positions) -> Positions:
        """Where in the catalog some of them are, given by their numbers from 0 to `count`."""
        return picked if isinstance(self.positions, slice) else self.positions[picked]

    def find(self, model_ids: Iterable[str]) -> list[int]:
        """The numbers of these models, in the order given; those that are not eligible are left out."""
        known = self.needs.facts.positions
        wanted = [known[model_id] for model_id in model_ids if model_id in known]
        if isinstance(self.positions, slice) or not wanted:
            return wanted
        numbers = np.searchsorted(self.positions, wanted).tolist()
        last = self.count - 1
        return [n for n, position in zip(numbers, wanted, strict=True) if n <= last and self.positions[n] == position]


def eligible(
    prepared: Prepared, facts: Facts, observed: Observations, ready: Set[str], spared: Iterable[str] = ()
) -> Eligible:
    """Find the targets that may answer. `ready`: providers with a usable client. `spared`: models that the caller
    named, which the server's wishes do not keep from them."""
    command, policy = prepared.command, prepared.policy
    estimates = observed.estimates_nanousd(prepared.input_tokens, command.max_output_tokens, command.choices)
    needs = Needs(prepared, facts, observed, ready, estimates, needed_capabilities(command, facts))
    asked = policy["min_weight"]
    best = _best_weight(needs) if asked else MAX_WEIGHT
    needs.demand(policy.hard, best)
    rejections = Rejections(facts)
    for check in CHECKS:
        if check.applies(needs):
            rejections.add(check.reason, check, needs, check.fails(needs))
    set_aside = _grant_wishes(needs, best, rejections, spared)
    left = rejections.left
    positions: Picked = ALL if left is None else np.flatnonzero(left)
    count = len(facts.targets) if isinstance(positions, slice) else len(positions)
    return Eligible(
        needs, positions, count, rejections, set_aside, {"min_weight": (asked, best)} if asked > best else {}
    )


def _best_weight(needs: Needs) -> int:
    """The greatest weight that the caller can have at all."""
    if not needs.allowed:
        return needs.facts.best_weight
    allowed = needs.facts.of_models(needs.allowed) & needs.facts.offered
    return int(needs.facts.weights[allowed].max(initial=0))


def _grant_wishes(needs: Needs, best_weight: int, rejections: Rejections, spared: Iterable[str]) -> tuple[str, ...]:
    """Reject what is beyond the server's wishes; gives those that were set aside, as they would leave nothing."""
    policy = needs.prepared.policy
    wishes = Needs(needs.prepared, needs.facts, needs.observed, needs.ready, needs.estimates)
    wishes.demand(lambda name: None if policy.is_hard(name) else policy[name], best_weight)
    set_aside = []
    for name, (reason, check) in WISHES.items():
        if check.applies(wishes):
            fails = check.fails(wishes) & ~needs.facts.of_models(spared)
            left = rejections.left
            if (~fails if left is None else left & ~fails).any():
                rejections.add(reason, check, wishes, fails)
            elif left is None or left.any():
                set_aside.append(name)
    return tuple(set_aside)
