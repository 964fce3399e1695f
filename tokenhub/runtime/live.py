"""What a worker believes right now: catalog, routing defaults, rate limits. Swapped as one value, never changed.

Beside it what was observed of the catalog's targets, which changes by itself every second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokenhub.domain.catalog import Catalog
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.observed import Observation, Observations, TargetKey
from tokenhub.domain.policy import DEFAULTS, Policy
from tokenhub.domain.ports import Rate


@dataclass(frozen=True, slots=True)
class Belief:
    """One consistent reading of database and state."""

    catalog: Catalog = Catalog()
    defaults: Policy = DEFAULTS
    rate_limit_rps: int = 60
    rate_limit_burst: int = 120


class Live:
    """Holds the current belief; implements the port `Snapshot`."""

    def __init__(self, belief: Belief) -> None:
        self._belief = belief
        self._observed = Observations(belief.catalog.facts)

    @property
    def catalog(self) -> Catalog:
        """The catalog of the last refresh; epoch -1 before the first."""
        return self._belief.catalog

    @property
    def defaults(self) -> Policy:
        """The server's routing defaults."""
        return self._belief.defaults

    @property
    def belief(self) -> Belief:
        """All of it."""
        return self._belief

    @property
    def observed(self) -> Observations:
        """What experience says of the catalog's targets."""
        return self._observed

    def swap(self, belief: Belief) -> None:
        """Believe something else from now on. What was observed is kept."""
        observed = self._observed
        self._belief = belief
        self._observed = Observations(belief.catalog.facts, observed.rows, observed.now_ms)

    def observe(self, rows: Mapping[TargetKey, Observation], now_ms: int) -> None:
        """Take rows that are new or changed; `now_ms`: Unix milliseconds, what is long ago counts less and less."""
        observed = self._observed
        if rows or observed.is_fading:
            self._observed = Observations(observed.facts, {**observed.rows, **rows}, now_ms)

    def rates(self, address: str, key: ApiKey | None) -> tuple[Rate, ...]:
        """What a request counts against: its address, and its key unless that is unlimited."""
        belief = self._belief
        by_address = Rate(f"address:{address}", belief.rate_limit_rps, belief.rate_limit_burst)
        if key is None or key.rate_limit_rps < 0:
            return (by_address,)
        if key.rate_limit_rps == 0:
            return (by_address, Rate(f"key:{key.id}", belief.rate_limit_rps, belief.rate_limit_burst))
        return (by_address, Rate(f"key:{key.id}", key.rate_limit_rps, 2 * key.rate_limit_rps))
