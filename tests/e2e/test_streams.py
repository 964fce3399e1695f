"""Streams at the level of bytes: their exact form, how they break, and what their bill is then."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.e2e.harness import Gateway, Key, events, said, until
from tests.factories import chat_body, cost_nanousd
from tests.upstream.answers import digest_of
from tests.upstream.process import UpstreamProcess

DIGEST = digest_of("hello")
TEXT = " ".join([DIGEST, *(f"word{number}" for number in range(1, 8))])


def stream_body(model: str, **fields: Any) -> dict[str, Any]:
    return chat_body(model, stream=True, **fields)


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_has_openais_exact_form(gateway: Gateway, include_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    answer = gateway.chat(stream_body("ok", **options))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    *found, mark = events(answer.body)
    assert mark == "[DONE]"
    assert all(event["object"] == "chat.completion.chunk" for event in found)
    assert [index for index, event in enumerate(found) if event.get("usage")] == (
        [len(found) - 1] if include_usage else []
    )
    assert all(("usage" in event) is include_usage for event in found)
    choices = [event for event in found if event["choices"]]
    assert len(found) - len(choices) == include_usage
    assert sum("role" in event["choices"][0]["delta"] for event in choices) == 1
    assert choices[-1]["choices"][0] | {"logprobs": None} == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }


@pytest.mark.parametrize("model", ["crlf", "many", "multiline", "comments", "usage-growing", "usage-twice"])
def test_odd_but_valid_framing_comes_out_clean(gateway: Gateway, model: str) -> None:
    answer = gateway.chat(stream_body(model, stream_options={"include_usage": True}))
    *found, mark = events(answer.body)
    assert mark == "[DONE]"
    assert said(found) == TEXT
    assert found[-1]["usage"]["completion_tokens"] == 8
    assert sum(1 for event in found if event.get("usage")) == 1


def test_a_stream_that_comes_byte_by_byte_comes_out_clean(gateway: Gateway) -> None:
    *found, mark = events(gateway.chat(stream_body("tiny")).body)
    assert (said(found), mark) == (f"{DIGEST} word1 word2", "[DONE]")


def test_split_characters_are_whole_again(gateway: Gateway) -> None:
    *found, mark = events(gateway.chat(stream_body("splitutf8")).body)
    assert said(found) == DIGEST + "".join(f" hé€𝄞{number}" for number in range(1, 8))
    assert mark == "[DONE]"


def test_a_finished_stream_without_its_end_mark_is_complete(gateway: Gateway) -> None:
    *found, mark = events(gateway.chat(stream_body("no-done")).body)
    assert (said(found), mark) == (TEXT, "[DONE]")


@pytest.mark.parametrize("model", ["cut", "eof", "error-in-stream"])
def test_a_break_in_the_middle_is_an_error_event_without_an_end_mark_and_settled(
    gateway: Gateway, upstream: UpstreamProcess, model: str
) -> None:
    mark = upstream.mark()
    answer = gateway.chat(stream_body(model))
    assert answer.status == 200
    found = events(answer.body)
    assert "[DONE]" not in found
    error = found[-1]["error"]
    assert error["message"] and error["type"] and error["code"]
    assert said(found) == f"{DIGEST} word1 word2", "delivered once, nothing retried after the first byte"
    assert len(upstream.calls(mark)) == 1
    receipt = gateway.receipt(answer.decision_id)
    assert receipt["status"] == "error"
    assert receipt["error_code"]
    assert receipt["usage"]["estimated"] is True
    assert receipt["usage"]["output_tokens"] >= 3
    assert receipt["cost_nanousd"] > 0
    assert [attempt["outcome"] == "ok" for attempt in receipt["attempts"]] == [False]


def test_a_bad_event_does_not_end_in_silence(gateway: Gateway) -> None:
    found = events(gateway.chat(stream_body("badjson")).body)
    assert found[-1] == "[DONE]" or found[-1]["error"]
    assert said(found).startswith(f"{DIGEST} word1 word2")


def test_bad_utf8_never_reaches_the_caller(gateway: Gateway) -> None:
    body = gateway.chat(stream_body("badutf8")).body
    body.decode()
    assert events(body)


@pytest.mark.parametrize(
    "model", ["usage-zero", "usage-negative", "usage-string", "usage-nan", "usage-list", "no-usage"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_cannot_be_true_is_counted_by_us_and_flagged(gateway: Gateway, model: str, stream: bool) -> None:
    answer = gateway.chat(chat_body(model, stream=stream))
    receipt = gateway.receipt(answer.decision_id)
    if receipt["model"] != model:
        pytest.fail(f"{model} was given up for {receipt['model']}: {receipt['attempts']}")
    assert receipt["status"] == "ok"
    usage = receipt["usage"]
    assert usage["estimated"] is True
    assert usage["output_tokens"] >= 8 and usage["input_tokens"] > 0
    assert receipt["cost_nanousd"] == cost_nanousd(
        {"prompt": usage["input_tokens"], "completion": usage["output_tokens"]}
    )
    if stream:
        assert events(answer.body)[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_is_absurdly_large_does_not_break_the_books(gateway: Gateway, stream: bool) -> None:
    answer = gateway.chat(chat_body("usage-huge", stream=stream))
    assert answer.status == 200
    receipt = gateway.receipt(answer.decision_id)
    assert 0 <= receipt["cost_nanousd"] < 2**63


@pytest.mark.parametrize("model", ["usage-growing", "usage-twice", "usage-on-finish"])
def test_usage_that_comes_more_than_once_is_billed_once(
    gateway: Gateway, upstream: UpstreamProcess, model: str
) -> None:
    mark = upstream.mark()
    answer = gateway.chat(stream_body(model, stream_options={"include_usage": True}))
    (call,) = upstream.closed_calls(mark)
    receipt = gateway.receipt(answer.decision_id)
    assert receipt["cost_nanousd"] == cost_nanousd(call["usage"])
    assert receipt["usage"]["estimated"] is False
    assert sum(1 for event in events(answer.body)[:-1] if event.get("usage")) == 1


def test_an_empty_answer_is_an_answer_or_an_error_but_never_silence(gateway: Gateway) -> None:
    found = events(gateway.chat(stream_body("empty")).body)
    assert found[-1] == "[DONE]"
    assert said(found) == ""


def test_the_receipt_of_a_stream_is_there_when_its_end_mark_is(gateway: Gateway) -> None:
    for _ in range(10):
        answer = gateway.chat(stream_body("ok"))
        assert gateway.receipt(answer.decision_id)["status"] == "ok"


def test_a_caller_who_leaves_stops_the_provider_and_pays_what_was_delivered(
    gateway: Gateway, upstream: UpstreamProcess, key: Key
) -> None:
    mark = upstream.mark()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as sock:
        body = b'{"model":"slow-20-2000","stream":true,"messages":[{"role":"user","content":"hello"}]}'
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (key.secret.encode(), len(body), body)
        )
        read = b""
        while b"word3" not in read:
            read += sock.recv(65536)
        decision_id = read.lower().split(b"x-tokenhub-decision-id: ")[1].split(b"\r\n")[0].decode()
    (call,) = upstream.closed_calls(mark, model="slow-20-2000")
    assert call["outcome"] == "client_gone"
    assert call["content_chunks"] < 1000
    until(lambda: gateway.receipt(decision_id, key.secret).get("status") == "cancelled")
    receipt = gateway.receipt(decision_id, key.secret)
    assert receipt["usage"]["output_tokens"] >= 4
    assert receipt["cost_nanousd"] > 0


def test_a_slow_stream_arrives_piece_by_piece_not_at_once(gateway: Gateway) -> None:
    connection = gateway.connect()
    try:
        connection.request(
            "POST",
            "/v1/chat/completions",
            b'{"model":"slow-150-4","stream":true,"messages":[{"role":"user","content":"hello"}]}',
            {"content-type": "application/json", "authorization": f"Bearer {gateway.first_key}"},
        )
        response = connection.getresponse()
        pieces = []
        while piece := response.read1(65536):
            pieces.append(piece)
        response.close()
    finally:
        connection.close()
    assert len(pieces) >= 4
    assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
