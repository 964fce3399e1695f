"""API keys for administrators: create, list, change, rotate, delete. The secret is given out once and never kept."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tokenhub.domain import policy
from tokenhub.domain.keys import SCOPES, ApiKey
from tokenhub.domain.ports import State
from tokenhub.errors import NotFound
from tokenhub.services import rules

DEFAULT_SCOPES = ("chat", "plan")
FIRST_KEY_NAME = "first-key"
MAX_ROTATION_DAYS = 3650
MAX_RPS = 1_000_000

RULES: dict[str, rules.Rule] = {
    "name": rules.label,
    "scopes": rules.scopes,
    "rotation_days": rules.whole(0, MAX_ROTATION_DAYS),
    "expires_in": rules.duration_ms,
    "expires_at": rules.instant_ms,
    "monthly_budget_usd": rules.budget,
    "rate_limit_rps": rules.whole(-1, MAX_RPS),
    "allowed_models": rules.model_ids,
    "enabled": rules.flag,
    "policy": rules.mapping(policy.readers("key")),
    "policy_ceilings": rules.mapping(policy.CEILING_READERS),
}


class SecretFormat(Protocol):
    """How secrets are made; the module `security/api_keys.py` is one."""

    def generate(self) -> str:
        """A new secret."""

    def key_hash(self, secret: str) -> bytes:
        """What is stored of a secret."""

    def prefix(self, secret: str) -> str:
        """What a person may see of it later."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key and what it spent in the current period; None where it has no budget."""

    key: ApiKey
    spend_nanousd: int | None


class KeyService:
    """Manages API keys over the state, so that each change holds on every worker from that moment on."""

    def __init__(
        self, state: State, secret_format: SecretFormat, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self._state = state
        self._format = secret_format
        self._clock_ms = clock_ms

    def create(self, values: Mapping[str, Any]) -> tuple[ApiKey, str]:
        """Make a key from the fields in RULES; gives it with its secret. Raises InvalidRequest."""
        if "name" not in values:
            raise rules.invalid({"name": ["is required"]})
        return self._add({"scopes": DEFAULT_SCOPES, **self._checked(values)})

    def page(self, limit: int, offset: int) -> tuple[list[ListedKey], int]:
        """A page of keys, newest first, and how many there are."""
        keys, total = self._state.keys(limit, offset)
        budgeted = [key.id for key in keys if key.monthly_budget_nanousd is not None]
        spent = self._state.spend(budgeted) if budgeted else {}
        return [ListedKey(key, spent.get(key.id, 0) if key.id in budgeted else None) for key in keys], total

    def get(self, key_id: str) -> ListedKey:
        """One key. Raises NotFound."""
        key = self._state.key(key_id)
        if key is None:
            raise _absent(key_id)
        is_budgeted = key.monthly_budget_nanousd is not None
        return ListedKey(key, self._state.spend([key.id]).get(key.id, 0) if is_budgeted else None)

    def patch(self, key_id: str, values: Mapping[str, Any]) -> ApiKey:
        """Change the given fields. Raises InvalidRequest, NotFound."""
        changes = self._checked(values)
        if not changes:
            return self.get(key_id).key
        return self._changed(key_id, changes)

    def rotate(self, key_id: str) -> tuple[ApiKey, str]:
        """Replace the secret; the old one is refused from now on. Raises NotFound."""
        secret = self._format.generate()
        changes = {"prefix": self._format.prefix(secret)}
        return self._changed(key_id, changes, self._format.key_hash(secret)), secret

    def delete(self, key_id: str) -> None:
        """Delete a key; its spend stays in the books. Raises NotFound."""
        if not self._state.delete_key(key_id):
            raise _absent(key_id)

    def ensure_first_key(self) -> str | None:
        """Make a key with all scopes if there is no key at all; gives its secret, None if there was one."""
        if self._state.keys(1, 0)[1]:
            return None
        return self._add({"name": FIRST_KEY_NAME, "scopes": SCOPES})[1]

    def _add(self, fields: Mapping[str, Any]) -> tuple[ApiKey, str]:
        secret = self._format.generate()
        made: dict[str, Any] = {"enabled": True, **fields}
        key = ApiKey(
            id=f"key_{secrets.token_hex(8)}",
            prefix=self._format.prefix(secret),
            version=1,
            created_at_ms=self._clock_ms(),
            **made,
        )
        self._state.add_key(key, self._format.key_hash(secret))
        return key, secret

    def _changed(self, key_id: str, changes: Mapping[str, object], key_hash: bytes | None = None) -> ApiKey:
        key = self._state.change_key(key_id, changes, key_hash)
        if key is None:
            raise _absent(key_id)
        return key

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The given fields as fields of ApiKey."""
        fields = rules.check(values, RULES)
        if "expires_in" in fields and "expires_at" in fields:
            raise rules.invalid({"expires_at": ["give expires_in or expires_at, not both"]})
        if "expires_in" in fields:
            duration_ms = fields.pop("expires_in")
            fields["expires_at_ms"] = None if duration_ms is None else self._clock_ms() + duration_ms
        if "expires_at" in fields:
            fields["expires_at_ms"] = fields.pop("expires_at")
            if fields["expires_at_ms"] is not None and fields["expires_at_ms"] <= self._clock_ms():
                raise rules.invalid({"expires_at": ["is in the past; to stop a key, disable or delete it"]})
        if "monthly_budget_usd" in fields:
            fields["monthly_budget_nanousd"] = fields.pop("monthly_budget_usd")
        return fields


def _absent(key_id: str) -> NotFound:
    return NotFound(f"there is no API key with the id {key_id[:64]!r}")
