from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tokenhub.errors import (
    ContextOverflow,
    ProviderBudgetExceeded,
    ProviderError,
    ProviderFatal,
    ProviderRateLimited,
    ProviderTransient,
)
from tokenhub.providers.anthropic.failures import classify, from_error_object


class Row(NamedTuple):
    who: str
    status: int
    body: Any
    error: type[ProviderError]
    code: str
    blame: str


def anthropic(kind: str, message: str, cause: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"type": kind, "message": message}
    if cause:
        error["details"] = {"error_visibility": "user_facing", "error_code": cause}
    return {"type": "error", "error": error, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


INVALID = "invalid_request_error"
OVERFLOW = (ContextOverflow, "context_length_exceeded", "target")
CALLER = (ProviderFatal, "invalid_request", "caller")
BUDGET = (ProviderBudgetExceeded, "provider_budget_exceeded", "provider")
ACCOUNT = (ProviderFatal, "provider_auth_failed", "provider")
MODEL = (ProviderFatal, "model_not_found", "target")
RATE = (ProviderRateLimited, "provider_rate_limited", "target")
BUSY = (ProviderTransient, "provider_unavailable", "target")

ROWS = [
    Row("context", 400, anthropic(INVALID, "prompt is too long: 207791 tokens > 200000 maximum"), *OVERFLOW),
    Row(
        "context with max_tokens",
        400,
        anthropic(
            INVALID,
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or "
            "`max_tokens` and try again",
        ),
        *OVERFLOW,
    ),
    Row("Bedrock context", 400, {"message": "Input is too long for requested model."}, *OVERFLOW),
    Row(
        "vLLM context",
        400,
        anthropic(INVALID, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens"),
        *OVERFLOW,
    ),
    Row(
        "too large",
        413,
        anthropic("request_too_large", "Request exceeds the maximum allowed number of bytes."),
        *OVERFLOW,
    ),
    Row("too large at the edge", 413, "<html>413 Request Entity Too Large</html>", *OVERFLOW),
    Row(
        "too large once unpacked",
        413,
        anthropic(INVALID, "x", "request_body_too_large_after_decoding"),
        *OVERFLOW,
    ),
    Row("no limit", 400, anthropic(INVALID, "max_tokens: Field required"), *CALLER),
    Row(
        "unanswered call",
        400,
        anthropic(
            INVALID, "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1."
        ),
        *CALLER,
    ),
    Row("sampling", 400, anthropic(INVALID, "`temperature` is deprecated for this model."), *CALLER),
    Row("filter", 400, anthropic(INVALID, "Output blocked by content filtering policy"), *CALLER),
    Row("unprocessable", 422, anthropic(INVALID, "messages: Input should be a valid list"), *CALLER),
    Row("a name like a code", 400, anthropic(INVALID, "tools.0.name: billing_error is not a valid name"), *CALLER),
    Row(
        "no credit",
        400,
        anthropic(
            INVALID,
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits.",
        ),
        *BUDGET,
    ),
    Row(
        "own limit",
        400,
        anthropic(
            INVALID,
            "You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00 UTC.",
        ),
        *BUDGET,
    ),
    Row(
        "workspace limit",
        400,
        anthropic(INVALID, "You have reached your specified workspace API usage limits."),
        *BUDGET,
    ),
    Row("billing", 402, anthropic("billing_error", "There is an issue with your payment method."), *BUDGET),
    Row("contract", 429, anthropic("rate_limit_error", "x", "contract_spend_limit_reached"), *BUDGET),
    Row("tier", 429, anthropic("rate_limit_error", "x", "enforced_spend_limit_reached"), *BUDGET),
    Row("key", 401, anthropic("authentication_error", "invalid x-api-key"), *ACCOUNT),
    Row(
        "key lacks a right",
        403,
        anthropic("permission_error", "Your API key does not have permission to use the specified resource."),
        *ACCOUNT,
    ),
    Row("edge", 403, "<html>Forbidden</html>", *ACCOUNT),
    Row("disabled", 400, anthropic(INVALID, "This organization has been disabled."), *ACCOUNT),
    Row("on hold", 400, anthropic(INVALID, "x", "organization_on_hold"), *ACCOUNT),
    Row("model", 404, anthropic("not_found_error", "model: claude-9"), *MODEL),
    Row("path", 404, "<html>Not Found</html>", *MODEL),
    Row(
        "rate",
        429,
        anthropic(
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50,000 input tokens per minute",
        ),
        *RATE,
    ),
    Row("ramp", 429, anthropic("rate_limit_error", "x", "ramp_limit_exceeded"), *RATE),
    Row("overloaded", 529, anthropic("overloaded_error", "Overloaded"), *BUSY),
    Row("internal", 500, anthropic("api_error", "Internal server error"), *BUSY),
    Row("gateway", 504, anthropic("timeout_error", "The request took too long"), *BUSY),
    Row("edge down", 502, "<html>Bad Gateway</html>", *BUSY),
    Row("conflict", 409, anthropic("conflict_error", "try again"), *BUSY),
    Row("timeout", 408, "", *BUSY),
    Row("redirect", 308, "", ProviderFatal, "provider_redirects", "provider"),
    Row("no content", 204, "", ProviderTransient, "bad_response", "target"),
    Row("method", 405, {"detail": "Method Not Allowed"}, ProviderFatal, "provider_rejected", "target"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.who)
def test_a_real_answer_is_what_it_is(row: Row) -> None:
    body = row.body if isinstance(row.body, str) else json.dumps(row.body)
    failure = classify(row.status, {}, body.encode())
    assert type(failure) is row.error
    assert (failure.code, failure.blame, failure.status, failure.doubtful) == (row.code, row.blame, row.status, False)


def test_callers_read_what_they_can_act_on_and_nothing_of_our_account() -> None:
    told = classify(400, {}, json.dumps(anthropic(INVALID, "max_tokens: Field required")).encode())
    assert told.message == "max_tokens: Field required"
    for status, body in (
        (400, anthropic(INVALID, "Your credit balance is too low, Ann")),
        (401, anthropic("authentication_error", "Ann's key is bad")),
        (403, anthropic("permission_error", "Ann may not")),
        (429, anthropic("rate_limit_error", "Ann's rate limit")),
    ):
        assert "Ann" not in classify(status, {}, json.dumps(body).encode()).message


def test_how_long_to_wait_is_told_for_rates_and_for_a_busy_model() -> None:
    for status, kind in ((429, "rate_limit_error"), (529, "overloaded_error")):
        body = json.dumps(anthropic(kind, "x")).encode()
        assert classify(status, {"retry-after": "7"}, body).retry_after_s == 7.0
        assert classify(status, {}, body).retry_after_s is None
        assert classify(status, {"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}, body, now_s=10.0).retry_after_s == 20


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("overloaded_error", ProviderTransient, 529),
        ("api_error", ProviderTransient, 500),
        ("timeout_error", ProviderTransient, 504),
        ("unheard_of", ProviderTransient, 500),
        ("rate_limit_error", ProviderRateLimited, 429),
        ("invalid_request_error", ProviderFatal, 400),
        ("authentication_error", ProviderFatal, 401),
        ("not_found_error", ProviderFatal, 404),
        ("request_too_large", ContextOverflow, 413),
        ("billing_error", ProviderBudgetExceeded, 402),
    ],
)
def test_an_error_that_came_with_a_200_is_judged_by_its_type(
    kind: str, error: type[ProviderError], status: int
) -> None:
    failure = from_error_object({"type": kind, "message": "m"})
    assert type(failure) is error and failure.status == status


@pytest.mark.parametrize("error", [None, "text", 7, [], {}, {"type": 7, "message": []}, {"details": {"error_code": 1}}])
def test_whatever_an_error_object_is_it_is_a_failure(error: Any) -> None:
    assert isinstance(from_error_object(error), ProviderError)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"[1]", b'"x"', b"\xff", b'{"error":{"details":[]}}', b"[" * 9999]
)
def test_whatever_a_body_is_the_status_decides(body: bytes) -> None:
    assert isinstance(classify(503, {}, body), ProviderTransient)
    assert classify(400, {}, body).blame == "caller"
