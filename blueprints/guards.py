"""Who may pass: API keys with a scope for /v1, the admin's bearer token for /admin/v1; and the request's id."""

from __future__ import annotations

import logging
import re
import secrets

from flask import Flask, Response, current_app, g, request

from blueprints.services import services
from tokenhub.domain.keys import Caller
from tokenhub.domain.ports import Rate
from tokenhub.errors import InvalidRequest, RateLimited, Unauthenticated

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
ADMIN_FAILURES_PER_S, ADMIN_FAILURES_BURST = 1, 10
"""Wrong admin tokens taken from one address; the right one is never locked out."""


def request_id() -> str:
    """The id told in x-request-id: the caller's where it is clean, else a new one."""
    known: str | None = g.get("request_id")
    if known is None:
        offered = request.headers.get("x-request-id", "")
        known = offered if _REQUEST_ID.fullmatch(offered) else f"req_{secrets.token_hex(12)}"
        g.request_id = known
    return known


def client_address() -> str:
    """Where the request comes from: the peer, or what a trusted proxy says of it."""
    return str(current_app.extensions["tokenhub"].client_address(request.environ))


def presented_secret() -> str:
    """The secret of `Authorization: Bearer` or `x-api-key`. Two different ones are refused."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    header = request.headers.get("x-api-key", "").strip()
    if bearer and header and bearer != header:
        raise InvalidRequest("Authorization and x-api-key carry different keys: send one", code="ambiguous_credentials")
    return bearer or header


def require_key(scope: str | None, *, fresh: bool = False) -> Caller:
    """The caller, identified by their API key and allowed to use the scope. `fresh`: for requests without admission."""
    return services().callers.identify(presented_secret(), scope, client_address(), fresh=fresh)


def require_admin() -> None:
    """Let the holder of the admin token pass. For before_request."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and services().admin_token.matches(token.strip()):
        return
    rate = Rate(f"admin:{client_address()}", ADMIN_FAILURES_PER_S, ADMIN_FAILURES_BURST)
    slower = services().state.take((rate,))
    if slower is not None:
        raise RateLimited("too many wrong admin tokens from this address", retry_after_s=slower.retry_after_s)
    raise Unauthenticated("a valid admin token is needed: Authorization: Bearer <token>", code="invalid_admin_token")


SECURITY_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def _finish(response: Response) -> Response:
    log.debug("answered", extra={"route": request.path, "method": request.method, "status": response.status_code})
    headers = response.headers
    headers["x-request-id"] = request_id()
    for name, value in SECURITY_HEADERS:
        if name not in headers:
            headers[name] = value
    if response.mimetype == "text/html":
        headers["Content-Security-Policy"] = PAGE_POLICY
    return response


def register(app: Flask) -> None:
    """Put the request id and the security headers on every response."""
    app.after_request(_finish)
