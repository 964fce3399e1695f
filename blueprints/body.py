"""Reading a JSON body: sizes counted by us, media type and encoding checked, strict JSON only."""

from __future__ import annotations

from typing import Any

import orjson
from flask import request

from blueprints.services import services
from tokenhub.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

READ_BYTES = 64 * 1024
DRAIN_FACTOR = 4
"""An oversized body is read on to this multiple of the limit, so that a client that sends everything before it
listens still gets its 413; then the connection is closed."""


def read_body(limit: int) -> bytes:
    """The whole body. Raises PayloadTooLarge over `limit` bytes, whatever the headers say (or do not say)."""
    stream = request.environ["wsgi.input"]
    length = request.content_length
    if length is not None and length <= limit:
        body: bytes = stream.read(length)
        if len(body) < length:
            raise InvalidRequest("the body is shorter than its Content-Length")
        return body
    parts: list[bytes] = []
    size = 0
    while size <= limit * DRAIN_FACTOR:
        part = stream.read(READ_BYTES)
        if not part:
            break
        size += len(part)
        if size <= limit:
            parts.append(part)
    if size > limit:
        raise PayloadTooLarge(f"the body is larger than {limit} bytes")
    return b"".join(parts)


def read_json() -> tuple[dict[str, Any], int]:
    """The body as a JSON object, and its size in bytes.

    Of a name that stands twice the last value counts. What goes upstream is written anew from what was read here, so
    gateway and provider never see different ones.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("send the body without Content-Encoding")
    mimetype = request.mimetype
    if mimetype and mimetype != "application/json" and not mimetype.endswith("+json"):
        raise UnsupportedMediaType("send JSON with Content-Type: application/json")
    raw = read_body(services().front.max_body_bytes)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {str(error)[:200]}", code="invalid_json") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return body, len(raw)
