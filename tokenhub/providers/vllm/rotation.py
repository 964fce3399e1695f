"""Whose turn it is among endpoints that serve the same: round robin, leaving out those that just failed.

One that fails is left alone for a second, then for two, four, up to MAX_COOL_S. When its time is over a single request
tries it: an answer brings it back, a failure sends it off for longer. Each worker keeps its own account. Pure but for
its log lines: the clock and the dice are given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from tokenhub.errors import ProviderError

log = logging.getLogger(__name__)

FIRST_COOL_S = 1.0
MAX_COOL_S = 30.0

Member = TypeVar("Member")


@dataclass(slots=True)
class _Place(Generic[Member]):
    """One endpoint and how it does."""

    member: Member
    failures: int = 0
    """In a row."""
    due: float = 0.0
    """When it may be tried again, by the rotation's clock; of no meaning without failures."""

    @property
    def cool_s(self) -> float:
        return min(MAX_COOL_S, FIRST_COOL_S * 2.0 ** min(self.failures - 1, 10))


class Turn(Generic[Member]):
    """One try of one endpoint. Tell it how it ended; one that is told nothing changes nothing."""

    def __init__(self, place: _Place[Member], clock: Callable[[], float], rng: Random) -> None:
        self.member = place.member
        self._place = place
        self._failures = place.failures
        self._clock = clock
        self._rng = rng

    def answered(self) -> None:
        """It works."""
        if self._place.failures:
            log.info("endpoint_back", extra={"endpoint": repr(self.member), "failures": self._place.failures})
            self._place.failures = 0

    def failed(self, failure: ProviderError) -> None:
        """It does not. Of many requests that fail at the same time only the first counts."""
        place = self._place
        if place.failures != self._failures:
            return
        place.failures += 1
        # Not all workers are to come back in the same moment.
        wait_s = max(place.cool_s * self._rng.uniform(0.8, 1.0), min(failure.retry_after_s or 0.0, MAX_COOL_S))
        place.due = self._clock() + wait_s
        log.warning(
            "endpoint_cooling",
            extra={"endpoint": repr(self.member), "why": failure.code, "wait_s": round(wait_s, 1)},
        )


class Rotation(Generic[Member]):
    """Endpoints in turn. `rng` decides where it starts, so that workers do not all start at the same one."""

    def __init__(self, members: Sequence[Member], clock: Callable[[], float], rng: Random) -> None:
        self._places = [_Place(member) for member in members]
        self._clock = clock
        self._rng = rng
        self._next = rng.randrange(len(members))

    def turns(self) -> Iterator[Turn[Member]]:
        """The endpoints that one call may try, in order: each that is not cooling once, then the one that is due
        first of those that are. Taking a turn moves the rotation on."""
        count, start, has_begun = len(self._places), self._next, False
        cooling = []
        for offset in range(count):
            place = self._places[(start + offset) % count]
            if not self._is_free(place):
                cooling.append(place)
                continue
            if not has_begun:
                has_begun, self._next = True, (start + offset + 1) % count
            yield Turn(place, self._clock, self._rng)
        if cooling:
            yield Turn(min(cooling, key=lambda place: place.due), self._clock, self._rng)

    def _is_free(self, place: _Place[Member]) -> bool:
        if not place.failures:
            return True
        now = self._clock()
        if now < place.due:
            return False
        place.due = now + place.cool_s  # Others leave it alone while this one tries.
        return True
