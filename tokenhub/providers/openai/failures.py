"""What an OpenAI-compatible upstream's refusal means. Pure: status, headers and body in, one ProviderError out.

Decided by status and typed code, never by free text, but for one table: servers that tell a context overflow in
words only (OVERFLOW_WORDS). The message is the upstream's where the caller can act on it, else ours: what a provider
says of our account there is nobody's business.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from tokenhub.errors import (
    ContextOverflow,
    ProviderBudgetExceeded,
    ProviderError,
    ProviderFatal,
    ProviderRateLimited,
    ProviderTransient,
)

MAX_MESSAGE_CHARS = 500
MAX_RETRY_AFTER_S = 3600.0

OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "model_context_window_exceeded"})
BUDGET_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "budget_exceeded",
        "insufficient_balance",
        "insufficient_credits",
    }
)
RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "rate_limited", "too_many_requests"})
CREDENTIAL_CODES = frozenset({"invalid_api_key", "api_key_invalid", "authentication_error", "permission_error"})
MODEL_CODES = frozenset(
    {"model_not_found", "invalid_model", "model_decommissioned", "model_not_available", "deploymentnotfound"}
)
SERVER_CODES = frozenset({"server_error", "internal_error", "internal_server_error", "overloaded_error", "overloaded"})
CALLER_CODES = frozenset(
    {"invalid_request_error", "content_filter", "content_policy_violation", "badrequesterror", "invalid_prompt"}
)

_STATUS_OF_CODES = (
    (RATE_CODES, 429),
    (CREDENTIAL_CODES, 401),
    (MODEL_CODES, 404),
    (SERVER_CODES, 500),
    (CALLER_CODES, 400),
)
"""What a typed code would have been told with, had it not come inside a 200."""

OVERFLOW_WORDS = re.compile(
    r"maximum context length"  # vLLM, OpenRouter, Mistral
    r"|context window"  # LM Studio, TGI
    r"|exceeds? the available context size"  # llama.cpp before it had a type
    r"|input validation error: `inputs` tokens",  # Together, TGI
    re.IGNORECASE,
)
"""Looked for in the message of a 400 or 422 without a code of words only. The one place where words decide."""

_PUBLIC_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What could be read of an error body. `codes` are all typed codes in it, lower case."""

    message: str = ""
    code: str = ""
    param: str | None = None
    codes: frozenset[str] = frozenset()
    status: int | None = None
    """A status that the body itself names."""
    is_flagged: bool = False
    """A moderation refused the caller's text (OpenRouter says so with a 403)."""


def classify(status: int, headers: Mapping[str, str], body: bytes, now_s: float | None = None) -> ProviderError:
    """The failure behind an answer whose status is not 200. `now_s`: Unix time, for Retry-After dates."""
    try:
        decoded: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    return _judge(status, read_refusal(decoded), retry_after_s(headers, time.time() if now_s is None else now_s))


def from_error_object(error: Any) -> ProviderError:
    """The failure behind an error object that came with a 200, whole or in a stream."""
    refusal = read_refusal({"error": error})
    status = refusal.status
    if status is None:
        status = next((status for codes, status in _STATUS_OF_CODES if codes & refusal.codes), 500)
    return _judge(status, refusal, None)


def read_refusal(decoded: Any) -> Refusal:
    """Find message and typed codes in the shapes that servers use; an empty Refusal for anything else."""
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    if not isinstance(decoded, dict):
        return Refusal()
    error = decoded.get("error") or decoded
    if isinstance(error, str):
        return Refusal(message=_tidy(error))
    if not isinstance(error, dict):
        return Refusal()
    message = next((error[k] for k in ("message", "detail") if isinstance(error.get(k), str)), "")
    code, param = error.get("code"), error.get("param")
    metadata = error.get("metadata")
    return Refusal(
        message=_tidy(message),
        code=code if isinstance(code, str) and _PUBLIC_CODE.fullmatch(code) else "",
        param=param[:100] if isinstance(param, str) else None,
        codes=_typed_codes(error),
        status=_status_in(error),
        is_flagged=isinstance(metadata, dict) and "flagged_input" in metadata,
    )


