"""Reading a JSON body: sizes counted by us, media type and encoding checked, strict JSON only."""

from __future__ import annotations

from time import monotonic
from typing import Any

import orjson
from flask import request

from blueprints.services import services
from tokenhub.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

READ_BYTES = 64 * 1024
DRAIN_FACTOR, DRAIN_S = 3, 5.0
"""So many times the limit, and so long, an oversized body is read on, so that a client that sends everything before it
listens still gets its 413; then the connection is closed."""


def read_body(limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge over `limit` bytes, whatever the headers say (or do not say).

    How long a sender may take, and what else can be wrong with it on the wire, is told by the server's `wsgi.input`
    (tokenhub/runtime/inbound.py) as errors that callers may see.
    """
    environ = request.environ
    stream, told = environ["wsgi.input"], environ.get("CONTENT_LENGTH") or ""
    if not told.isdecimal():  # There is none: the body is chunked.
        return _count(stream, limit)
    length = int(told)
    if length <= limit:
        body: bytes = stream.read(length)
        if len(body) < length:
            raise InvalidRequest("the body is shorter than its Content-Length")
        return body
    if length <= limit * DRAIN_FACTOR and "HTTP_EXPECT" not in environ:  # Else it is not on its way yet.
        _drain(stream, length)
    raise _too_large(limit)


def _count(stream: Any, limit: int) -> bytes:
    """A body of unknown length."""
    parts: list[bytes] = []
    left = limit
    while part := stream.read(min(READ_BYTES, left + 1)):
        left -= len(part)
        if left < 0:
            _drain(stream, limit * DRAIN_FACTOR)
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _drain(stream: Any, most_bytes: int) -> None:
    until = monotonic() + DRAIN_S
    while most_bytes > 0 and monotonic() < until and (part := stream.read(READ_BYTES)):
        most_bytes -= len(part)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {limit} bytes")


def read_json() -> tuple[dict[str, Any], int]:
    """The body as a JSON object, and its size in bytes.

    Of a name that stands twice the last value counts. What goes upstream is written anew from what was read here, so
    gateway and provider never see different ones.
    """
    environ = request.environ
    if environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("send the body without Content-Encoding")
    mimetype = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if mimetype not in ("", "application/json") and not mimetype.endswith("+json"):
        raise UnsupportedMediaType("send JSON with Content-Type: application/json")
    raw = read_body(services().front.max_body_bytes)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {str(error)[:200]}", code="invalid_json") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return body, len(raw)
