"""Receipts as the state keeps them: JSON in bytes, and what one says whose worker died. No SQL here."""

from __future__ import annotations

import json

import orjson

from tokenhub.domain.chat import JsonObject
from tokenhub.domain.money import usd_text


def encode(receipt: JsonObject) -> bytes:
    """A receipt as strict JSON. One odd value is no reason to lose a bill: what JSON cannot say is replaced."""
    try:
        return orjson.dumps(receipt)
    except TypeError:
        # Lone surrogates, integers over 64 bit, strange objects. NaN would be written, and could not be read again.
        clean = json.loads(json.dumps(receipt, default=str), parse_constant=lambda _: None)
        return json.dumps(clean, ensure_ascii=False).encode("utf-8", "replace")


def decode(receipt: bytes) -> JsonObject:
    """The receipt that `encode` wrote."""
    decoded: JsonObject = orjson.loads(receipt)
    return decoded


def died(opening: JsonObject, cost_nanousd: int) -> JsonObject:
    """The last word on a request whose worker died: charged is what may have been spent, the rest is not known."""
    unknown: JsonObject = {
        "status_code": 0,
        "upstream_model": "",
        "reason": "",
        "latency_ms": None,
        "ttft_ms": None,
        "not_forwarded": [],
        "attempts": [],
        "policy": {},
        "input_tokens_estimated": 0,
        "max_output_tokens": None,
        "choices": 1,
        "price": None,
        "hint": "",
        "candidates": [],
        "candidates_total": 0,
        "rejected": [],
        "rejected_total": 0,
        "set_aside": [],
        "clamped": {},
    }
    kinds = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")
    tokens = [f"{kind}_tokens" for kind in kinds]
    return {
        **unknown,
        **opening,
        "status": "cancelled",
        "error_code": "worker_died",
        "error_message": "the server's process ended before the answer did",
        "usage": {**dict.fromkeys(tokens, 0), **opening.get("usage", {}), "estimated": True},
        "cost_nanousd": cost_nanousd,
        "cost_usd": usd_text(cost_nanousd),
    }
