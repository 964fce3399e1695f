"""What an upstream's JSON is made of, read so that odd servers are understood and nothing wrong is believed. Pure.

No protocol's field names: what the objects mean is in each provider's wire.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import orjson

from tokenhub.domain.chat import JsonObject
from tokenhub.errors import ProviderFatal, ProviderTransient

MAX_COUNT = 1_000_000_000
"""A count from there on is no count."""
MAX_LENIENT_BYTES = 1 << 20
MAX_DEPTH: Final = 254
"""Deepest nesting that orjson writes."""


def bad_response(message: str) -> ProviderTransient:
    """The failure of an answer that is not what the protocol promises."""
    return ProviderTransient(message, code="bad_response")


def load_object(payload: bytes) -> tuple[JsonObject, bool]:
    """A JSON object, and whether the bytes themselves are JSON that may be forwarded. Raises ProviderTransient
    (bad_response) for anything else.

    Servers that write NaN into usage, or split a surrogate pair over two events, are understood all the same.
    """
    try:
        value, is_exact = orjson.loads(payload), True
    except orjson.JSONDecodeError:
        value, is_exact = _load_leniently(payload)
    if not isinstance(value, dict):
        raise bad_response("the provider's answer is no JSON object")
    return value, is_exact


def _load_leniently(payload: bytes) -> tuple[Any, bool]:
    odd_numbers: list[str] = []

    def number(text: str) -> float | None:
        value = float(text)
        if math.isfinite(value):
            return value
        odd_numbers.append(text)
        return None

    if len(payload) <= MAX_LENIENT_BYTES:
        try:
            value = json.loads(payload.decode(), parse_float=number, parse_constant=number)
            clean = json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")
            return orjson.loads(clean), not odd_numbers
        except (ValueError, RecursionError):
            pass
    raise bad_response("the provider's answer is not JSON")


def dump(value: Any) -> bytes:
    """JSON bytes of something that a provider said."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise bad_response("the provider's answer is nested too deeply") from error


def encode(payload: JsonObject) -> bytes:
    """JSON bytes of a request. Raises ProviderFatal (blame "caller") for what cannot be written."""
    try:
        return orjson.dumps(payload)
    except TypeError as error:
        raise ProviderFatal(
            "the request is nested too deeply or holds a value that JSON cannot carry",
            code="invalid_request",
            blame="caller",
        ) from error


def count(value: Any) -> int | None:
    """A number of tokens, or None for what cannot be one: missing, negative, huge, not whole."""
    return value if type(value) is int and 0 <= value < MAX_COUNT else None


def text_size(value: Any) -> int:
    """UTF-8 size of a text; 0 for anything else."""
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))
