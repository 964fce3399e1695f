"""Failover as a state machine: which target is tried next, decided from what failed. No I/O, no clock.

An itinerary never returns to a dead end, and ends after MAX_ATTEMPTS. `services/dispatch.py` drives it; sending
and streaming use the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile

from tokenhub.domain.catalog import Target
from tokenhub.domain.eligibility import Candidate, Rejection
from tokenhub.domain.hints import NO_HINT, Hint
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
    """The candidates, and every rejection. `first()` once, then `after()` for each failure.

    What may be tried starts with the models that were named, or the best where none was. What follows is the fallback:
    "any": all others, by score; "same_model": only the same family at other providers than the first; ids: exactly
    these, in their order; "none": nothing, not even an alias's next target. A named model that is not eligible has
    failed already: the fallback follows at once.
    """

    candidates: Sequence[Candidate]
    """The named ones first, in the hint's order, then by score. Looked at no further than is needed, so it may be
    worked out on the way."""
    rejections: Sequence[Rejection]
    hint: Hint = NO_HINT
    fallback: str | tuple[str, ...] = "any"
    set_aside: tuple[str, ...] = ()
    """Rows of the policy that the server wished for, and that would have left nothing."""
    clamped: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Rows of the policy that asked for more than there is: what was asked, what is used instead."""
    tried: list[Attempt] = field(default_factory=list)
    dead_providers: set[str] = field(default_factory=set)
    context_above: int = 0
    """Only models with more context than this still make sense."""

    @property
    def hinted(self) -> bool:
        """Whether the first candidate is a model that the caller named."""
        return any(self._is_named(candidate) for candidate in islice(self.candidates, 1))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to try at all."""
        return next(self._allowed(), None) is None

    @property
    def deciding(self) -> Sequence[Rejection]:
        """The rejections that tell why it is empty: of those models that could have been tried, were they eligible."""
        if self.fallback == "any" or not self.hint.model_ids:
            return self.rejections
        wanted = {*self.hint.model_ids, *(self.fallback if isinstance(self.fallback, tuple) else ())}
        return [rejection for rejection in self.rejections if rejection.model_id in wanted]

    def first(self) -> Attempt | None:
        """The first attempt; None if there is nothing to try."""
        return self._next(None)

    def affordable(self, remaining_nanousd: int) -> Attempt | None:
        """Another first attempt that fits what is left of a budget; None if there is none. A model that was named is
        not swapped for a cheaper one; another target of the alias that was named may do."""
        is_hinted = self.hinted
        if is_hinted and self.hint.kind == "exact":
            return None
        fits = [c for c in self.candidates if c.bound_nanousd <= remaining_nanousd]
        if is_hinted and not any(map(self._is_named, fits)):
            return None
        dear = [
            Rejection(c.target.model.id, c.target.provider.id, "budget_remaining", "can cost more than is left")
            for c in self.candidates
            if c.bound_nanousd > remaining_nanousd
        ]
        self.candidates, self.rejections = fits, [*self.rejections, *dear]
        self.tried.clear()
        return self._next(None)

    def after(self, failure: ProviderError) -> Attempt | None:
        """What to try after the last attempt failed so; None: give up."""
        last = self.tried[-1].target
        if failure.blame == "caller":
            return None
        if failure.blame == "provider":
            self.dead_providers.add(last.provider.id)
        if isinstance(failure, ContextOverflow):
            self.context_above = max(self.context_above, last.model.max_context_tokens or 0)
        return self._next(failure)

    def _next(self, failure: ProviderError | None) -> Attempt | None:
        if len(self.tried) >= MAX_ATTEMPTS:
            return None
        for candidate in self._allowed():
            if self._makes_sense(candidate):
                attempt = Attempt(len(self.tried) + 1, candidate, self._reason(candidate, failure))
                self.tried.append(attempt)
                return attempt
        return None

    # what may be tried --------------------------------------------------

    def _allowed(self) -> Iterator[Candidate]:
        """The candidates that may be tried, in that order, whatever was tried before."""
        if self.fallback == "any":
            return iter(self.candidates)
        if self.fallback == "same_model":
            return self._of_one_family()
        leading = self._leading()
        if self.fallback == "none":
            return islice(leading, 1)
        return self._listed(leading)

    def _leading(self) -> Iterator[Candidate]:
        """The named ones that are eligible; where nothing is named, the best."""
        if self.hint.model_ids:
            return takewhile(self._is_named, self.candidates)
        return islice(self.candidates, 1)

    def _of_one_family(self) -> Iterator[Candidate]:
        lead = next(self._leading(), None)
        family = lead.target.model.family if lead else self.hint.family
        if lead is not None:
            yield lead
        for candidate in self.candidates if family else ():
            is_elsewhere = lead is None or candidate.target.provider.id != lead.target.provider.id
            if candidate.target.model.family == family and is_elsewhere:
                yield candidate

    def _listed(self, leading: Iterator[Candidate]) -> Iterator[Candidate]:
        yield from leading
        by_id = {candidate.target.model.id: candidate for candidate in self.candidates}
        for model_id in self.fallback:
            if model_id in by_id:
                yield by_id[model_id]

    def _is_named(self, candidate: Candidate) -> bool:
        return candidate.target.model.id in self.hint.model_ids

    def _makes_sense(self, candidate: Candidate) -> bool:
        target = candidate.target
        context = target.model.max_context_tokens
        return (
            all(attempt.target.model.id != target.model.id for attempt in self.tried)
            and target.provider.id not in self.dead_providers
            and not (self.context_above and context and context <= self.context_above)
        )

    def _reason(self, candidate: Candidate, failure: ProviderError | None) -> str:
        if failure is not None:
            return f"failover-{failure.code.replace('_', '-')}"
        if self._is_named(candidate):
            return f"routed-alias-{self.hint.alias}" if self.hint.alias else "routed-hint-exact"
        return f"routed-weight-{candidate.target.model.weight}"
