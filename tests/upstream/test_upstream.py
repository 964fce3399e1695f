"""The upstream alone: every script does what its name says, the ledger is exact, and nothing brings it down."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.upstream.answers import digest_of, instance_of
from tests.upstream.process import ROOT, UpstreamProcess
from tests.upstream.scripts import script_of

SILENT = ("hang", "hang-stream")
WHOLE = ("ok", "ok-3", "slow-5-3", "tools", "tools-parallel", "cached", "empty", "echo", "json", "usage-twice")
VALID_STREAMS = ("splitutf8", "crlf", "tiny", "many", "multiline", "comments", "usage-growing", "usage-on-finish")
BROKEN = ("cut", "cut-headers", "eof", "no-done", "error-in-200", "error-in-stream", "flaky", "redirect")
GARBAGE = ("html", "badjson", "badutf8", "gzip", "bigline-1", "no-usage", "usage-nan", "usage-huge", "usage-list")
ERRORS = ("status-400", "status-401", "status-404", "status-429", "status-429-insufficient_quota", "status-503")


@pytest.fixture(scope="module")
def upstream() -> Iterator[UpstreamProcess]:
    with UpstreamProcess() as running:
        yield running
        assert running.is_alive
        assert running.books()["crashes"] == []


def ask(upstream: UpstreamProcess, model: str, *, timeout: float = 5, **fields: Any) -> tuple[int, bytes, bool]:
    """(status, what could be read, whether the body ended as HTTP says it must)."""
    connection = http.client.HTTPConnection(urlsplit(upstream.url).netloc, timeout=timeout)
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
    read = bytearray()
    status = 0
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        status = answer.status
        while part := answer.read1(65536):
            read += part
        return status, bytes(read), not answer.length
    except (OSError, http.client.HTTPException):
        return status, bytes(read), False
    finally:
        connection.close()


def events(stream: bytes) -> list[Any]:
    """A stream's events by the SSE rules, "[DONE]" included."""
    text = stream.decode().replace("\r\n", "\n")
    found = []
    for block in text.split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if lines:
            data = "\n".join(lines)
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def said(stream: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for event in events(stream)
        if event != "[DONE]"
        for choice in event["choices"]
    )


@pytest.mark.parametrize("model", WHOLE + VALID_STREAMS)
def test_a_valid_script_says_the_same_streamed_and_whole(upstream: UpstreamProcess, model: str) -> None:
    status, body, complete = ask(upstream, model)
    assert (status, complete) == (200, True)
    message = json.loads(body)["choices"][0]["message"]
    status, stream, complete = ask(upstream, model, stream=True, stream_options={"include_usage": True})
    assert (status, complete) == (200, True)
    assert events(stream)[-1] == "[DONE]"
    if model != "echo":
        assert said(stream) == (message["content"] or "")
        assert events(stream)[-2]["usage"] == json.loads(body)["usage"] or model == "usage-on-finish"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", BROKEN + GARBAGE + ERRORS)
def test_a_bad_script_ends_and_leaves_the_server_standing(upstream: UpstreamProcess, model: str, stream: bool) -> None:
    status, body, complete = ask(upstream, model, stream=stream)
    if model.startswith("status-"):
        assert status == int(model.split("-")[1]) and complete
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    if model in ("cut", "cut-headers"):
        assert not complete
    if model == "eof" and stream:
        assert complete and "[DONE]" not in events(body)
    assert ask(upstream, "ok")[0] == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", SILENT)
def test_a_silent_script_stays_silent_and_notes_when_the_client_left(
    upstream: UpstreamProcess, model: str, stream: bool
) -> None:
    mark = upstream.mark()
    _, _, complete = ask(upstream, model, stream=stream, timeout=0.3)
    assert not complete
    (call,) = upstream.closed_calls(mark)
    assert call["outcome"] == "client_gone"
    assert call["client_gone_after_ms"] >= 250
    assert call["content_chunks"] == (3 if model == "hang-stream" and stream else 0)


