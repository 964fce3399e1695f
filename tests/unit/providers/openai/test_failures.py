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
from tokenhub.providers.openai.failures import classify, from_error_object, retry_after_s


class Row(NamedTuple):
    who: str
    status: int
    body: Any
    error: type[ProviderError]
    code: str
    blame: str
    param: str | None = None


def openai(message: str, kind: str | None = None, code: Any = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


INVALID = "invalid_request_error"
ROWS = [
    Row(
        "OpenAI context",
        400,
        openai(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            INVALID,
            "context_length_exceeded",
            "messages",
        ),
        ContextOverflow,
        "context_length_exceeded",
        "target",
        "messages",
    ),
    Row(
        "OpenAI bad value",
        400,
        openai("Invalid type for 'temperature'", INVALID, "invalid_type", "temperature"),
        ProviderFatal,
        "invalid_type",
        "caller",
        "temperature",
    ),
    Row(
        "OpenAI bad value that speaks of context windows",
        400,
        openai("Unsupported parameter: 'context window'", INVALID, "unsupported_parameter", "context"),
        ProviderFatal,
        "unsupported_parameter",
        "caller",
        "context",
    ),
    Row(
        "OpenAI key",
        401,
        openai("Incorrect API key provided: sk-abc.", INVALID, "invalid_api_key"),
        ProviderFatal,
        "provider_auth_failed",
        "provider",
    ),
    Row(
        "OpenAI no such model",
        404,
        openai("The model `gpt-9` does not exist or you do not have access to it.", INVALID, "model_not_found"),
        ProviderFatal,
        "model_not_found",
        "target",
    ),
    Row(
        "OpenAI model not for this project",
        403,
        openai("Project `proj_x` does not have access to model `gpt-4`", INVALID, "model_not_found"),
        ProviderFatal,
        "model_not_found",
        "target",
    ),
    Row(
        "OpenAI rate",
        429,
        openai("Rate limit reached for gpt-4o: 403 of 400", "tokens", "rate_limit_exceeded"),
        ProviderRateLimited,
        "provider_rate_limited",
        "target",
    ),
    Row(
        "OpenAI quota",
        429,
        openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
        ProviderBudgetExceeded,
        "provider_budget_exceeded",
        "provider",
    ),
    Row(
        "OpenAI hard limit",
        400,
        openai("Billing hard limit has been reached", INVALID, "billing_hard_limit_reached"),
        ProviderBudgetExceeded,
        "provider_budget_exceeded",
        "provider",
    ),
    Row(
        "OpenAI overloaded",
        503,
        openai("That model is currently overloaded", "server_error"),
        ProviderTransient,
        "provider_unavailable",
        "target",
    ),
    Row(
        "Azure filter",
        400,
        {
            "error": {
                "message": "The response was filtered",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        ProviderFatal,
        "content_filter",
        "caller",
        "prompt",
    ),
    Row(
        "Azure rate",
        429,
        {"error": {"code": "429", "message": "Requests have exceeded call rate limit. Please retry after 6 seconds."}},
        ProviderRateLimited,
        "provider_rate_limited",
        "target",
    ),
    Row(
        "Azure key",
        401,
        {"statusCode": 401, "message": "Unauthorized. Access token is missing"},
        ProviderFatal,
        "provider_auth_failed",
        "provider",
    ),
    Row(
        "Azure deployment",
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}},
        ProviderFatal,
        "model_not_found",
        "target",
    ),
    Row(
        "vLLM context",
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        ContextOverflow,
        "context_length_exceeded",
        "target",
    ),
    Row(
        "vLLM context, newer",
        400,
        openai("You passed 5000 input tokens; the model's maximum context length is 4096", "BadRequestError", 400),
        ContextOverflow,
        "context_length_exceeded",
        "target",
    ),
    Row(
        "vLLM model",
        404,
        {"object": "error", "message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404},
        ProviderFatal,
        "model_not_found",
        "target",
    ),
    Row(
        "vLLM value",
        400,
        {"object": "error", "message": "top_p must be in (0, 1]", "type": "BadRequestError", "code": 400},
        ProviderFatal,
        "invalid_request",
        "caller",
    ),
    Row(
        "llama.cpp context",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 5000,
                "n_ctx": 4096,
            }
        },
        ContextOverflow,
        "context_length_exceeded",
        "target",
    ),
    Row(
        "llama.cpp loading",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        ProviderTransient,
        "provider_unavailable",
        "target",
    ),
    Row(
        "Ollama model",
        404,
        openai('model "llama9" not found, try pulling it first', "api_error"),
        ProviderFatal,
        "model_not_found",
        "target",
    ),
    Row("Ollama plain", 500, {"error": "llama runner terminated"}, ProviderTransient, "provider_unavailable", "target"),
    Row(
        "Groq too many tokens a minute",
        413,
        openai("Request too large for model `x`: Limit 6000, Requested 9000", "tokens", "rate_limit_exceeded"),
        ProviderRateLimited,
        "provider_rate_limited",
        "target",
    ),
    Row(
        "Groq context",
        400,
        openai("Please reduce the length of the messages", INVALID, "context_length_exceeded", "messages"),
        ContextOverflow,
        "context_length_exceeded",
        "target",
        "messages",
    ),
    Row(
        "Groq gone",
        400,
        openai("The model `x` has been decommissioned", INVALID, "model_decommissioned"),
        ProviderFatal,
        "model_not_found",
        "target",
    ),
    Row("Groq capacity", 498, openai("capacity", INVALID), ProviderFatal, "provider_rejected", "target"),
    Row(
        "OpenRouter credits",
        402,
        {"error": {"code": 402, "message": "Insufficient credits. Add more using https://openrouter.ai/credits"}},
        ProviderBudgetExceeded,
        "provider_budget_exceeded",
        "provider",
    ),
    Row(
        "OpenRouter moderation",
        403,
        {
            "error": {
                "code": 403,
                "message": "Your chosen model requires moderation and your input was flagged",
                "metadata": {"reasons": ["violence"], "flagged_input": "..."},
            }
        },
        ProviderFatal,
        "content_filter",
        "caller",
    ),
    Row(
        "OpenRouter context",
        400,
        {"error": {"code": 400, "message": "This endpoint's maximum context length is 32768 tokens."}},
        ContextOverflow,
        "context_length_exceeded",
        "target",
    ),
    Row(
        "OpenRouter down",
        502,
        {"error": {"code": 502, "message": "Provider returned error"}},
        ProviderTransient,
        "provider_unavailable",
        "target",
    ),
    Row(
        "Mistral context",
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "type": "invalid_request_error",
            "param": None,
            "code": "3051",
        },
        ContextOverflow,
        "context_length_exceeded",
        "target",
    ),
    Row(
        "Mistral validation",
        422,
        {"detail": [{"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}]},
        ProviderFatal,
        "invalid_request",
        "caller",
    ),
    Row("Mistral key", 401, {"detail": "Unauthorized"}, ProviderFatal, "provider_auth_failed", "provider"),
    Row(
        "Mistral capacity",
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded",
            "type": "invalid_request_error",
            "code": "3505",
        },
        ProviderRateLimited,
        "provider_rate_limited",
        "target",
    ),
    Row(
        "Together context",
        422,
        openai("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097", INVALID),
        ContextOverflow,
        "context_length_exceeded",
        "target",
    ),
    Row(
        "Gemini key",
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "API key not valid.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
        ProviderFatal,
        "provider_auth_failed",
        "provider",
    ),
    Row("nginx too large", 413, b"<html>413</html>", ContextOverflow, "context_length_exceeded", "target"),
    Row("nginx gateway", 502, b"<html>bad gateway</html>", ProviderTransient, "provider_unavailable", "target"),
    Row("a wrong path", 404, b"<html>not found</html>", ProviderFatal, "model_not_found", "target"),
    Row("a proxy's timeout", 408, b"", ProviderTransient, "provider_unavailable", "target"),
    Row("a conflict", 409, b"", ProviderTransient, "provider_unavailable", "target"),
    Row("too early", 425, b"", ProviderTransient, "provider_unavailable", "target"),
    Row("Cloudflare", 529, b"error code: 529", ProviderTransient, "provider_unavailable", "target"),
    Row("a redirect", 307, b"", ProviderFatal, "provider_redirects", "provider"),
    Row("no content", 204, b"", ProviderTransient, "bad_response", "target"),
    Row("a wrong method", 405, b"", ProviderFatal, "provider_rejected", "target"),
    Row("a 403 without a word", 403, b"", ProviderFatal, "provider_auth_failed", "provider"),
    Row("a 400 without a word", 400, b"", ProviderFatal, "invalid_request", "caller"),
    Row(
        "a body of odd types",
        400,
        {"error": {"message": 7, "code": ["x"], "param": 1}},
        ProviderFatal,
        "invalid_request",
        "caller",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.who)
def test_each_servers_refusals_are_understood(row: Row) -> None:
    body = row.body if isinstance(row.body, bytes) else json.dumps(row.body).encode()
    failure = classify(row.status, {}, body)
    assert type(failure) is row.error
    assert (failure.code, failure.blame, failure.status, failure.param) == (row.code, row.blame, row.status, row.param)
    assert not failure.doubtful and failure.message


def test_the_caller_is_told_what_the_upstream_said_and_nothing_of_our_account() -> None:
    assert classify(400, {}, json.dumps(openai("no\nsuch   field", INVALID)).encode()).message == "no such field"
    for status in (401, 402, 429):
        body = json.dumps(openai("organization org-secret on key sk-secret")).encode()
        assert "secret" not in classify(status, {}, body).message
    assert len(classify(400, {}, json.dumps(openai("x" * 10_000)).encode()).message) == 500


def test_a_code_that_could_break_a_header_is_not_taken_over() -> None:
    assert classify(400, {}, json.dumps(openai("m", INVALID, "bad\r\nX: y")).encode()).code == "invalid_request"


@pytest.mark.parametrize(
    ("error", "cls", "code"),
    [
        ({"message": "slow down", "code": "rate_limit_exceeded"}, ProviderRateLimited, "provider_rate_limited"),
        ({"message": "slow down", "code": 429}, ProviderRateLimited, "provider_rate_limited"),
        ({"message": "no money", "code": "402"}, ProviderBudgetExceeded, "provider_budget_exceeded"),
        ({"message": "m", "type": "invalid_request_error", "code": "x_y"}, ProviderFatal, "x_y"),
        ({"message": "m", "code": "context_length_exceeded"}, ContextOverflow, "context_length_exceeded"),
        ({"message": "m", "type": "overloaded_error"}, ProviderTransient, "provider_unavailable"),
        ({"message": "m"}, ProviderTransient, "provider_unavailable"),
        ("just words", ProviderTransient, "provider_unavailable"),
        (["odd"], ProviderTransient, "provider_unavailable"),
        (True, ProviderTransient, "provider_unavailable"),
    ],
)
def test_an_error_object_inside_a_200_is_classified_like_a_status(error: Any, cls: type, code: str) -> None:
    failure = from_error_object(error)
    assert (type(failure), failure.code) == (cls, code)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "86400"}, 3600.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "٣"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms_and_capped(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now_s=1000.0) == seconds


def test_rate_limits_and_outages_carry_their_retry_after() -> None:
    assert classify(429, {"retry-after": "3"}, b"").retry_after_s == 3.0
    assert classify(503, {"retry-after": "4"}, b"").retry_after_s == 4.0