def _typed_codes(error: dict[str, Any]) -> frozenset[str]:
    inner, details = error.get("innererror"), error.get("details")
    found = [error.get("code"), error.get("type"), error.get("status")]
    if isinstance(inner, dict):
        found.append(inner.get("code"))
    if isinstance(details, list):
        found += [entry.get("reason") for entry in details if isinstance(entry, dict)]
    return frozenset(value.lower() for value in found if isinstance(value, str))


def _status_in(error: dict[str, Any]) -> int | None:
    for name in ("code", "status", "statusCode"):
        value = error.get(name)
        text = str(value) if isinstance(value, int | str) else ""
        if re.fullmatch(r"[45][0-9][0-9]", text, re.ASCII):
            return int(text)
    return None


def _tidy(text: str) -> str:
    return " ".join(text[: 4 * MAX_MESSAGE_CHARS].split())[:MAX_MESSAGE_CHARS]


def _judge(status: int, refusal: Refusal, wait_s: float | None) -> ProviderError:
    """Typed codes first, as they say more than the status; then the status."""
    codes = refusal.codes
    if codes & OVERFLOW_CODES:
        return _overflow(status, refusal)
    if status == 402 or codes & BUDGET_CODES:
        return ProviderBudgetExceeded("our account at the provider is out of money or quota", status=status)
    # Groq says 413 with this code where one request is larger than the tokens per minute.
    if status == 429 or codes & RATE_CODES:
        return ProviderRateLimited("the provider asks to slow down", status=status, retry_after_s=wait_s)
    return judge_status(status, refusal.message, wait_s) or _judge_4xx(status, refusal)


def judge_status(status: int, message: str, wait_s: float | None) -> ProviderError | None:
    """What a status says by itself, in any dialect; None for those of the 4xx that ask for a closer look."""
    if status >= 500 or status in (408, 409, 425):
        said = f": {message}" if message else ""
        return ProviderTransient(f"the provider answered {status}{said}", status=status, retry_after_s=wait_s)
    if 300 <= status < 400:
        message = f"the provider answered {status}, a redirect; redirects are not followed, correct its base_url"
        return ProviderFatal(message, code="provider_redirects", status=status, blame="provider")
    if status < 300:
        message = f"the provider answered {status} where 200 is meant"
        return ProviderTransient(message, code="bad_response", status=status)
    return None


def _judge_4xx(status: int, refusal: Refusal) -> ProviderError:
    codes = refusal.codes
    if codes & MODEL_CODES or status == 404:
        message = refusal.message or "the provider does not know this model, or its base_url is wrong"
        return ProviderFatal(message, code="model_not_found", status=status, blame="target")
    if refusal.is_flagged:
        return _caller(status, refusal, "content_filter")
    if status in (401, 403) or codes & CREDENTIAL_CODES:
        message = f"the provider refused our credential ({status})"
        return ProviderFatal(message, code="provider_auth_failed", status=status, blame="provider")
    if status == 413:
        # Too large for this one. Treated as an overflow, because all that can help is a target that takes more.
        return _overflow(status, refusal)
    if status in (400, 422):
        if not refusal.code and OVERFLOW_WORDS.search(refusal.message):
            return _overflow(status, refusal)
        return _caller(status, refusal, "invalid_request")
    message = f"the provider answered {status}" + (f": {refusal.message}" if refusal.message else "")
    return ProviderFatal(message, status=status, blame="target")


def _overflow(status: int, refusal: Refusal) -> ContextOverflow:
    message = refusal.message or "the conversation does not fit the model's context"
    return ContextOverflow(message, status=status, param=refusal.param)


def _caller(status: int, refusal: Refusal, default_code: str) -> ProviderFatal:
    message = refusal.message or f"the provider refused the request ({status}) and did not say why"
    return ProviderFatal(message, code=refusal.code or default_code, status=status, blame="caller", param=refusal.param)


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds to wait by `retry-after-ms` or `Retry-After` (seconds or a date), at most MAX_RETRY_AFTER_S; None where
    neither says anything usable."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text, re.ASCII):
            return min(float(text) * unit_s, MAX_RETRY_AFTER_S)
    try:
        seconds = parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if math.isfinite(seconds) else None
