from __future__ import annotations

import json
from typing import Any

import pytest

from tokenhub.errors import (
    ContextOverflow,
    ProviderBudgetExceeded,
    ProviderError,
    ProviderFatal,
    ProviderRateLimited,
    ProviderTransient,
)
from tokenhub.providers.vllm.failures import classify, costs_nothing, is_endpoints


def older(message: str, kind: str = "BadRequestError", code: int = 400) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def newer(message: str, kind: str = "BadRequestError", code: int = 400, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


REQUESTED = "However, you requested 5000 tokens (4900 in the messages, 100 in the completion)."
OVERFLOWS = [
    older(f"This model's maximum context length is 4096 tokens. {REQUESTED} Please reduce the length."),
    older("This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."),
    older(
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens"
        " and your request has 20 input tokens (5000 > 4096 - 20)."
    ),
    older("The decoder prompt (length 8357) is longer than the maximum model length of 8192. Make sure that"),
    older("The engine prompt length 8357 exceeds the max_model_len 8192. Please reduce prompt."),
    newer(
        "You passed 10243 input tokens and requested 6142 output tokens. However, the model's context length is only "
        "16384 tokens, resulting in a maximum input length of 10242 tokens. Please reduce the length of the input "
        "prompt. (parameter=input_tokens, value=10243)",
        param="input_tokens",
    ),
]


def failure_of(status: int, body: Any) -> ProviderError:
    return classify(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize("body", OVERFLOWS)
def test_every_wording_of_a_context_that_is_too_small_is_understood(body: dict[str, Any]) -> None:
    failure = failure_of(400, body)
    assert type(failure) is ContextOverflow and failure.status == 400
    assert failure.message.startswith((body.get("error") or body)["message"][:40])


def test_a_length_that_only_the_engine_judged_is_an_overflow_too() -> None:
    message = "The decoder prompt (length 9) is longer than the maximum model length of 8."
    assert type(failure_of(500, older(message, "InternalServerError", 500))) is ContextOverflow


@pytest.mark.parametrize(
    ("status", "body", "error", "code", "blame"),
    [
        (404, older("The model `x` does not exist.", "NotFoundError", 404), ProviderFatal, "model_not_found", "target"),
        (404, {"detail": "Not Found"}, ProviderFatal, "model_not_found", "target"),
        (400, older("top_p must be in (0, 1], got 2.0."), ProviderFatal, "invalid_request", "caller"),
        (
            400,
            newer("[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]"),
            ProviderFatal,
            "invalid_request",
            "caller",
        ),
        (
            400,
            older('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
            ProviderFatal,
            "unsupported_feature",
            "target",
        ),
        (400, older("Qwen/Qwen3-0.6B is not a multimodal model None"), ProviderFatal, "unsupported_feature", "target"),
        (
            400,
            newer("At most 0 image(s) may be provided in one prompt."),
            ProviderFatal,
            "unsupported_feature",
            "target",
        ),
        (
            400,
            older("The model does not support Chat Completions API"),
            ProviderFatal,
            "unsupported_feature",
            "target",
        ),
        (
            400,
            older("As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat"),
            ProviderFatal,
            "unsupported_feature",
            "target",
        ),
        (401, {"error": "Unauthorized"}, ProviderFatal, "provider_auth_failed", "provider"),
        (
            500,
            newer("EngineCore encountered an issue. See stack trace (above).", "InternalServerError", 500),
            ProviderTransient,
            "provider_unavailable",
            "target",
        ),
        (503, b"upstream connect error", ProviderTransient, "provider_unavailable", "target"),
        (429, b"", ProviderRateLimited, "provider_rate_limited", "target"),
    ],
)
def test_each_refusal_is_understood(status: int, body: Any, error: type[ProviderError], code: str, blame: str) -> None:
    failure = failure_of(status, body)
    assert (type(failure), failure.code, failure.blame, failure.status) == (error, code, blame, status)
    assert failure.message


@pytest.mark.parametrize(
    ("failure", "moves_on", "cools"),
    [
        (ProviderTransient("no", code="connect_failed", blame="provider"), True, True),
        (ProviderTransient("no", code="tls_failed", blame="provider"), True, True),
        (ProviderTransient("no", status=500), True, True),
        (ProviderTransient("no", status=503), True, True),
        (ProviderRateLimited("no", status=429), True, True),
        (ProviderTransient("no", code="headers_timeout", doubtful=True), False, True),
        (ProviderTransient("no", code="connection_lost", doubtful=True), False, True),
        (ProviderTransient("no", code="first_token_timeout", doubtful=True), False, True),
        (ProviderTransient("no", code="bad_response"), False, False),
        (ProviderTransient("no", code="chunk_timeout"), False, False),
        (ProviderTransient("no", code="bad_response", status=200), False, False),
        (ProviderTransient("no", status=408), False, False),
        (ProviderFatal("no", blame="caller"), False, False),
        (ProviderFatal("no", status=404), False, False),
        (ProviderFatal("no", status=401, blame="provider"), False, False),
        (ProviderBudgetExceeded("no", status=402), False, False),
        (ContextOverflow("no", status=400), False, False),
    ],
)
def test_only_what_is_not_paid_twice_is_asked_elsewhere(failure: ProviderError, moves_on: bool, cools: bool) -> None:
    assert (costs_nothing(failure), is_endpoints(failure)) == (moves_on, cools)
