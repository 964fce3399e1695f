from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
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
from tokenhub.domain.chat import ChatCommand, Chunk, Message, Parameters, Text, TextDelta, Usage
from tokenhub.errors import ProviderError, ProviderFatal, ProviderRateLimited, ProviderTransient
from tokenhub.providers.calls import EventStream
from tokenhub.providers.http import HttpClient
from tokenhub.providers.openai.client import OpenAIClient

KEY = "sk-canary-0123456789"
REPLY = {
    "id": "c",
    "model": "gpt-4o-2024",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}


def event(content: str | None = None, finish: str | None = None, **fields: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + orjson.dumps({"id": "c", "model": "gpt-4o-2024", "choices": choices, **fields}) + b"\n\n"


def usage_event(read: int, wrote: int) -> bytes:
    usage = {"prompt_tokens": read, "completion_tokens": wrote}
    return b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": usage}) + b"\n\n"


DONE = b"data: [DONE]\n\n"
HELLO = event("hel") + event("lo") + event(finish="stop") + usage_event(3, 2) + DONE


def streamed(*parts: bytes, end: bytes = STREAM_END) -> Script:
    return always(STREAM_HEAD + b"".join(piece(part) for part in parts if part) + end)


def cut(*parts: bytes) -> Script:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(STREAM_HEAD + b"".join(piece(part) for part in parts))
        conn.shutdown(socket.SHUT_WR)

    return script


def client_of(upstream: Upstream, http: HttpClient, key: str = KEY) -> OpenAIClient:
    return OpenAIClient(Provider(id="up", type="openai", base_url=upstream.url, credential="sealed"), key, http)


def send(upstream: Upstream, http: HttpClient, **limits: float):
    return client_of(upstream, http).send(a_command(), a_target(), deadlines(**limits), "req_1")


def stream(upstream: Upstream, http: HttpClient, **limits: float) -> EventStream:
    return client_of(upstream, http).stream(a_command(), a_target(), deadlines(**limits), "req_1")


def texts(chunks: list[Chunk]) -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in orjson.loads(chunk.payload)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


# ---------------------------------------------------------------- address and headers


def test_a_whole_answer_is_asked_for_and_read(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        for _ in range(3):
            reply = send(upstream, http)
            assert reply.raw == {**REPLY, "model": "gpt-4o"} and reply.usage == Usage(input=3, output=1)
        assert upstream.connections == 1
    head, _, body = upstream.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    for header in (b"Authorization: Bearer " + KEY.encode(), b"X-Request-ID: req_1", b"Content-Type: application/json"):
        assert header in head
    sent = json.loads(body)
    assert sent["model"] == "gpt-4o-2024" and "stream" not in sent


def test_without_a_key_no_authorization_is_sent(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        client_of(upstream, http, "").send(a_command(), a_target(), deadlines(), "req_1")
    assert b"authorization" not in upstream.requests[0].lower()


class Recorder:
    """What would have been sent, and where."""

    def __init__(self) -> None:
        self.url = ""
        self.headers: dict[str, str] = {}
        self.body: dict[str, Any] = {}

    def post(self, url: str, headers: dict[str, str], body: bytes, limits: object) -> Any:
        self.url, self.headers, self.body = url, headers, orjson.loads(body)
        raise ProviderTransient("recorded")


def sent_to(base_url: str, model: str = "gpt-4o", **fields: Any) -> Recorder:
    recorder = Recorder()
    command = ChatCommand("anthropic", {}, 9, [Message("user", [Text("hi")])], max_output_tokens=7, **fields)
    client = OpenAIClient(Provider(id="up", type="openai", base_url=base_url), KEY, recorder)  # type: ignore[arg-type]
    with pytest.raises(ProviderTransient):
        client.stream(command, a_target(upstream_name=model), deadlines(), "req_1")
    return recorder


def test_azure_is_given_its_key_its_way_and_its_query_is_kept() -> None:
    sent = sent_to("https://acme.openai.azure.com/openai/deployments/d?api-version=2024-10-21")
    assert sent.url.endswith("/openai/deployments/d/chat/completions?api-version=2024-10-21")
    assert sent.headers["api-key"] == KEY and "Authorization" not in sent.headers
    assert sent.body["max_completion_tokens"] == 7 and "stream_options" in sent.body
    older = sent_to("https://acme.openai.azure.com/openai/deployments/d?api-version=2024-06-01")
    assert older.body["max_tokens"] == 7 and "stream_options" not in older.body


def test_the_cap_has_the_newer_name_at_openai_itself_and_the_older_elsewhere() -> None:
    assert sent_to("https://api.openai.com/v1").body["max_completion_tokens"] == 7
    assert sent_to("https://api.example.com/v1").body["max_tokens"] == 7


@pytest.mark.parametrize("key", ["sk-canary\r\nX: y", "sk-canary€", "sk-\x00canary"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str, http: HttpClient) -> None:
    with pytest.raises(ValueError) as caught:
        OpenAIClient(Provider(id="up", type="openai"), key, http)
    assert "canary" not in str(caught.value)


# ---------------------------------------------------------------- refusals


def test_a_refusal_is_classified_with_its_headers(http: HttpClient) -> None:
    answer = plain(b'{"error":{"message":"m"}}', "429 Too Many Requests", extra="Retry-After: 7\r\n")
    with serving(always(answer)) as upstream:
        for call in (send, stream):
            with pytest.raises(ProviderRateLimited) as caught:
                call(upstream, http)
            assert (caught.value.status, caught.value.retry_after_s, caught.value.doubtful) == (429, 7.0, False)
        assert upstream.connections == 1


def test_a_refusal_whose_body_is_huge_compressed_or_cut_is_judged_by_its_status(http: HttpClient) -> None:
    answers = [
        plain(b"x" * 200_000, "503 Busy"),
        plain(b"\x1f\x8b", "503 Busy", extra="Content-Encoding: gzip\r\n"),
        b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab",
    ]
    for answer in answers:

        def script(upstream: Upstream, conn: socket.socket, request: bytes, answer: bytes = answer) -> None:
            conn.sendall(answer)
            conn.shutdown(socket.SHUT_WR)

        with serving(script) as upstream, pytest.raises(ProviderTransient) as caught:
            send(upstream, http)
        assert (caught.value.status, caught.value.code) == (503, "provider_unavailable")


def test_the_key_is_taken_out_of_whatever_the_upstream_says(http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = orjson.dumps({"error": {"message": f"bad key {KEY}!", "code": KEY, "param": KEY}})
    stream_error = b"data: " + body + b"\n\n"
    with serving(always(plain(body, "400 Bad Request"))) as upstream:
        for call in (send, stream):
            with pytest.raises(ProviderFatal) as caught:
                call(upstream, http)
            assert caught.value.message == "bad key ***!"
            assert KEY not in f"{caught.value!r}{vars(caught.value)}"
    with serving(streamed(event("x"), stream_error)) as upstream:
        with pytest.raises(ProviderError) as broken:
            list(stream(upstream, http))
        assert "***" in broken.value.message and KEY not in f"{broken.value!r}{vars(broken.value)}"
        assert KEY not in repr(client_of(upstream, http))
    assert KEY not in caplog.text


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(http: HttpClient) -> None:
    with serving(always(plain(b""))) as other:
        answer = plain(b"", "307 Temporary Redirect", extra=f"Location: {other.url}/v1/chat/completions\r\n")
        with serving(always(answer)) as upstream, pytest.raises(ProviderFatal) as caught:
            send(upstream, http)
        assert (caught.value.code, caught.value.blame) == ("provider_redirects", "provider")
        assert other.connections == 0


# ---------------------------------------------------------------- whole answers gone wrong


def test_html_with_a_200_is_a_bad_response(http: HttpClient) -> None:
    with serving(always(plain(b"<html>log in</html>", kind="text/html"))) as upstream:
        for call in (send, stream):
            with pytest.raises(ProviderTransient) as caught:
                call(upstream, http)
            assert (caught.value.code, caught.value.doubtful) == ("bad_response", False)


def test_a_whole_answer_that_never_comes_is_doubtful(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        upstream.release.wait(5)

    with serving(script) as upstream, pytest.raises(ProviderTransient) as caught:
        send(upstream, http, total_s=0.3, headers_s=0.3)
    assert (caught.value.code, caught.value.doubtful) == ("total_timeout", True)


# ---------------------------------------------------------------- streams


def test_a_stream_is_read_to_its_end_and_its_connection_kept(http: HttpClient) -> None:
    with serving(streamed(HELLO)) as upstream:
        for _ in range(3):
            opened = stream(upstream, http)
            chunks = list(opened)
            opened.close()
            assert texts(chunks) == "hello" and chunks[-1].usage == Usage(input=3, output=2)
            assert all(orjson.loads(chunk.payload)["model"] == "gpt-4o" for chunk in chunks)
        assert upstream.connections == 1
    sent = json.loads(upstream.requests[0].partition(b"\r\n\r\n")[2])
    assert sent["stream"] is True and sent["stream_options"] == {"include_usage": True}


def test_a_stream_split_at_every_byte_is_the_same(http: HttpClient) -> None:
    whole = event("hé€😀") + event(finish="stop") + DONE
    with serving(streamed(*(whole[at : at + 1] for at in range(len(whole))))) as upstream:
        assert texts(list(stream(upstream, http))) == "hé€😀"


@pytest.mark.parametrize("newline", [b"\r\n", b"\r"])
def test_other_line_ends_comments_and_names_do_not_matter(http: HttpClient, newline: bytes) -> None:
    told = (b"\xef\xbb\xbf: hi\n\nevent: x\n" + HELLO).replace(b"\n", newline)
    with serving(streamed(told[:40], told[40:])) as upstream:
        assert texts(list(stream(upstream, http))) == "hello"


def test_iterating_goes_on_where_it_was_left(http: HttpClient) -> None:
    with serving(streamed(HELLO)) as upstream:
        opened = stream(upstream, http)
        head: list[Chunk] = []
        for chunk in opened:
            head.append(chunk)
            break
        assert texts([*head, *opened]) == "hello"


def test_the_last_of_several_usages_is_the_last_one_given(http: HttpClient) -> None:
    growing = event("a", usage={"prompt_tokens": 3, "completion_tokens": 1})
    growing += event("b", finish="stop", usage={"prompt_tokens": 3, "completion_tokens": 2})
    with serving(streamed(growing + usage_event(3, 2) + DONE)) as upstream:
        usages = [chunk.usage for chunk in stream(upstream, http) if chunk.usage]
        assert [usage.output for usage in usages] == [1, 2, 2]


def test_a_stream_without_done_is_whole_if_it_has_a_finish_reason(http: HttpClient) -> None:
    with serving(streamed(event("a") + event(finish="length"))) as upstream:
        assert [chunk.finish_reason for chunk in stream(upstream, http)] == [None, "length"]


@pytest.mark.parametrize(
    ("script", "code", "doubtful"),
    [
        (streamed(event("a")), "stream_truncated", False),
        (streamed(event("a") + DONE), "stream_truncated", False),
        (streamed(), "stream_truncated", True),
        (streamed(event("a") + b"data: {"), "stream_truncated", False),
        (cut(event("a")), "connection_lost", False),
        (cut(event("")), "connection_lost", True),
        (streamed(event("a") + b"data: nonsense\n\n"), "bad_response", False),
        (streamed(event("a") + b'data: {"error":{"message":"m","code":503}}\n\n'), "provider_unavailable", False),
        (streamed(b'data: {"error":{"message":"m","code":"rate_limit_exceeded"}}\n\n'), "provider_rate_limited", False),
        (streamed(b"data: " + b"x" * (2 << 20)), "bad_response", False),
    ],
    ids=["end", "done", "empty", "half", "cut", "cut-early", "nonsense", "error", "error-first", "long-line"],
)
def test_a_stream_that_breaks_says_how(http: HttpClient, script: Script, code: str, doubtful: bool) -> None:
    with serving(script) as upstream, pytest.raises(ProviderError) as caught:
        list(stream(upstream, http))
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
        (dripping(b"", b"x"), {"first_token_s": 0.3}, "first_token_timeout", True),
        (dripping(b"", b": ping\n\n"), {"first_token_s": 0.3}, "first_token_timeout", True),
        (dripping(piece(event("")), event("")), {"first_token_s": 0.3}, "first_token_timeout", True),
        (streamed(event("a"), end=b""), {"between_chunks_s": 0.3}, "chunk_timeout", False),
        (dripping(piece(event("a")), b"x"), {"total_s": 0.3}, "total_timeout", False),
        (dripping(piece(event("a")), event("b")), {"total_s": 0.3}, "total_timeout", False),
    ],
    ids=["bytes", "comments", "empty", "silence", "drip", "endless"],
)
def test_no_kind_of_slowness_outlives_its_deadline(
    http: HttpClient, script: Script, limits: dict[str, float], code: str, doubtful: bool
) -> None:
    with serving(script) as upstream:
        started = time.monotonic()
        with pytest.raises(ProviderTransient) as caught:
            list(stream(upstream, http, **limits))
        assert (caught.value.code, caught.value.doubtful) == (code, doubtful)
        assert 0.25 < time.monotonic() - started < 1
        assert upstream.dropped.wait(1)


def test_closing_early_hangs_up_at_once(http: HttpClient) -> None:
    with serving(streamed(event("a"), end=b"")) as upstream:
        opened = stream(upstream, http)
        assert next(iter(opened)).text_bytes == 1
        opened.close()
        opened.close()
        assert upstream.dropped.wait(0.5)
        with pytest.raises(ProviderTransient):
            next(iter(opened))


def test_a_server_that_holds_the_connection_after_done_delays_nobody(http: HttpClient) -> None:
    with serving(streamed(HELLO, end=b"")) as upstream:
        started = time.monotonic()
        assert texts(list(stream(upstream, http))) == "hello"
        assert time.monotonic() - started < 0.5
        assert upstream.dropped.wait(1)


def test_a_whole_answer_to_a_stream_is_refused_or_is_the_error_it_holds(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream, pytest.raises(ProviderTransient) as caught:
        stream(upstream, http)
    assert caught.value.code == "bad_response"
    with serving(always(plain(b'{"error":{"code":429}}'))) as upstream, pytest.raises(ProviderRateLimited):
        stream(upstream, http)


def test_a_stream_gives_what_has_arrived_without_waiting_for_more(http: HttpClient) -> None:
    arrived: Iterator[Chunk]
    with serving(streamed(event("a"), end=b"")) as upstream:
        opened = stream(upstream, http)
        arrived = iter(opened)
        started = time.monotonic()
        assert texts([next(arrived)]) == "a" and time.monotonic() - started < 0.2
        opened.close()


# ---------------------------------------------------------------- callers of another dialect


def test_another_dialect_is_answered_in_the_inner_language(http: HttpClient) -> None:
    command = ChatCommand("anthropic", {}, 9, [Message("user", [Text("hi")])], parameters=Parameters(top_k=3))
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        reply = client_of(upstream, http).send(command, a_target(), deadlines(), "req_1")
    assert (reply.blocks, reply.finish_reason, reply.not_forwarded) == ([Text("hello")], "stop", ("top_k",))
    with serving(streamed(HELLO)) as upstream:
        for _ in range(2):
            opened = client_of(upstream, http).stream(command, a_target(), deadlines(), "req_1")
            chunks = list(opened)
            assert [delta for chunk in chunks for delta in chunk.deltas] == [TextDelta("hel"), TextDelta("lo")]
            assert {chunk.payload for chunk in chunks} == {b""} and opened.not_forwarded == ("top_k",)
        assert upstream.connections == 1


def test_same_dialect_answers_carry_no_second_form(http: HttpClient) -> None:
    with serving(always(plain(orjson.dumps(REPLY)))) as upstream:
        assert send(upstream, http).blocks == []
    with serving(streamed(HELLO)) as upstream:
        assert not any(chunk.deltas for chunk in stream(upstream, http))
