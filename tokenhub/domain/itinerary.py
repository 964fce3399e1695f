"""Failover as a state machine: which target is tried next, decided from what failed. No I/O, no clock.

An itinerary never returns to a dead end, and ends after MAX_ATTEMPTS. `services/dispatch.py` drives it; sending
and streaming use the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenhub.domain.catalog import Target
from tokenhub.domain.eligibility import Candidate, Rejection
from tokenhub.errors import ContextOverflow, ProviderError

MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: where it goes and why."""

    number: int
    """1 for the first."""
    candidate: Candidate
    reason: str

    @property
    def target(self) -> Target:
        """Where it is sent."""
        return self.candidate.target


@dataclass(slots=True)
class Itinerary:
    """The candidates in the order to try, and every rejection. `first()` once, then `after()` for each failure."""

    candidates: list[Candidate]
    rejections: list[Rejection]
    hinted: bool = False
    """Whether the first candidate is the model that the caller named."""
    tried: list[str] = field(default_factory=list)
    dead_providers: set[str] = field(default_factory=set)
    context_above: int = 0
    """Only models with more context than this still make sense."""

    def first(self) -> Attempt | None:
        """The first attempt; None if there is no candidate."""
        return self._next(None)

    def affordable(self, remaining_nanousd: int) -> Attempt | None:
        """Another first attempt that fits what is left of a budget; None if there is none, or if the caller named
        the model (a named model is not swapped for a cheaper one)."""
        if self.hinted:
            return None
        self.tried.clear()
        fits = [c for c in self.candidates if c.bound_nanousd <= remaining_nanousd]
        self.rejections += [
            Rejection(c.target.model.id, c.target.provider.id, "budget_remaining", "can cost more than is left")
            for c in self.candidates
            if c.bound_nanousd > remaining_nanousd
        ]
        self.candidates = fits
        return self._next(None)

    def after(self, failure: ProviderError) -> Attempt | None:
        """What to try after the last attempt failed so; None: give up."""
        last = self._candidate(self.tried[-1])
        if failure.blame == "caller":
            return None
        if failure.blame == "provider":
            self.dead_providers.add(last.target.provider.id)
        if isinstance(failure, ContextOverflow):
            self.context_above = max(self.context_above, last.target.model.max_context_tokens or 0)
        return self._next(failure)

    def _candidate(self, model_id: str) -> Candidate:
        return next(c for c in self.candidates if c.target.model.id == model_id)

    def _next(self, failure: ProviderError | None) -> Attempt | None:
        if len(self.tried) >= MAX_ATTEMPTS:
            return None
        for candidate in self.candidates:
            if self._makes_sense(candidate):
                self.tried.append(candidate.target.model.id)
                return Attempt(len(self.tried), candidate, self._reason(candidate, failure))
        return None

    def _makes_sense(self, candidate: Candidate) -> bool:
        target = candidate.target
        context = target.model.max_context_tokens
        return (
            target.model.id not in self.tried
            and target.provider.id not in self.dead_providers
            and not (self.context_above and context and context <= self.context_above)
        )

    def _reason(self, candidate: Candidate, failure: ProviderError | None) -> str:
        if failure is not None:
            return f"failover-{failure.code.replace('_', '-')}"
        if self.hinted and candidate is self.candidates[0]:
            return "routed-hint-exact"
        return f"routed-weight-{candidate.target.model.weight}"
