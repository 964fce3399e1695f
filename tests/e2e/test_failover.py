"""A failing model is replaced before the first token; what was tried stands on the receipt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import GatewayFactory
from tests.e2e.harness import Gateway, events, said, until
from tests.factories import chat_body, model_entry, provider_entry
from tests.upstream.answers import digest_of
from tests.upstream.process import UpstreamProcess

TEXT = " ".join([digest_of("hello"), *(f"word{number}" for number in range(1, 8))])
BEFORE_ANY_TOKEN = (
    "status-500 status-502 status-503 status-404 status-429 error-in-200 html redirect cut-headers".split()
)
PROVIDERS_FAULT = "status-401 status-403 status-429-insufficient_quota".split()


def text_of(answer: Any, stream: bool) -> str:
    return said(events(answer.body)) if stream else answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", BEFORE_ANY_TOKEN)
def test_another_model_answers_before_the_first_token(
    gateway: Gateway, upstream: UpstreamProcess, model: str, stream: bool
) -> None:
    mark = upstream.mark()
    answer = gateway.chat(chat_body(model, stream=stream))
    assert (answer.status, text_of(answer, stream)) == (200, TEXT)
    assert answer.headers["x-tokenhub-model"] != model
    assert answer.headers["x-tokenhub-reason"].startswith("failover-")
    receipt = gateway.receipt(answer.decision_id)
    first, last = receipt["attempts"]
    assert first["model"] == model and first["outcome"] not in ("ok", "pending") and first["reason"]
    assert last["model"] == answer.headers["x-tokenhub-model"] and last["outcome"] == "ok"
    assert (receipt["model_requested"], receipt["model"], receipt["status"]) == (model, last["model"], "ok")
    assert [call["model"] for call in upstream.calls(mark)] == [model, last["model"]]
    assert upstream.books()["followed_redirects"] == 0


@pytest.mark.parametrize("model", PROVIDERS_FAULT)
def test_where_the_provider_is_at_fault_another_provider_answers(
    gateway: Gateway, upstream: UpstreamProcess, model: str
) -> None:
    mark = upstream.mark()
    answer = gateway.chat(chat_body(model))
    assert (answer.status, answer.headers["x-tokenhub-provider"]) == (200, "beta")
    assert [call["model"] for call in upstream.calls(mark)] == [model, "ok+spare"]


def test_each_provider_gets_its_own_key_and_no_other(gateway: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    gateway.chat(chat_body("ok"))
    gateway.chat(chat_body("ok+spare"))
    alpha, beta = upstream.calls(mark)
    assert alpha["authorization_sha256"] != beta["authorization_sha256"]
    assert gateway.first_key not in str(alpha) + str(beta)


def test_only_known_headers_go_to_the_provider(gateway: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    sent = {"x-secret": "canary", "cookie": "a=b", "x-forwarded-for": "192.0.2.1", "openai-organization": "org"}
    assert gateway.chat(chat_body("ok"), headers=sent).status == 200
    (call,) = upstream.calls(mark)
    assert not {"x-secret", "cookie", "x-forwarded-for"} & call["headers"].keys()
    assert call["headers"].get("accept-encoding", "identity") == "identity"


@pytest.mark.parametrize("stream", [False, True])
def test_a_context_overflow_that_no_other_model_cures_is_the_callers_400(gateway: Gateway, stream: bool) -> None:
    answer = gateway.chat(chat_body("status-400-context_length_exceeded", stream=stream))
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.error["code"] == "context_length_exceeded"


def test_every_other_answer_of_a_flaky_model_is_replaced(gateway: Gateway) -> None:
    models = [gateway.chat(chat_body("flaky")).headers["x-tokenhub-model"] for _ in range(4)]
    assert sorted(models) == sorted([models[0], models[1]] * 2)
    assert "flaky" in models


# ---------------------------------------------------------------- a gateway that can only fail


@pytest.fixture(scope="module")
def doomed(upstream: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Short deadlines, and nothing but models that fail or hang."""
    weights = {"status-500": 60, "status-503": 50, "status-429": 40, "status-429+b": 30, "hang": 2, "hang-stream": 1}
    gateway = Gateway(
        tmp_path_factory.mktemp("doomed"),
        {
            "providers": [provider_entry("alpha", upstream.url)],
            "models": [model_entry(name, weight=weight) for name, weight in weights.items()],
        },
        {"TOKENHUB_PROVIDER_TIMEOUT_SECS": "1", "TOKENHUB_REQUEST_TIMEOUT_SECS": "3"},
    )
    yield gateway
    gateway.stop()
    gateway.fail_on_new_tracebacks()


