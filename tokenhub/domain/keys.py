"""API keys as the domain sees them: who calls, and what they may do. Secrets are in `security/api_keys.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tokenhub.domain.policy import NO_TERMS, Terms

SCOPES = ("chat", "plan", "embeddings")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's row without its secret. Times are Unix milliseconds; money is nano-dollars."""

    id: str
    """Random, says nothing of the secret."""
    name: str
    prefix: str
    """What a person sees of the key in a list: `tokenhub_` and its first four characters (240 secret bits remain)."""
    scopes: tuple[str, ...]
    version: int
    """Grows with every change; `admit` refuses a request that was authenticated by an older version."""
    enabled: bool
    created_at_ms: int
    last_used_at_ms: int | None = None
    expires_at_ms: int | None = None
    rotation_days: int = 0
    """0: never."""
    monthly_budget_nanousd: int | None = None
    """None: no budget."""
    budget_reset_at_ms: int | None = None
    rate_limit_rps: int = 0
    """0: the server's default; -1: unlimited; n: n a second with a burst of 2n."""
    allowed_models: tuple[str, ...] = ()
    """Model ids this key may use; empty: all."""
    policy: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What its requests have of the policy table where they say nothing themselves: JSON values by row name."""
    policy_ceilings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """How far its requests may go, whoever asks: JSON values by row name."""
    terms: Terms = field(init=False, compare=False, repr=False, default=NO_TERMS)
    """Both of them, as the policy table merges them."""

    def __post_init__(self) -> None:
        if self.policy or self.policy_ceilings:
            object.__setattr__(self, "terms", Terms(self.policy, self.policy_ceilings))

    def allows(self, model_id: str) -> bool:
        """Whether this key may use the model."""
        return not self.allowed_models or model_id in self.allowed_models


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: their key, and the address they came from (after trusted proxies)."""

    key: ApiKey
    address: str
    credential: bytes = field(repr=False, default=b"")
    """SHA-256 of the secret that was presented; lets a key that changed meanwhile be looked up again."""
    scope: str | None = None
    """What the key was checked for."""
