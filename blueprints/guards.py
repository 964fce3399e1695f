"""Who may pass: API keys with a scope for /v1, the admin's bearer token for /admin/v1."""

from __future__ import annotations

from typing import Any

from flask import request

from blueprints.services import services
from tokenhub.domain.keys import Caller
from tokenhub.domain.ports import Rate
from tokenhub.errors import InvalidRequest, RateLimited, Unauthenticated

ADMIN_FAILURES_PER_S, ADMIN_FAILURES_BURST = 1, 10
"""Wrong admin tokens taken from one address; the right one is never locked out."""


def presented_secret(environ: dict[str, Any]) -> str:
    """The secret of `Authorization: Bearer` or `x-api-key`. Two different ones are refused."""
    bearer = _bearer(environ)
    header = environ.get("HTTP_X_API_KEY", "").strip()
    if bearer and header and bearer != header:
        raise InvalidRequest("Authorization and x-api-key carry different keys: send one", code="ambiguous_credentials")
    return bearer or str(header)


def _bearer(environ: dict[str, Any]) -> str:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return str(token.strip()) if scheme.lower() == "bearer" else ""


def require_key(scope: str | None, *, fresh: bool = False) -> Caller:
    """The caller, identified by their API key and allowed to use the scope. `fresh`: for requests without admission."""
    environ, known = request.environ, services()
    return known.callers.identify(presented_secret(environ), scope, known.client_address(environ), fresh=fresh)


def require_admin() -> None:
    """Let the holder of the admin token pass. For before_request."""
    environ, known = request.environ, services()
    if known.admin_token.matches(_bearer(environ)):
        return
    rate = Rate(f"admin:{known.client_address(environ)}", ADMIN_FAILURES_PER_S, ADMIN_FAILURES_BURST)
    slower = known.state.take((rate,))
    if slower is not None:
        raise RateLimited("too many wrong admin tokens from this address", retry_after_s=slower.retry_after_s)
    raise Unauthenticated("a valid admin token is needed: Authorization: Bearer <token>", code="invalid_admin_token")
