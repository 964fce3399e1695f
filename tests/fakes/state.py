"""A State in memory, for tests of what uses one: keys, catalog epoch, provider keys, receipts, outbox, rates.

It behaves as the port says, for one process; budgets, leases and reconciliation are the real state's to prove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tokenhub.domain.chat import JsonObject
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.ports import Rate, Refused
from tokenhub.errors import Conflict


class FakeState:
    def __init__(self) -> None:
        self.rows: dict[str, ApiKey] = {}
        self.hashes: dict[bytes, str] = {}
        self.sealed: dict[str, bytes] = {}
        self.spent: dict[str, int] = {}
        self.receipts: dict[str, JsonObject] = {}
        self.taken: list[str] = []
        self._epoch = 0

    # keys

    def key_by_hash(self, key_hash: bytes) -> ApiKey | None:
        return self.rows.get(self.hashes.get(key_hash, ""))

    def key(self, key_id: str) -> ApiKey | None:
        return self.rows.get(key_id)

    def keys(self, limit: int, offset: int) -> tuple[list[ApiKey], int]:
        newest = list(reversed(self.rows.values()))
        return newest[offset : offset + limit], len(newest)

    def add_key(self, key: ApiKey, key_hash: bytes) -> None:
        if key.id in self.rows:
            raise Conflict(f"there is a key {key.id!r} already")
        self.rows[key.id] = key
        self.hashes[key_hash] = key.id

    def change_key(self, key_id: str, changes: Mapping[str, object], key_hash: bytes | None = None) -> ApiKey | None:
        key = self.rows.get(key_id)
        if key is None:
            return None
        self.rows[key_id] = replace(key, **changes, version=key.version + 1)
        if key_hash is not None:
            self._forget_hash(key_id)
            self.hashes[key_hash] = key_id
        return self.rows[key_id]

    def delete_key(self, key_id: str) -> bool:
        self._forget_hash(key_id)
        return self.rows.pop(key_id, None) is not None

    def spend(self, key_ids: Sequence[str]) -> Mapping[str, int]:
        return {key_id: self.spent.get(key_id, 0) for key_id in key_ids}

    def _forget_hash(self, key_id: str) -> None:
        self.hashes = {key_hash: owner for key_hash, owner in self.hashes.items() if owner != key_id}

    # catalog and provider keys

    def epoch(self) -> int:
        return self._epoch

    def move_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def provider_keys(self) -> Mapping[str, bytes]:
        return dict(self.sealed)

    def put_provider_key(self, provider_id: str, sealed: bytes) -> None:
        self.sealed[provider_id] = sealed
        self._epoch += 1

    def drop_provider_key(self, provider_id: str) -> None:
        if self.sealed.pop(provider_id, None) is not None:
            self._epoch += 1

    # receipts, outbox, rates

    def settle(self, decision_id: str, cost_nanousd: int, receipt: JsonObject) -> bool:
        if decision_id in self.receipts:
            return False
        self.receipts[decision_id] = receipt
        return True

    def receipt(self, decision_id: str) -> JsonObject | None:
        return self.receipts.get(decision_id)

    def outbox(self, limit: int) -> list[JsonObject]:
        return list(self.receipts.values())[:limit]

    def outbox_done(self, decision_ids: Sequence[str]) -> None:
        for decision_id in decision_ids:
            self.receipts.pop(decision_id, None)

    def take(self, rates: Sequence[Rate]) -> Refused | None:
        self.taken += [rate.name for rate in rates]
        return None
