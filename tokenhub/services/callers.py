"""Who is calling: from a presented secret to an ApiKey. Admission checks the version again, so a cached row can
delay nothing: a key that changed is refused from that moment on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NoReturn

from tokenhub.domain.keys import ApiKey, Caller
from tokenhub.domain.ports import Rate, State
from tokenhub.errors import Forbidden, RateLimited, Unauthenticated

CACHED_KEYS = 10_000


class Callers:
    """Identifies callers; keeps the rows of keys seen lately, bounded, by the full hash of their secret."""

    def __init__(
        self,
        state: State,
        key_hash: Callable[[str], bytes | None],
        rates: Callable[[str, ApiKey | None], tuple[Rate, ...]],
    ) -> None:
        """`key_hash` gives None for what cannot be a key; `rates` the limits of an address and a key."""
        self._state = state
        self._key_hash = key_hash
        self._rates = rates
        self._seen: dict[bytes, ApiKey] = {}

    def identify(self, secret: str, scope: str | None, address: str, *, fresh: bool = False) -> Caller:
        """The caller who holds this secret. `fresh` reads the state, for requests that are not admitted later.

        Raises Unauthenticated (always the same text), Forbidden where the scope is missing, RateLimited where an
        address guesses too fast.
        """
        credential = self._key_hash(secret)
        if credential is None:
            self.refuse(address)
        seen = None if fresh else self._seen.get(credential)
        return self._caller(seen or self._read(credential), address, credential, scope)

    def again(self, caller: Caller) -> Caller:
        """The same caller as their key stands now. Raises Unauthenticated if the secret opens nothing any more."""
        self._seen.pop(caller.credential, None)
        return self._caller(self._read(caller.credential), caller.address, caller.credential, caller.scope)

    def rates(self, caller: Caller) -> tuple[Rate, ...]:
        """What an admitted request of this caller is counted against."""
        return self._rates(caller.address, caller.key)

    def refuse(self, address: str) -> NoReturn:
        """Count a failed try against the address and raise."""
        slower = self._state.take(self._rates(address, None))
        if slower is not None:
            raise RateLimited("too many requests from this address", retry_after_s=slower.retry_after_s)
        raise Unauthenticated("no valid API key: send it as 'Authorization: Bearer tokenhub_...'")

    def _caller(self, key: ApiKey | None, address: str, credential: bytes, scope: str | None) -> Caller:
        if key is None:
            self.refuse(address)
        if scope is not None and scope not in key.scopes:
            raise Forbidden(f"this API key lacks the scope {scope!r}", code="insufficient_scope")
        return Caller(key, address, credential, scope)

    def _read(self, credential: bytes) -> ApiKey | None:
        key = self._state.key_by_hash(credential)
        if key is None or not key.enabled:
            return None
        if key.expires_at_ms is not None and key.expires_at_ms <= time.time() * 1000:
            return None
        if len(self._seen) >= CACHED_KEYS:
            self._seen.clear()
        self._seen[credential] = key
        return key