@pytest.mark.parametrize("stream", [False, True])
def test_where_all_fail_the_answer_is_502_and_the_receipt_lists_every_attempt(
    doomed: Gateway, upstream: UpstreamProcess, stream: bool
) -> None:
    mark = upstream.mark()
    answer = doomed.chat(chat_body("status-500", stream=stream), headers={"x-request-id": f"doomed-{stream}"})
    assert answer.status in (502, 504)
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["message"] and answer.error["code"]
    calls = upstream.calls(mark)
    assert 2 <= len(calls) <= 5
    assert len({call["model"] for call in calls}) == len(calls), "a dead end is not tried again"


def test_a_refused_request_has_its_row_in_the_log(doomed: Gateway) -> None:
    key = doomed.new_key()
    assert doomed.chat(chat_body("status-500"), key=key.secret).status >= 500
    until(lambda: len(doomed.logs(key)) == 1)
    (row,) = doomed.logs(key)
    assert row["status"] == "error"
    assert len(row["attempts"]) >= 2
    assert row["attempts"][0]["model"] == "status-500"


def test_a_silent_answer_that_is_not_streamed_ends_at_the_deadline_of_the_whole(doomed: Gateway) -> None:
    answer = doomed.chat(chat_body("hang"))
    assert answer.status == 504
    assert answer.headers["x-request-id"]


def test_a_stream_that_falls_silent_ends_with_an_error_event(doomed: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    answer = doomed.chat(chat_body("hang-stream", stream=True))
    found = events(answer.body)
    assert answer.status == 200 and "[DONE]" not in found
    assert found[-1]["error"]["message"]
    assert said(found) == f"{digest_of('hello')} word1 word2"
    (call,) = upstream.closed_calls(mark)
    assert call["outcome"] == "client_gone", "the connection to the silent provider is given up"
    receipt = doomed.receipt(answer.decision_id)
    assert receipt["status"] == "error" and receipt["cost_nanousd"] > 0


def test_a_stream_that_does_not_begin_is_tried_elsewhere(doomed: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    answer = doomed.chat(chat_body("hang", stream=True, tokenhub={"fallback": ["status-500"]}))
    assert answer.status in (502, 504)
    assert [call["model"] for call in upstream.closed_calls(mark)][:2] == ["hang", "status-500"]


@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "0.0.0.0"])
def test_a_metadata_address_is_never_connected_to(
    start_gateway: GatewayFactory, upstream: UpstreamProcess, host: str
) -> None:
    port = upstream.url.rsplit(":", 1)[1]  # there somebody would answer, on 0.0.0.0
    evil = provider_entry("evil", f"http://{host}:{port}")
    gateway = start_gateway({"providers": [evil], "models": [model_entry("secrets", "evil")]})
    mark, key = upstream.mark(), gateway.new_key()
    assert gateway.chat(chat_body("secrets"), key=key.secret).status == 502
    until(lambda: bool(gateway.logs(key)))
    (attempt,) = gateway.logs(key)[0]["attempts"]
    assert attempt["outcome"] == "connect_failed" and attempt["kept_nanousd"] == 0
    assert upstream.calls(mark) == []
