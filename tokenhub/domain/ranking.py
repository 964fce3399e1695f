"""Candidates in the order to try. A request looks at very few of them, so each is made when it is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from math import ceil
from typing import overload
from zlib import crc32

import numpy as np
import numpy.typing as npt

from tokenhub.domain import cost, scoring
from tokenhub.domain.catalog import Column, Positions, Target
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.checks import Prepared
from tokenhub.domain.eligibility import Candidate, Eligible
from tokenhub.domain.scoring import Standing

PAGE = 10
SCORE_DIGITS = 4
NOTICEABLE_MS = 100.0
"""Whoever answers sooner is as fast as can be: nobody waits for that, and milliseconds are too coarse to tell."""
STANDINGS_KEPT = 64
"""How many sets of targets are remembered with what the modes hold of them: most keys may use the same models."""
_MIX, _MIX_AGAIN = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_HALF = np.uint64(32)


Row = tuple[Target, int | None, int | None, list[float]]
"""What a candidate is made of: its target, estimated cost, predicted latency, and its score with the four parts."""


class Ranking(Sequence[Candidate]):
    """What may answer, the named models first, then by score."""

    def __init__(self, eligible: Eligible, order: Positions, scores: tuple[Column, ...]) -> None:
        """`order`: which of the eligible, counted from 0, comes first, which second. `scores`: of each of them the
        score, and its parts by cost, latency, errors and weight."""
        self.eligible = eligible
        self._order = order
        self._scores = scores
        self._pages: dict[int, list[Row]] = {}
        self._made: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        places = range(len(self._order))[index]  # Raises IndexError.
        return self._candidate(places) if isinstance(places, int) else [self._candidate(place) for place in places]

    def rows(self, count: int) -> Iterator[Row]:
        """What the first candidates are made of."""
        return islice(chain.from_iterable(map(self._page, range(-(-min(count, len(self)) // PAGE)))), count)

    def _candidate(self, place: int) -> Candidate:
        made = self._made.get(place)
        if made is None:
            target, estimate, predicted_ms, (score, *parts) = self._page(place // PAGE)[place % PAGE]
            bound = _bound(target, self.eligible.needs.prepared)
            made = self._made[place] = Candidate(target, estimate, bound, score, tuple(parts), predicted_ms)
        return made

    def _page(self, number: int) -> list[Row]:
        """Rows are worked out some at a time: one by one costs several times as much."""
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = self._work_out(self._order[number * PAGE : (number + 1) * PAGE])
        return page

    def _work_out(self, picked: Positions) -> list[Row]:
        needs, positions = self.eligible.needs, self.eligible.at(picked)
        predicted_ms = needs.observed.predicted_ms(needs.prepared.command.max_output_tokens, positions)
        scores = np.array([column[picked] for column in self._scores]).round(SCORE_DIGITS) + 0.0  # No -0.0.
        return [
            (
                needs.facts.targets[position],
                None if estimate != estimate else ceil(estimate),
                None if predicted != predicted else round(predicted),
                scored,
            )
            for position, estimate, predicted, scored in zip(
                positions.tolist(),
                needs.estimates[positions].tolist(),
                predicted_ms.tolist(),
                scores.T.tolist(),
                strict=True,
            )
        ]


def listed(candidates: Sequence[Candidate], count: int) -> list[JsonObject]:
    """The first candidates as a receipt shows them."""
    if isinstance(candidates, Ranking):
        rows: Iterable[Row] = candidates.rows(count)
    else:
        rows = ((c.target, c.estimate_nanousd, c.predicted_ms, [c.score, *c.parts]) for c in candidates[:count])
    return [
        {
            "model": target.model.id,
            "provider": target.provider.id,
            "score": scores[0],
            "parts": {"cost": scores[1], "latency": scores[2], "errors": scores[3], "weight": scores[4]},
            "estimated_cost_nanousd": estimate,
            "predicted_latency_ms": predicted_ms,
        }
        for target, estimate, predicted_ms, scores in rows
    ]


def rank(eligible: Eligible, mode: str, named: Iterable[str], seed: str) -> Ranking:
    """Order what is eligible (at least one target): the named models as they are named, then by score. Equal scores
    are spread by the seed, the same way on every worker and whatever else is in the catalog."""
    needs = eligible.needs
    costs = scoring.costs(mode, needs.estimates[eligible.positions])
    standing = _standing(eligible, mode)
    totals = costs + standing.total
    order = totals.argsort()
    ordered = totals[order]
    if (ordered[1:] == ordered[:-1]).any():
        order = np.lexsort((_shuffled(needs.facts.tie_keys[eligible.positions], seed), totals))
    parts = (costs, standing.latency, standing.errors, standing.weight)
    return Ranking(eligible, _with_first(order, eligible.find(named)), (totals, *parts))


def _standing(eligible: Eligible, mode: str) -> Standing:
    """What the mode holds of these targets: the same for all requests that have the same ones, until more is seen."""
    observed, picked = eligible.needs.observed, eligible.positions
    key = mode if isinstance(picked, slice) else (mode, picked.tobytes())
    kept: Standing | None = observed.standings.get(key)
    if kept is None:
        weights = eligible.needs.facts.weights[picked]
        latency_ms = np.maximum(observed.latency_ms[picked], NOTICEABLE_MS)
        kept = scoring.standing(mode, latency_ms, observed.errors[picked], weights)
        if len(observed.standings) >= STANDINGS_KEPT:
            observed.standings.clear()
        observed.standings[key] = kept
    return kept


def _shuffled(tie_keys: npt.NDArray[np.uint64], seed: str) -> npt.NDArray[np.uint64]:
    """Numbers in an order that looks random and is the same for the same seed."""
    mixed = (tie_keys ^ np.uint64(crc32(seed.encode("utf-8", "replace")))) * _MIX
    mixed ^= mixed >> _HALF
    mixed *= _MIX_AGAIN
    return mixed ^ (mixed >> _HALF)


def _with_first(order: Positions, first: list[int]) -> Positions:
    for number in first:
        order = order[order != number]
    return np.concatenate((first, order)) if first else order


def _bound(target: Target, prepared: Prepared) -> int:
    """The most an attempt can cost, for a key with a budget."""
    price, command = target.model.price, prepared.command
    if prepared.key.monthly_budget_nanousd is None or prepared.input_bound is None or price is None:
        return 0
    output_tokens = (cost.output_bound(target, command.max_output_tokens) or 0) * command.choices
    return cost.bound_nanousd(price, prepared.input_bound, output_tokens)
