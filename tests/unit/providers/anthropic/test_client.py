from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any

import orjson
import pytest

from tests.unit.providers.anthropic.conftest import a_target, events_of, from_anthropic, from_openai, message, sse
from tests.unit.providers.conftest import (
    STREAM_END,
    STREAM_HEAD,
    Script,
    Upstream,
    always,
    deadlines,
    piece,
    plain,
    serving,
)
from tokenhub.domain.catalog import Provider
from tokenhub.domain.chat import ChatCommand, Chunk, Media, Message, Parameters, Text, TextDelta, Usage
from tokenhub.errors import ProviderError, ProviderFatal, ProviderRateLimited, ProviderTransient
from tokenhub.providers.anthropic.client import AnthropicClient, messages_url
from tokenhub.providers.calls import EventStream
from tokenhub.providers.http import HttpClient

KEY = "sk-ant-canary-0123456789"
REPLY = message({"type": "text", "text": "hello"})
EVENTS = events_of([{"type": "text", "text": "hello"}])
HELLO = sse(*EVENTS)
START, PING, BLOCK, FIRST = EVENTS[:4]
ENDING, STOP = EVENTS[-2:]


def streamed(*parts: bytes, end: bytes = STREAM_END) -> Script:
    return always(STREAM_HEAD + b"".join(piece(part) for part in parts if part) + end)


def cut(*parts: bytes) -> Script:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(STREAM_HEAD + b"".join(piece(part) for part in parts))
        conn.shutdown(socket.SHUT_WR)

    return script


def client_of(upstream: Upstream, http: HttpClient, key: str = KEY) -> AnthropicClient:
    return AnthropicClient(Provider(id="up", type="anthropic", base_url=upstream.url, credential="sealed"), key, http)


def send(upstream: Upstream, http: HttpClient, command: ChatCommand | None = None, **limits: float) -> Any:
    return client_of(upstream, http).send(command or from_anthropic(), a_target(), deadlines(**limits), "req_1")


def stream(upstream: Upstream, http: HttpClient, command: ChatCommand | None = None, **limits: float) -> EventStream:
    return client_of(upstream, http).stream(command or from_anthropic(), a_target(), deadlines(**limits), "req_1")


def texts(chunks: list[Chunk]) -> str:
    events = [orjson.loads(chunk.payload) for chunk in chunks]
    return "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta")


def head_and_body(request: bytes) -> tuple[bytes, dict[str, Any]]:
    head, _, body = request.partition(b"\r\n\r\n")
    return head.lower(), json.loads(body)


# ---------------------------------------------------------------- address and headers


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        (" https://api.anthropic.com/v1/ ", "https://api.anthropic.com/v1/messages"),
        ("https://x.test/anthropic", "https://x.test/anthropic/v1/messages"),
        ("https://x.test/api/v3/anthropic/", "https://x.test/api/v3/anthropic/v1/messages"),
        ("http://[::1]:8000/v1beta", "http://[::1]:8000/v1beta/messages"),
        ("https://x.test/v1/messages", "https://x.test/v1/messages"),
        ("https://x.test/v1?key=7#part", "https://x.test/v1/messages?key=7"),
    ],
)
def test_the_address_is_found_from_a_base_url_with_or_without_a_version(base_url: str, url: str) -> None:
    assert messages_url(base_url) == url


@pytest.mark.parametrize("base_url", ["ftp://x.test", "x.test", "//x.test", "http://", "http://[::1"])
def test_a_base_url_that_is_no_web_address_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError):
        messages_url(base_url)


