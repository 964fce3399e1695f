"""API keys as rows: the part of the port `State` that administers them. Admission, in `ledger.py`, reads them too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tokenhub.domain.keys import ApiKey
from tokenhub.errors import Conflict
from tokenhub.state.driver import Driver, Execute, Row

_SELECT = """SELECT id, name, prefix, scopes, version, enabled, created_at_ms, last_used_at_ms, expires_at_ms,
    rotation_days, monthly_budget_nanousd, budget_reset_at_ms, rate_limit_rps, allowed_models, policy,
    policy_ceilings FROM api_keys"""
_BY_ID = _SELECT + " WHERE id = ?"
_BY_HASH = _SELECT + " WHERE key_hash = ?"
_PAGE = _SELECT + " ORDER BY created_at_ms DESC, id DESC LIMIT ? OFFSET ?"
_COUNT = "SELECT count(*) FROM api_keys"
_INSERT = """INSERT INTO api_keys (name, prefix, scopes, version, enabled, expires_at_ms, rotation_days,
    monthly_budget_nanousd, budget_reset_at_ms, rate_limit_rps, allowed_models, policy, policy_ceilings, id,
    created_at_ms, last_used_at_ms, key_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING RETURNING id"""
# last_used_at_ms is not among these: admission writes that column alone, and neither may undo the other.
_UPDATE = """UPDATE api_keys SET name = ?, prefix = ?, scopes = ?, version = ?, enabled = ?, expires_at_ms = ?,
    rotation_days = ?, monthly_budget_nanousd = ?, budget_reset_at_ms = ?, rate_limit_rps = ?, allowed_models = ?,
    policy = ?, policy_ceilings = ?, key_hash = COALESCE(?, key_hash) WHERE id = ?"""
_DELETE = "DELETE FROM api_keys WHERE id = ? RETURNING id"


class KeyTable:
    """The rows of API keys, over any driver."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def key_by_hash(self, key_hash: bytes) -> ApiKey | None:
        """The key whose secret has this SHA-256, enabled or not."""
        return _only(self._driver.read(_BY_HASH, (key_hash,)))

    def key(self, key_id: str) -> ApiKey | None:
        """One key."""
        return _only(self._driver.read(_BY_ID, (key_id,)))

    def keys(self, limit: int, offset: int) -> tuple[list[ApiKey], int]:
        """A page of keys, newest first, and how many there are."""
        page = self._driver.read(_PAGE, (limit, offset))
        return [_key(row) for row in page], self._driver.read(_COUNT)[0][0]

    def add_key(self, key: ApiKey, key_hash: bytes) -> None:
        """Store a new key. Raises Conflict if the id (or the secret) exists."""
        row = (*_changeable(key), key.id, key.created_at_ms, key.last_used_at_ms, key_hash)
        if not self._driver.write(lambda execute: execute(_INSERT, row)):
            raise Conflict("an API key with this id exists already")

    def change_key(self, key_id: str, changes: Mapping[str, object], key_hash: bytes | None = None) -> ApiKey | None:
        """Change the named fields (and the secret), raise the version, give the key as it is then; None if there is
        none. What never changes (id, times of creation and use) stays as it is."""
        wanted: dict[str, Any] = dict(changes)

        def work(execute: Execute) -> ApiKey | None:
            key = _only(execute(_BY_ID, (key_id,)))
            if key is None:
                return None
            key = replace(key, **{**wanted, "version": key.version + 1})
            execute(_UPDATE, (*_changeable(key), key_hash, key_id))
            return _only(execute(_BY_ID, (key_id,)))

        return self._driver.write(work)

    def delete_key(self, key_id: str) -> bool:
        """Delete a key; its spend stays in the books. False if there was none."""
        return bool(self._driver.write(lambda execute: execute(_DELETE, (key_id,))))


def _only(rows: Sequence[Row]) -> ApiKey | None:
    return _key(rows[0]) if rows else None


def _key(row: Row) -> ApiKey:
    key_id, name, prefix, scopes, version, enabled, created_ms, used_ms, *limits = row
    expires_ms, days, budget, reset_ms, rps, models, policy, ceilings = limits
    return ApiKey(
        id=key_id,
        name=name,
        prefix=prefix,
        scopes=tuple(json.loads(scopes)),
        version=version,
        enabled=bool(enabled),
        created_at_ms=created_ms,
        last_used_at_ms=used_ms,
        expires_at_ms=expires_ms,
        rotation_days=days,
        monthly_budget_nanousd=budget,
        budget_reset_at_ms=reset_ms,
        rate_limit_rps=rps,
        allowed_models=tuple(json.loads(models)),
        policy=json.loads(policy),
        policy_ceilings=json.loads(ceilings),
    )


def _changeable(key: ApiKey) -> Row:
    return (
        key.name,
        key.prefix,
        json.dumps(key.scopes),
        key.version,
        int(key.enabled),
        key.expires_at_ms,
        key.rotation_days,
        key.monthly_budget_nanousd,
        key.budget_reset_at_ms,
        key.rate_limit_rps,
        json.dumps(key.allowed_models),
        json.dumps(key.policy),
        json.dumps(key.policy_ceilings),
    )
