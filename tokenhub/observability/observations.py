"""The drainer's sink that learns from receipts how targets do. What is learned is in `domain/observed.py`."""

from __future__ import annotations

from collections.abc import Sequence

from tokenhub.domain import observed
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.ports import State


class Observer:
    """Brings the state's observations up to date. Keeps nothing itself: whoever drains next goes on from the rows."""

    def __init__(self, state: State) -> None:
        self._state = state

    def learn(self, receipts: Sequence[JsonObject]) -> None:
        """Learn from a batch of settled receipts. Raises Unavailable with the state; the batch then teaches nothing."""
        tried = observed.targets_in(receipts)
        if not tried:
            return
        learned = observed.learn(self._state.observations_of(tried), receipts)
        if learned:
            self._state.put_observations(learned)