def test_a_whole_answer_is_asked_for_and_read(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        for _ in range(3):
            reply = send(upstream, http)
            assert reply.raw == {**REPLY, "model": "sonnet"} and reply.usage == Usage(input=9, output=4)
        assert upstream.connections == 1
    head, sent = head_and_body(upstream.requests[0])
    assert head.startswith(b"post /v1/messages http/1.1")
    for header in ("x-api-key: " + KEY, "anthropic-version: 2023-06-01", "x-request-id: req_1"):
        assert header.encode() in head
    assert b"authorization" not in head and b"anthropic-beta" not in head
    assert sent["model"] == "claude-sonnet-4-5" and "stream" not in sent


def test_only_the_callers_beta_header_goes_on_and_only_in_its_own_dialect(http: HttpClient) -> None:
    headers = {"anthropic-beta": " a-2025, b-2026 ", "anthropic-version": "2026-10-21", "x-api-key": "callers"}
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        for command in (from_anthropic(), from_openai()):
            command.headers = headers
            send(upstream, http, command)
        command.headers = {"anthropic-beta": "a\r\nx: y"}
        command.dialect = "anthropic"
        send(upstream, http, command)
    same, other, odd = (head_and_body(request)[0] for request in upstream.requests)
    assert b"anthropic-beta: a-2025, b-2026\r\n" in same
    assert b"anthropic-beta" not in other and b"anthropic-beta" not in odd
    assert all(b"anthropic-version: 2023-06-01" in head and b"callers" not in head for head in (same, other, odd))


def test_without_a_key_none_is_sent(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        client_of(upstream, http, "").send(from_anthropic(), a_target(), deadlines(), "req_1")
    assert b"x-api-key" not in upstream.requests[0].lower()


@pytest.mark.parametrize("key", ["sk-canary\r\nX: y", "sk-canary€", "sk-\x00canary"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str, http: HttpClient) -> None:
    with pytest.raises(ValueError) as caught:
        AnthropicClient(Provider(id="up", type="anthropic"), key, http)
    assert "canary" not in str(caught.value)


# ---------------------------------------------------------------- another dialect


def test_a_caller_of_another_dialect_gets_blocks_and_deltas_and_is_told_what_was_left_out(http: HttpClient) -> None:
    command = from_openai(parameters=Parameters(seed=7))
    command.own_fields = ("logit_bias",)
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        reply = send(upstream, http, command)
    assert reply.blocks == [Text("hello")] and reply.not_forwarded == ("logit_bias", "seed")
    with serving(streamed(HELLO)) as upstream:
        opened = stream(upstream, http, command)
        chunks = list(opened)
    assert (opened.dialect, opened.not_forwarded) == ("anthropic", ("logit_bias", "seed"))
    assert [delta for chunk in chunks for delta in chunk.deltas] == [TextDelta("hel"), TextDelta("lo")]
    assert chunks[-1].finish_reason == "stop" and chunks[-1].usage == Usage(input=9, output=4)
    assert head_and_body(upstream.requests[0])[1]["stream"] is True


def test_what_this_protocol_cannot_say_is_refused_before_anything_is_sent(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        for command in (from_openai(choices=2), from_openai(Message("user", [Media("input_audio", {})]))):
            for call in (send, stream):
                with pytest.raises(ProviderFatal) as caught:
                    call(upstream, http, command)
                assert caught.value.blame == "target"
        assert upstream.connections == 0


# ---------------------------------------------------------------- refusals


def test_a_refusal_is_classified_with_its_headers(http: HttpClient) -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}'
    with serving(always(plain(body, "429 Too Many Requests", extra="Retry-After: 7\r\n"))) as upstream:
        for call in (send, stream):
            with pytest.raises(ProviderRateLimited) as caught:
                call(upstream, http)
            assert (caught.value.status, caught.value.retry_after_s, caught.value.doubtful) == (429, 7.0, False)
        assert upstream.connections == 1


def test_the_key_is_taken_out_of_whatever_the_upstream_says(http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": f"bad key {KEY}!"}}
    with serving(always(plain(orjson.dumps(error), "400 Bad Request"))) as upstream:
        for call in (send, stream):
            with pytest.raises(ProviderFatal) as caught:
                call(upstream, http)
            assert caught.value.message == "bad key ***!"
    with serving(streamed(sse(START, BLOCK, FIRST, error))) as upstream:
        with pytest.raises(ProviderError) as broken:
            list(stream(upstream, http))
        assert "***" in broken.value.message and KEY not in f"{broken.value!r}{vars(broken.value)}"
        assert KEY not in repr(client_of(upstream, http))
    assert KEY not in caplog.text


def test_a_whole_answer_to_a_stream_is_refused_or_is_the_error_it_holds(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream, pytest.raises(ProviderTransient) as caught:
        stream(upstream, http)
    assert (caught.value.code, caught.value.doubtful) == ("bad_response", False)
    with serving(always(plain(b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'))) as upstream:
        with pytest.raises(ProviderTransient) as caught:
            stream(upstream, http)
    assert caught.value.status == 529


# ---------------------------------------------------------------- streams


def test_a_stream_is_forwarded_whole_and_its_connection_kept(http: HttpClient) -> None:
    with serving(streamed(HELLO)) as upstream:
        for _ in range(3):
            opened = stream(upstream, http)
            chunks = list(opened)
            opened.close()
            kinds = [orjson.loads(chunk.payload)["type"] for chunk in chunks]
            assert kinds == [event["type"] for event in EVENTS if event["type"] != "ping"]
            assert texts(chunks) == "hello" and orjson.loads(chunks[0].payload)["message"]["model"] == "sonnet"
        assert upstream.connections == 1


def test_a_stream_split_at_every_byte_is_the_same(http: HttpClient) -> None:
    whole = sse(*events_of([{"type": "text", "text": "hé€😀"}]))
    with serving(streamed(*(whole[at : at + 1] for at in range(len(whole))))) as upstream:
        assert texts(list(stream(upstream, http))) == "hé€😀"


def test_names_of_events_do_not_matter(http: HttpClient) -> None:
    bare = b"".join(line + b"\n\n" for line in HELLO.split(b"\n") if line.startswith(b"data"))
    with serving(streamed(bare)) as upstream:
        assert texts(list(stream(upstream, http))) == "hello"
    with serving(streamed(HELLO.replace(b"\n", b"\r\n"))) as upstream:
        assert texts(list(stream(upstream, http))) == "hello"


def test_a_stream_without_its_last_event_is_whole_if_it_has_a_reason_to_stop(http: HttpClient) -> None:
    for ending in (sse(ENDING), sse(ENDING) + b"data: [DONE]\n\n"):
        with serving(streamed(sse(START, BLOCK, FIRST) + ending)) as upstream:
            chunks = list(stream(upstream, http))
            assert chunks[-1].payload == b'{"type":"message_stop"}' and chunks[-2].finish_reason == "stop"


def error_event(kind: str) -> bytes:
    return sse({"type": "error", "error": {"type": kind, "message": "m"}})


BEGUN = sse(START, PING, BLOCK, FIRST)
UNFINISHED = sse({**ENDING, "delta": {"stop_reason": None, "stop_sequence": None}})


@pytest.mark.parametrize(
    ("script", "code", "doubtful"),
    [
        (streamed(BEGUN), "stream_truncated", False),
        (streamed(BEGUN + sse(STOP)), "stream_truncated", False),
        (streamed(BEGUN + UNFINISHED + sse(STOP)), "stream_truncated", False),
        (streamed(sse(START, PING)), "stream_truncated", True),
        (streamed(), "stream_truncated", True),
        (streamed(BEGUN + b"event: message_delta\ndata: {"), "stream_truncated", False),
        (cut(BEGUN), "connection_lost", False),
        (cut(sse(START)), "connection_lost", True),
        (streamed(BEGUN + b"data: nonsense\n\n"), "bad_response", False),
        (streamed(BEGUN + error_event("overloaded_error")), "provider_unavailable", False),
        (streamed(sse(START) + error_event("rate_limit_error")), "provider_rate_limited", False),
        (streamed(BEGUN + sse(ENDING) + error_event("api_error")), "provider_unavailable", False),
    ],
)
def test_a_stream_that_breaks_says_how(http: HttpClient, script: Script, code: str, doubtful: bool) -> None:
    for command in (from_anthropic(), from_openai()):
        with serving(script) as upstream, pytest.raises(ProviderError) as caught:
            list(stream(upstream, http, command))
        assert (caught.value.code, caught.value.doubtful) == (code, doubtful)


def dripping(first: bytes, drop: bytes) -> Script:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(STREAM_HEAD + first)
        while not upstream.release.wait(0.02):
            conn.sendall(piece(drop))

    return script


@pytest.mark.parametrize(
    ("script", "limits", "code", "doubtful"),
    [
        (dripping(piece(sse(START)), sse(PING)), {"first_token_s": 0.2}, "first_token_timeout", True),
        (streamed(BEGUN, end=b""), {"between_chunks_s": 0.2}, "chunk_timeout", False),
        (dripping(piece(BEGUN), sse(FIRST)), {"total_s": 0.3}, "total_timeout", False),
    ],
    ids=["pings", "silence", "endless"],
)
def test_no_kind_of_slowness_outlives_its_deadline(
    http: HttpClient, script: Script, limits: dict[str, float], code: str, doubtful: bool
) -> None:
    with serving(script) as upstream:
        started = time.monotonic()
        with pytest.raises(ProviderTransient) as caught:
            list(stream(upstream, http, **limits))
        assert (caught.value.code, caught.value.doubtful) == (code, doubtful)
        assert 0.15 < time.monotonic() - started < 1
        assert upstream.dropped.wait(1)


def test_a_whole_answer_that_never_comes_is_doubtful(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        upstream.release.wait(5)

    with serving(script) as upstream, pytest.raises(ProviderTransient) as caught:
        send(upstream, http, total_s=0.3, headers_s=0.3)
    assert (caught.value.code, caught.value.doubtful) == ("total_timeout", True)