def test_the_ledger_knows_every_call_to_the_token(upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    ask(upstream, "ok-5")
    ask(upstream, "ok-5", stream=True, n=2)
    whole, streamed = upstream.calls(mark)
    assert whole["usage"] == {"prompt": 5, "completion": 5, "cached": 0}
    assert streamed["usage"]["completion"] == 10 == streamed["content_chunks"]
    assert streamed["events"] == 14
    assert whole["sequence"] + 1 == streamed["sequence"]
    assert whole["connection"] != streamed["connection"]


def test_the_ledger_is_reset_and_sequence_numbers_go_on(upstream: UpstreamProcess) -> None:
    ask(upstream, "ok")
    before = upstream.mark()
    upstream.reset()
    assert upstream.calls() == []
    assert upstream.mark() == before


def test_a_client_that_leaves_in_the_middle_is_noted(upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    host, port = urlsplit(upstream.url).netloc.split(":")
    body = json.dumps({"model": "slow-20-500", "stream": True, "messages": []}).encode()
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        while b"word2" not in sock.recv(65536):
            pass
    (call,) = upstream.closed_calls(mark)
    assert call["outcome"] == "client_gone"
    assert 3 <= call["content_chunks"] < 50


def test_tokens_are_capped_by_the_caller(upstream: UpstreamProcess) -> None:
    answer = json.loads(ask(upstream, "ok-50", max_tokens=4)[1])
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["choices"][0]["finish_reason"] == "length"


def test_an_answer_begins_with_the_digest_of_the_conversation(upstream: UpstreamProcess) -> None:
    answer = json.loads(ask(upstream, "ok")[1])
    assert answer["choices"][0]["message"]["content"].split()[0] == digest_of("hello")


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n"],
)
def test_what_is_not_http_is_refused(garbage: bytes) -> None:
    with UpstreamProcess() as own:
        host, port = urlsplit(own.url).netloc.split(":")
        with socket.create_connection((host, int(port)), timeout=5) as sock:
            sock.sendall(garbage)
            assert sock.recv(100).startswith(b"HTTP/1.1 400")
        assert ask(own, "ok")[0] == 200


def test_a_body_that_is_not_json_is_a_400(upstream: UpstreamProcess) -> None:
    connection = http.client.HTTPConnection(urlsplit(upstream.url).netloc, timeout=5)
    connection.request("POST", "/v1/chat/completions", b"[not json")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 400


def test_three_hundred_streams_at_once_all_end(upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    ends: list[bool] = []
    asks = [
        threading.Thread(target=lambda: ends.append(b"[DONE]" in ask(upstream, "slow-30-5", stream=True)[1]))
        for _ in range(300)
    ]
    for thread in asks:
        thread.start()
    for thread in asks:
        thread.join()
    assert ends == [True] * 300
    assert [call["outcome"] for call in upstream.calls(mark)] == ["answered"] * 300


def test_a_value_is_made_for_a_schema_with_references_and_unions() -> None:
    schema = {
        "type": "object",
        "properties": {"step": {"$ref": "#/$defs/Step"}, "note": {"anyOf": [{"type": "null"}, {"type": "string"}]}},
        "$defs": {"Step": {"type": "object", "properties": {"n": {"type": "integer"}, "kind": {"enum": ["a", "b"]}}}},
    }
    assert instance_of(schema) == {"step": {"n": 7, "kind": "a"}, "note": None}


@pytest.mark.parametrize(
    ("model", "name", "arguments"),
    [
        ("ok-7+left", "ok", ["7"]),
        ("status-429-insufficient_quota", "status", ["429", "insufficient_quota"]),
        ("hang-stream", "hang", ["stream"]),
        ("usage-on-finish", "usage", ["on", "finish"]),
        ("no-usage", "no_usage", []),
        ("meta-llama/Llama-3", "ok", []),
    ],
)
def test_a_model_name_finds_its_script(model: str, name: str, arguments: list[str]) -> None:
    script, given = script_of(model)
    assert (script.__name__, given) == (name, arguments)


def test_help_lists_the_scripts() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "tests.upstream", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=20
    ).stdout
    assert "tools-parallel" in shown and "--port" in shown
