"""`/healthz` and `/readyz`, for load balancers and people: counts and fixed words, no names, no configuration, no key.

`/metrics` is mounted by `tokenhub/observability/metrics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint

from blueprints.services import Services, services
from tokenhub.errors import Unavailable

bp = Blueprint("probes", __name__)


@dataclass(frozen=True, slots=True)
class Health:
    """What can answer a request at the moment."""

    adapters: int
    """Enabled providers that can be called."""
    models: int
    """Enabled models."""

    @property
    def is_ok(self) -> bool:
        """Whether a request has a chance."""
        return self.adapters > 0 and self.models > 0


def health(worker: Services) -> Health:
    """Count what this worker could send a request to."""
    catalog, ready = worker.snapshot.catalog, worker.providers.ready()
    return Health(
        adapters=sum(provider.enabled and provider.id in ready for provider in catalog.providers.values()),
        models=sum(model.enabled for model in catalog.models.values()),
    )


def failed_checks(worker: Services) -> list[str]:
    """What keeps this worker from serving: "catalog" (not loaded yet), "state" (does not answer). Empty: ready."""
    failed = [] if worker.snapshot.catalog.epoch >= 0 else ["catalog"]
    try:
        worker.state.epoch()
    except Unavailable:
        failed.append("state")
    return failed


@bp.get("/healthz")
def healthz() -> tuple[dict[str, Any], int]:
    """Whether there is anything to route to."""
    now = health(services())
    body = {"status": "ok" if now.is_ok else "unhealthy", "adapters": now.adapters, "models": now.models}
    return body, 200 if now.is_ok else 503


@bp.get("/readyz")
def readyz() -> tuple[dict[str, Any], int]:
    """Whether this worker can take requests."""
    failed = failed_checks(services())
    return {"status": "not_ready" if failed else "ready", "failed": failed}, 503 if failed else 200
