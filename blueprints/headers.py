"""The headers that every answer carries, whatever made it: request id, security, and CORS for browsers on /v1.

A layer around the whole application, because it is cheaper there than in a hook of every request.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from tokenhub.domain.ids import ordered_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

Environ = dict[str, Any]
Headers = list[tuple[str, str]]

log = logging.getLogger(__name__)

_CLEAN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_ID = "tokenhub.request_id"

SECURITY: Headers = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
]
NO_STORE = ("Cache-Control", "no-store")
PAGE_POLICY = (
    "Content-Security-Policy",
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
)
CORS_PATHS = "/v1/"
CORS_EXPOSED = (
    "x-request-id",
    "request-id",
    "x-tokenhub-model",
    "x-tokenhub-provider",
    "x-tokenhub-decision-id",
    "x-tokenhub-reason",
    "x-tokenhub-hint",
    "x-tokenhub-not-forwarded",
)
"""What a script in a browser may read. No credentials are ever allowed across origins."""


def request_id(environ: Environ) -> str:
    """The id told in x-request-id: the caller's where it is clean, else a new one. The same for the whole request."""
    known = environ.get(_ID)
    if known is None:
        offered = environ.get("HTTP_X_REQUEST_ID", "")
        if not offered or not _CLEAN_ID.fullmatch(offered):
            offered = ordered_id("req_", time.time_ns() // 1_000_000, os.urandom(6))
        known = environ[_ID] = offered
    return str(known)


def is_anthropic(environ: Environ) -> bool:
    """Whether the caller speaks Anthropic's dialect: by the route, or, where both dialects share one, by its header."""
    path = environ["PATH_INFO"]
    if path.startswith("/v1/messages"):
        return len(path) == 12 or path[12] == "/"
    return "HTTP_ANTHROPIC_VERSION" in environ and path.startswith("/v1/models")


class StandardHeaders:
    """WSGI middleware that puts them on."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application with a start_response that completes the headers."""

        def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
            headers.append(("x-request-id", request_id(environ)))
            if is_anthropic(environ):
                headers.append(("request-id", request_id(environ)))
            if log.isEnabledFor(logging.DEBUG):
                told = {"method": environ["REQUEST_METHOD"], "route": environ["PATH_INFO"], "status": status[:3]}
                log.debug("answered", extra={**told, "request_id": request_id(environ)})
            headers += SECURITY
            is_cached = False
            for name, value in headers:
                is_cached = is_cached or name == "Cache-Control"
                if name == "Content-Type" and value.startswith("text/html"):
                    headers.append(PAGE_POLICY)
            if not is_cached:
                headers.append(NO_STORE)
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        return self._app(environ, start)


def register(app: Flask, cors_origins: tuple[str, ...]) -> None:
    """Wrap the application. `cors_origins`: who may call /v1 from a browser; ("*",) everybody, empty nobody."""
    app.wsgi_app = StandardHeaders(app.wsgi_app)  # type: ignore[method-assign]
    if cors_origins:
        asked = {"origins": list(cors_origins), "send_wildcard": "*" in cors_origins}
        options = get_cors_options(app, {**asked, "expose_headers": CORS_EXPOSED, "max_age": 300})

        def allow(response: Response) -> Response:
            if "HTTP_ORIGIN" in request.environ and request.path.startswith(CORS_PATHS):
                set_cors_headers(response, options)
            return response

        app.after_request(allow)
