"""Receipts for those who may read them: a key's owner (one decision), the administrator (all, newest first)."""

from __future__ import annotations

from tokenhub.domain.chat import JsonObject
from tokenhub.domain.ports import RequestLog, State
from tokenhub.errors import NotFound


class LogService:
    """Reads receipts where they are: in the state until they are drained, in the log ever after."""

    def __init__(self, state: State, log: RequestLog) -> None:
        self._state = state
        self._log = log

    def decision(self, decision_id: str, key_id: str) -> JsonObject:
        """The receipt of a request that this key made. Raises NotFound, also where another key made it."""
        receipt = self._state.receipt(decision_id) or self._log.read(decision_id)
        if receipt is None or receipt.get("key_id") != key_id:
            raise NotFound("there is no decision with this id, or another key made it")
        return receipt

    def page(self, limit: int, offset: int) -> list[JsonObject]:
        """Logged receipts of all keys, newest first."""
        return self._log.page(limit, offset)
