from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

import orjson
import pytest

from tests.unit.providers.conftest import (
    STREAM_END,
    STREAM_HEAD,
    Script,
    Upstream,
    a_command,
    a_target,
    always,
    deadlines,
    piece,
    plain,
    serving,
)
from tokenhub.domain.catalog import Provider
from tokenhub.domain.chat import ChatCommand, Message, Text, TextDelta, Thinking, ThinkingDelta
from tokenhub.errors import ProviderError, ProviderFatal, ProviderRateLimited, ProviderTransient
from tokenhub.providers.http import HttpClient
from tokenhub.providers.vllm.client import VllmClient


class Clock:
    """Real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.added_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added_s


class First(Random):
    """Starts at the first endpoint; pauses are whole."""

    def randrange(self, *given: int) -> int:  # type: ignore[override]
        return 0

    def uniform(self, a: float, b: float) -> float:
        return b


CLOCK = Clock()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    CLOCK.added_s = 0.0
    with ExitStack() as opened:
        yield opened


def answer(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c", "model": "m", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}


def events(*deltas: dict[str, Any]) -> bytes:
    told = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    told.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return b"".join(b"data: " + orjson.dumps({"id": "c", "model": "m", **one}) + b"\n\n" for one in told)


def good(name: str) -> Script:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        if b'"stream":true' in request:
            data = events({"content": name}) + b"data: [DONE]\n\n"
            conn.sendall(STREAM_HEAD + piece(data) + STREAM_END)
        else:
            conn.sendall(plain(orjson.dumps(answer(name))))

    return script


def refusing(status: str, extra: str = "") -> Script:
    return always(plain(b'{"error":{"message":"no","type":"InternalServerError"}}', status, extra=extra))


def silent(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
    upstream.release.wait(5)


def open_and_silent(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
    conn.sendall(STREAM_HEAD)
    upstream.release.wait(5)


def hanging_up(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
    conn.shutdown(socket.SHUT_RDWR)


def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def client(http: HttpClient, *urls: str, key: str = "") -> VllmClient:
    provider = Provider(id="farm", type="vllm", base_url=urls[0], endpoints=urls[1:])
    return VllmClient(provider, key, http, clock=CLOCK, rng=First())


def send(farm: VllmClient, **limits: float) -> str:
    reply = farm.send(a_command(), a_target(), deadlines(**limits), "req_1")
    return str(reply.raw["choices"][0]["message"]["content"])


def stream(farm: VllmClient, **limits: float) -> str:
    chunks = list(farm.stream(a_command(), a_target(), deadlines(**limits), "req_1"))
    deltas = [orjson.loads(chunk.payload)["choices"][0]["delta"] for chunk in chunks]
    return "".join(delta.get("content", "") for delta in deltas)


BOTH = pytest.mark.parametrize("call", [send, stream])


@BOTH
def test_endpoints_are_asked_in_turn(http: HttpClient, stack: ExitStack, call: Any) -> None:
    farm = client(http, *(stack.enter_context(serving(good(name))).url for name in "abc"))
    assert [call(farm) for _ in range(4)] == ["a", "b", "c", "a"]


def test_a_key_goes_to_every_endpoint_and_none_is_needed(http: HttpClient, stack: ExitStack) -> None:
    both = [stack.enter_context(serving(good(name))) for name in "ab"]
    for key in ("", "sk-1"):
        farm = client(http, both[0].url, f"{both[1].url}/v1", key=key)
        assert {send(farm), send(farm)} == {"a", "b"}
    for upstream in both:
        without, with_key = upstream.requests
        assert b"authorization" not in without.lower() and b"Authorization: Bearer sk-1" in with_key
        assert with_key.startswith(b"POST /v1/chat/completions HTTP/1.1")


@BOTH
def test_a_dead_endpoint_is_passed_over_at_once_and_left_out_after(
    http: HttpClient, stack: ExitStack, call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    farm = client(http, dead_url(), stack.enter_context(serving(good("b"))).url)
    started = time.monotonic()
    assert [call(farm) for _ in range(4)] == ["b"] * 4
    assert time.monotonic() - started < 1
    assert [record.message for record in caplog.records] == ["endpoint_cooling"]


@BOTH
@pytest.mark.parametrize("status", ["500 Oops", "502 Bad", "503 Busy", "429 Slow"])
def test_a_refusal_that_is_the_servers_own_affair_goes_to_the_next(
    http: HttpClient, stack: ExitStack, status: str, call: Any
) -> None:
    bad = stack.enter_context(serving(refusing(status)))
    farm = client(http, bad.url, stack.enter_context(serving(good("b"))).url)
    assert [call(farm) for _ in range(3)] == ["b"] * 3
    assert len(bad.requests) == 1
    CLOCK.added_s += 1
    assert {call(farm), call(farm)} == {"b"} and len(bad.requests) == 2


@BOTH
def test_an_endpoint_comes_back_by_itself(http: HttpClient, stack: ExitStack, call: Any) -> None:
    works = False

    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        (good("a") if works else refusing("503 Busy"))(upstream, conn, request)

    farm = client(http, *(stack.enter_context(serving(one)).url for one in (script, good("b"))))
    assert call(farm) == "b"
    works = True
    assert [call(farm) for _ in range(3)] == ["b"] * 3
    CLOCK.added_s += 1
    assert {call(farm) for _ in range(4)} == {"a", "b"}
    assert [call(farm) for _ in range(4)].count("a") == 2


@BOTH
@pytest.mark.parametrize(
    ("script", "code"), [(silent, "headers_timeout"), (hanging_up, "connection_lost")], ids=["silent", "hung-up"]
)
def test_what_may_have_been_done_is_not_asked_again_but_its_endpoint_is_left_out(
    http: HttpClient, stack: ExitStack, script: Script, code: str, call: Any
) -> None:
    other = stack.enter_context(serving(good("b")))
    farm = client(http, stack.enter_context(serving(script)).url, other.url)
    with pytest.raises(ProviderTransient) as caught:
        call(farm, headers_s=0.2)
    assert (caught.value.code, caught.value.doubtful) == (code, True)
    assert other.requests == []
    assert [call(farm) for _ in range(3)] == ["b"] * 3


def test_a_server_that_accepts_and_then_says_nothing_is_left_out(http: HttpClient, stack: ExitStack) -> None:
    slow = stack.enter_context(serving(open_and_silent))
    farm = client(http, slow.url, stack.enter_context(serving(good("b"))).url)
    with pytest.raises(ProviderTransient) as caught:
        stream(farm, first_token_s=0.2)
    assert caught.value.code == "first_token_timeout"
    assert [stream(farm) for _ in range(3)] == ["b"] * 3
    CLOCK.added_s += 1
    with pytest.raises(ProviderTransient):
        [stream(farm, first_token_s=0.2) for _ in range(2)]
    CLOCK.added_s += 1.5
    assert [stream(farm) for _ in range(3)] == ["b"] * 3, "its open stream was no answer: twice as long"
    assert len(slow.requests) == 2


def test_a_stream_that_we_close_says_nothing_of_its_endpoint(http: HttpClient, stack: ExitStack) -> None:
    slow = stack.enter_context(serving(open_and_silent))
    farm = client(http, slow.url, dead_url())
    opened = farm.stream(a_command(), a_target(), deadlines(), "req_1")
    opened.close()
    with pytest.raises(ProviderTransient):
        next(iter(opened))
    (place, _) = farm._rotation._places
    assert place.failures == 0


def test_a_stream_that_breaks_in_the_middle_is_the_requests_misfortune(http: HttpClient, stack: ExitStack) -> None:
    def half(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(
            STREAM_HEAD + piece(b"data: " + orjson.dumps({"choices": [{"delta": {"content": "a"}}]}) + b"\n\n")
        )
        conn.shutdown(socket.SHUT_WR)

    farm = client(http, stack.enter_context(serving(half)).url)
    with pytest.raises(ProviderTransient) as caught:
        stream(farm)
    assert not caught.value.doubtful
    assert farm._rotation._places[0].failures == 0


@BOTH
def test_what_is_the_callers_or_the_models_fault_is_said_once(http: HttpClient, stack: ExitStack, call: Any) -> None:
    for status, blame in (("400 Bad Request", "caller"), ("404 Not Found", "target"), ("401 No", "provider")):
        other = stack.enter_context(serving(good("b")))
        farm = client(http, stack.enter_context(serving(refusing(status))).url, other.url)
        with pytest.raises(ProviderFatal) as caught:
            call(farm)
        assert caught.value.blame == blame and other.requests == []
        assert farm._rotation._places[0].failures == 0


def test_where_no_endpoint_is_left_the_last_failure_is_told(http: HttpClient, stack: ExitStack) -> None:
    farm = client(http, dead_url(), dead_url())
    for _ in range(3):
        with pytest.raises(ProviderTransient) as caught:
            send(farm)
        assert (caught.value.code, caught.value.blame) == ("connect_failed", "provider")
    limited = stack.enter_context(serving(refusing("429 Slow", "Retry-After: 7\r\n")))
    with pytest.raises(ProviderRateLimited) as slow:
        send(client(http, dead_url(), limited.url))
    assert slow.value.retry_after_s == 7.0


def test_where_all_are_out_one_is_tried_all_the_same(http: HttpClient, stack: ExitStack) -> None:
    works = False

    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        (good("a") if works else refusing("503 Busy"))(upstream, conn, request)

    farm = client(http, stack.enter_context(serving(script)).url, dead_url())
    with pytest.raises(ProviderTransient):
        send(farm)
    works = True
    assert send(farm) == "a"


def test_a_request_that_brings_servers_down_does_not_reach_all_of_them(http: HttpClient, stack: ExitStack) -> None:
    farm = [stack.enter_context(serving(refusing("500 Oops"))) for _ in range(6)]
    with pytest.raises(ProviderTransient):
        send(client(http, *(one.url for one in farm)))
    assert sum(len(one.requests) for one in farm) == 3


def test_all_tries_share_the_time_of_the_request(http: HttpClient, stack: ExitStack) -> None:
    def slowly(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        upstream.release.wait(0.25)
        refusing("503 Busy")(upstream, conn, request)

    urls = [stack.enter_context(serving(slowly)).url for _ in range(3)]
    started = time.monotonic()
    with pytest.raises(ProviderError):
        send(client(http, *urls), total_s=0.4, headers_s=0.4)
    assert time.monotonic() - started < 0.6


@pytest.mark.parametrize("urls", [("",), ("http://x.test", "ftp://y.test")])
def test_an_endpoint_that_cannot_be_one_is_refused(http: HttpClient, urls: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        client(http, *urls)


def test_reasoning_goes_there_and_comes_back(http: HttpClient, stack: ExitStack) -> None:
    data = events({"reasoning_content": "hm"}, {"content": "4"}) + b"data: [DONE]\n\n"
    upstream = stack.enter_context(serving(always(STREAM_HEAD + piece(data) + STREAM_END)))
    earlier = Message("assistant", [Thinking("so", "sig", "farm"), Text("2")])
    command = ChatCommand("anthropic", {}, 9, [Message("user", [Text("hi")]), earlier], max_output_tokens=5)
    opened = client(http, upstream.url).stream(command, a_target(), deadlines(), "req_1")
    deltas = [delta for chunk in opened for delta in chunk.deltas]
    assert deltas == [ThinkingDelta("hm"), TextDelta("4")]
    sent = json.loads(upstream.requests[0].partition(b"\r\n\r\n")[2])
    assert sent["messages"][1] == {"role": "assistant", "content": "2", "reasoning_content": "so"}
    assert sent["max_tokens"] == 5
