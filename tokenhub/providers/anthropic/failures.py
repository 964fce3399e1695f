"""What a refusal of Anthropic's API means. Pure: status, headers and body in, one ProviderError out.

Decided by status and typed code, never by free text, but for three tables: what the API tells in words only, under
`invalid_request_error`. The message is the upstream's where the caller can act on it, else ours: what a provider says
of our account there is nobody's business.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from tokenhub.errors import (
    ContextOverflow,
    ProviderBudgetExceeded,
    ProviderError,
    ProviderFatal,
    ProviderRateLimited,
)
from tokenhub.providers.openai.failures import Refusal, judge_status, read_refusal, retry_after_s

BUDGET_CODES = frozenset(
    {
        "billing_error",
        "credit_balance_too_low",
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached",
        "user_profile_billing_not_authorized",
        "user_profile_not_billable",
    }
)
OVERFLOW_CODES = frozenset({"request_too_large", "request_body_too_large_after_decoding"})
RATE_CODES = frozenset({"rate_limit_error", "ramp_limit_exceeded"})
ACCOUNT_CODES = frozenset(
    {
        "authentication_error",
        "permission_error",
        "organization_on_hold",
        "claude_code_key_creator_not_member",
        "cmek_key_disabled",
        "cmek_key_network_blocked",
        "workspace_policy_violation",
    }
)
MODEL_CODES = frozenset({"not_found_error"})

_STATUS_OF_CODES = (
    (BUDGET_CODES, 402),
    (OVERFLOW_CODES, 413),
    (RATE_CODES, 429),
    (ACCOUNT_CODES, 401),
    (MODEL_CODES, 404),
    (frozenset({"overloaded_error"}), 529),
    (frozenset({"timeout_error"}), 504),
    (frozenset({"invalid_request_error"}), 400),
)
"""What a typed code would have been told with, had it not come inside a 200."""

OVERFLOW_WORDS = re.compile(
    r"prompt is too long"
    r"|exceeds? (?:the )?context (?:limit|window)"  # input and max_tokens together
    r"|input is too long"  # Bedrock
    r"|maximum context length",  # vLLM's and others' imitations
    re.IGNORECASE,
)
BUDGET_WORDS = re.compile(r"credit balance is too low|specified (?:\w+ )?API usage limits", re.IGNORECASE)
ACCOUNT_WORDS = re.compile(r"this organization has been disabled", re.IGNORECASE)


def classify(status: int, headers: Mapping[str, str], body: bytes, now_s: float | None = None) -> ProviderError:
    """The failure behind an answer whose status is not 200. `now_s`: Unix time, for Retry-After dates."""
    try:
        decoded: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        decoded = None
    return _judge(status, _read(decoded), retry_after_s(headers, time.time() if now_s is None else now_s))


def from_error_object(error: Any) -> ProviderError:
    """The failure behind an error object that came with a 200, whole or in a stream."""
    refusal = _read({"error": error})
    status = next((status for codes, status in _STATUS_OF_CODES if codes & refusal.codes), refusal.status or 500)
    return _judge(status, refusal, None)


def _read(decoded: Any) -> Refusal:
    """What an error body says, with the code that names the cause (`details.error_code`)."""
    refusal = read_refusal(decoded)
    error = decoded.get("error") if isinstance(decoded, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    cause = details.get("error_code") if isinstance(details, dict) else None
    return replace(refusal, codes=refusal.codes | {cause.lower()}) if isinstance(cause, str) else refusal


def _judge(status: int, refusal: Refusal, wait_s: float | None) -> ProviderError:
    """Typed codes first, as they say more than the status; then the status."""
    codes = refusal.codes
    if status == 402 or codes & BUDGET_CODES:
        return _budget(status)
    if status == 429 or codes & RATE_CODES:
        return ProviderRateLimited("the provider asks to slow down", status=status, retry_after_s=wait_s)
    # 529 and overloaded_error are 5xx too: the model is busy for everybody, not we are too fast.
    return judge_status(status, refusal.message, wait_s) or _judge_4xx(status, refusal)


def _judge_4xx(status: int, refusal: Refusal) -> ProviderError:
    codes, told = refusal.codes, refusal.message
    if status == 413 or codes & OVERFLOW_CODES:
        # Too large for this one. Treated as an overflow, because all that can help is a target that takes more.
        return ContextOverflow(told or "the request is too large for the provider", status=status)
    if status == 404 or codes & MODEL_CODES:
        message = told or "the provider does not know this model, or its base_url is wrong"
        return ProviderFatal(message, code="model_not_found", status=status, blame="target")
    if status in (401, 403) or codes & ACCOUNT_CODES:
        return _account(status)
    if status in (400, 422):
        return _judge_words(status, refusal)
    message = f"the provider answered {status}" + (f": {told}" if told else "")
    return ProviderFatal(message, status=status, blame="target")


def _judge_words(status: int, refusal: Refusal) -> ProviderError:
    """A 400: mostly the caller's doing, but the API has no other type for some that are not."""
    told = refusal.message
    if OVERFLOW_WORDS.search(told):
        return ContextOverflow(told, status=status)
    if BUDGET_WORDS.search(told):
        return _budget(status)
    if ACCOUNT_WORDS.search(told):
        return _account(status)
    message = told or f"the provider refused the request ({status}) and did not say why"
    return ProviderFatal(message, code="invalid_request", status=status, blame="caller", param=refusal.param)


def _budget(status: int) -> ProviderBudgetExceeded:
    return ProviderBudgetExceeded("our account at the provider is out of money or quota", status=status)


def _account(status: int) -> ProviderFatal:
    message = f"the provider refused our credential ({status})"
    return ProviderFatal(message, code="provider_auth_failed", status=status, blame="provider")
