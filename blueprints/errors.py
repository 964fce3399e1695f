"""Error class -> HTTP status, and one renderer per surface. Status codes live here and nowhere else."""

from __future__ import annotations

import logging
import math
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from blueprints import headers
from blueprints.services import services
from tokenhub import errors as e

log = logging.getLogger(__name__)

STATUS: dict[type[e.TokenHubError], int] = {
    e.TokenHubError: 500,
    e.InvalidRequest: 400,
    e.PayloadTooLarge: 413,
    e.UnsupportedMediaType: 415,
    e.RequestTimeout: 408,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.Conflict: 409,
    e.RateLimited: 429,
    e.SpendLimitReached: 429,
    e.FeatureUnavailable: 501,
    e.Unavailable: 503,
    e.DeadlineExceeded: 504,
    e.Interruption: 503,
    e.ClientGone: 499,
    e.Stopping: 503,
    e.RoutingError: 502,
    e.NoEligibleModel: 503,
    e.AllAttemptsFailed: 502,
    e.ProviderError: 502,
    e.ContextOverflow: 400,
    e.ConfigurationError: 500,
}

OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    501: "not_implemented_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}

ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    501: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""For every other status: "invalid_request_error" below 500, "api_error" from there on."""

NO_RETRY = (e.SpendLimitReached, e.FeatureUnavailable)
"""Refusals that asking again does not cure, though SDKs retry their status."""


def status_of(error: e.TokenHubError) -> int:
    """The HTTP status an error is told with."""
    if isinstance(error, e.NoEligibleModel):
        return 400 if error.blame == "caller" else 503
    if isinstance(error, e.AllAttemptsFailed):
        return _status_of_cause(error.cause)
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def _status_of_cause(cause: e.ProviderError) -> int:
    """The upstream's 4xx where the caller did it, else 502."""
    if isinstance(cause, e.ContextOverflow):
        return STATUS[e.ContextOverflow]
    if cause.blame == "caller" and cause.status is not None and 400 <= cause.status < 500:
        return cause.status
    return 504 if cause.code == "total_timeout" else 502


def error_object(error: e.TokenHubError) -> dict[str, Any]:
    """OpenAI's error object: message, type, param, code. Streams use it too."""
    status = status_of(error)
    kind = "insufficient_quota" if isinstance(error, e.SpendLimitReached) else OPENAI_TYPES.get(status, "server_error")
    return {"message": error.message, "type": kind, "param": getattr(error, "param", None), "code": error.code}


def anthropic_error(error: e.TokenHubError, request_id: str, status: int | None = None) -> dict[str, Any]:
    """Anthropic's error body. Streams use it too."""
    status = status or status_of(error)
    kind = ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    if isinstance(error, e.SpendLimitReached):
        kind = "billing_error"
    return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}


def _admin(error: e.TokenHubError) -> dict[str, Any]:
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "request_id": headers.request_id(request.environ),
    }
    if isinstance(error, e.InvalidRequest) and error.fields:
        body["fields"] = error.fields
    return {"error": body}


def _headers(error: e.TokenHubError) -> dict[str, str]:
    told = {}
    cause = error.cause if isinstance(error, e.AllAttemptsFailed) else error
    retry_after_s = getattr(cause, "retry_after_s", None)
    if retry_after_s:
        told["retry-after"] = str(math.ceil(retry_after_s))
        told["retry-after-ms"] = str(math.ceil(retry_after_s * 1000))
    if isinstance(error, NO_RETRY):
        told["x-should-retry"] = "false"
    return told


def render(error: e.TokenHubError, status: int | None = None) -> Response:
    """The error as a response of the surface that was asked: admin's object, Anthropic's, or OpenAI's."""
    services().metrics.told(error)
    status = status or status_of(error)
    if request.path.startswith("/admin/v1"):
        body = _admin(error)
        if isinstance(error, e.InvalidRequest) and error.code == "validation_failed":
            status = 422
    elif headers.is_anthropic(request.environ):
        body = anthropic_error(error, headers.request_id(request.environ), status)
    else:
        body = {"error": error_object(error)}
    return Response(orjson.dumps(body, default=str), status, _headers(error), content_type="application/json")


def _from_werkzeug(error: HTTPException) -> Response:
    """404 of unknown routes, 405 and the like: JSON too, never HTML."""
    status = error.code or 500
    if status < 400:
        return Response(error.get_response().response, status, error.get_headers())
    words = {
        404: ("not_found", f"there is no {request.method} {request.path[:200]}"),
        405: ("method_not_allowed", f"{request.method} is not possible here"),
    }
    code, message = words.get(status, ("http_error", error.name))
    response = render(e.TokenHubError(message, code=code), status)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unhandled_exception", exc_info=error)
    return render(e.TokenHubError("the server failed; the request id helps to find out why"), 500)


def register(app: Flask) -> None:
    """Mount the renderers."""
    app.register_error_handler(e.TokenHubError, render)
    app.register_error_handler(HTTPException, _from_werkzeug)
    app.register_error_handler(Exception, _unexpected)
