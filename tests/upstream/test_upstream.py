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

import anthropic
import pytest
from anthropic.lib.streaming._messages import accumulate_event

from tests.grammar import check_anthropic_error, check_anthropic_message, check_anthropic_stream, parse_events
from tests.upstream.answers import digest_of, instance_of, is_sealed, sealed_of, signature_of
from tests.upstream.process import ROOT, UpstreamProcess
from tests.upstream.scripts import script_of

SILENT = ("hang", "hang-stream")
WHOLE: tuple[str, ...] = (
    "ok",
    "ok-3",
    "slow-5-3",
    "tools",
    "tools-parallel",
    "cached",
    "empty",
    "echo",
    "json",
    "usage-twice",
)
WHOLE += ("filtered", "stop", "stop-named", "thinking", "thinking-tools", "thinking-sealed", "reasoning")
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


CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
HEADERS = {"content-type": "application/json", "x-api-key": "k", "anthropic-version": "2023-06-01"}


def ask(
    upstream: UpstreamProcess,
    model: str,
    *,
    path: str = CHAT,
    timeout: float = 5,
    headers: dict[str, str] = HEADERS,
    **fields: Any,
) -> tuple[int, bytes, bool]:
    """(status, what could be read, whether the body ended as HTTP says it must)."""
    connection = http.client.HTTPConnection(urlsplit(upstream.url).netloc, timeout=timeout)
    usual = {"max_tokens": 4096} if path == MESSAGES else {}
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **usual, **fields}
    read = bytearray()
    status = 0
    try:
        connection.request("POST", path, json.dumps(body), headers)
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
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("model", BROKEN + GARBAGE + ERRORS)
def test_a_bad_script_ends_and_leaves_the_server_standing(
    upstream: UpstreamProcess, model: str, path: str, stream: bool
) -> None:
    status, body, complete = ask(upstream, model, path=path, stream=stream)
    if model.startswith("status-"):
        assert status == int(model.split("-")[1]) and complete
        fields = {"message", "type", "param", "code"} if path == CHAT else {"message", "type"}
        assert set(json.loads(body)["error"]) == fields
    if model in ("cut", "cut-headers"):
        assert not complete
    if model == "eof" and stream:
        assert complete and "[DONE]" not in events(body)
    assert ask(upstream, "ok", path=path)[0] == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("model", SILENT)
def test_a_silent_script_stays_silent_and_notes_when_the_client_left(
    upstream: UpstreamProcess, model: str, path: str, stream: bool
) -> None:
    mark = upstream.mark()
    _, _, complete = ask(upstream, model, path=path, stream=stream, timeout=0.3)
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
    assert whole["usage"] == {"prompt": 5, "completion": 5, "cached": 0, "cache_write": 0, "reasoning": 0}
    assert whole["dialect"] == "openai" and whole["body"]["model"] == "ok-5" and whole["complaint"] == ""
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
        ("thinking-tools+c", "thinking", ["tools"]),
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


# ---------------------------------------------------------------- Anthropic's dialect


def told(body: bytes) -> anthropic.types.Message:
    return anthropic.types.Message.model_validate_json(body)


def accumulated(stream: bytes) -> anthropic.types.Message:
    """A stream as the SDK's own accumulator puts it together."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in parse_events(stream):
        if event.name != "ping":
            snapshot = accumulate_event(event=event.data, current_snapshot=snapshot, json_bufs=buffers)
    return anthropic.types.Message.model_validate(snapshot.to_dict())


@pytest.mark.parametrize("model", WHOLE + VALID_STREAMS)
def test_a_valid_message_is_the_same_streamed_and_whole(upstream: UpstreamProcess, model: str) -> None:
    _, body, complete = ask(upstream, model, path=MESSAGES, stop_sequences=["word5"])
    check_anthropic_message(json.loads(body))
    status, stream, streamed_complete = ask(upstream, model, path=MESSAGES, stop_sequences=["word5"], stream=True)
    assert (status, complete, streamed_complete) == (200, True, True)
    if model not in ("multiline", "comments"):  # valid, but not clean
        check_anthropic_stream(parse_events(stream))
        whole, pieces = (m.model_dump(exclude_none=True) for m in (told(body), accumulated(stream)))
        if model != "echo":
            assert pieces == whole
        assert any(event.name == "ping" for event in parse_events(stream))


def test_a_message_tells_the_ledgers_count(upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    whole = told(ask(upstream, "cached", path=MESSAGES, system="x" * 40)[1]).usage
    (call,) = upstream.calls(mark)
    count = call["usage"]
    assert count == {"prompt": 19, "completion": 8, "cached": 9, "cache_write": 4, "reasoning": 0}
    assert (whole.input_tokens, whole.output_tokens) == (6, 8)
    assert (whole.cache_read_input_tokens, whole.cache_creation_input_tokens) == (9, 4)
    assert (call["dialect"], call["credential"]) == ("anthropic", "x-api-key")
    assert call["headers"]["anthropic-version"] == "2023-06-01" and "x-api-key" not in call["headers"]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_pictures_are_counted(upstream: UpstreamProcess, path: str) -> None:
    mark = upstream.mark()
    of_openai = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    of_anthropic = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    picture = of_openai if path == CHAT else of_anthropic
    content = [{"type": "text", "text": "hello"}, picture, picture]
    assert ask(upstream, "ok", path=path, messages=[{"role": "user", "content": content}])[0] == 200
    (call,) = upstream.calls(mark)
    assert call["images"] == 2 and call["usage"]["prompt"] == 5 + 2 * 85


def test_a_stop_text_ends_the_answer_and_is_named_as_each_protocol_does(upstream: UpstreamProcess) -> None:
    said_before = f"{digest_of('hello')} word1 word2 "
    message = told(ask(upstream, "stop", path=MESSAGES, stop_sequences=["word5", "word3"])[1])
    assert message.content[0].text == said_before  # type: ignore[union-attr]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "word3")
    (choice,) = json.loads(ask(upstream, "stop", stop="word3")[1])["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (said_before, "stop")
    (named,) = json.loads(ask(upstream, "stop-named", stop=["word3"])[1])["choices"]
    assert (choice.get("stop_reason"), named["stop_reason"]) == (None, "word3")


def test_reasoning_is_openais_reasoning_content(upstream: UpstreamProcess) -> None:
    body = json.loads(ask(upstream, "reasoning")[1])
    thought = body["choices"][0]["message"]["reasoning_content"]
    assert thought == f"I think of {digest_of('hello')} — and so on."
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5
    stream = events(ask(upstream, "reasoning", stream=True)[1])[:-1]
    assert "".join(event["choices"][0]["delta"].get("reasoning_content", "") for event in stream) == thought


def test_tools_are_not_called_again_once_their_results_are_there(upstream: UpstreamProcess) -> None:
    call = told(ask(upstream, "tools", path=MESSAGES)[1])
    (use,) = call.content
    messages = [{"role": "user", "content": "hello"}, *exchange_of(use.to_dict(), use.id)]  # type: ignore[union-attr]
    answer = told(ask(upstream, "tools", path=MESSAGES, messages=messages)[1])
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].text.startswith(digest_of("hello\nsunny"))  # type: ignore[union-attr]


def test_tokens_can_be_counted_beforehand(upstream: UpstreamProcess) -> None:
    fields: dict[str, Any] = {"max_tokens": None, "path": f"{MESSAGES}/count_tokens"}
    assert json.loads(ask(upstream, "ok", **fields)[1]) == {"input_tokens": 5}


# ---------------------------------------------------------------- what the real APIs refuse


def exchange_of(*blocks: dict[str, Any] | str) -> list[dict[str, Any]]:
    """An assistant's turn of these blocks, and a user's with results for these call ids."""
    found = [block for block in blocks if isinstance(block, dict)]
    answers = [block for block in blocks if isinstance(block, str)]
    results = [{"type": "tool_result", "tool_use_id": each, "content": "sunny"} for each in answers]
    return [
        {"role": "assistant", "content": found},
        {"role": "user", "content": results or [{"type": "text", "text": "go on"}]},
    ]


USER = {"role": "user", "content": "hello"}
USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": signature_of("hm")}
SAID = {"type": "text", "text": "so"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, *exchange_of(THOUGHT, SAID)],
        [USER, *exchange_of({"type": "redacted_thinking", "data": sealed_of("x")}, SAID)],
        [USER, *exchange_of(USE, "call_1")],
        [USER, {"role": "assistant", "content": "so"}],
    ],
)
def test_a_good_conversation_is_taken(upstream: UpstreamProcess, messages: list[Any]) -> None:
    mark = upstream.mark()
    assert ask(upstream, "ok", path=MESSAGES, messages=messages)[0] == 200
    assert upstream.calls(mark)[0]["complaint"] == ""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": [USER, *exchange_of(THOUGHT | {"signature": "sig_wrong"}, SAID)]}, "Invalid `signature`"),
        ({"messages": [USER, *exchange_of(THOUGHT | {"thinking": "changed"}, SAID)]}, "Invalid `signature`"),
        ({"messages": [USER, *exchange_of({"type": "thinking", "thinking": "hm"}, SAID)]}, "signature: Field required"),
        ({"messages": [USER, *exchange_of(THOUGHT | {"issuer": "alpha"}, SAID)]}, "issuer: Extra inputs"),
        ({"messages": [USER, *exchange_of({"type": "redacted_thinking", "data": "x"}, SAID)]}, "Invalid `data`"),
        ({"messages": [USER, *exchange_of(USE)]}, "without `tool_result`"),
        ({"messages": [USER, *exchange_of(USE, "call_1", "call_1")]}, "single result"),
        ({"messages": [USER, *exchange_of(USE, "call_1", "call_2")]}, "unexpected `tool_use_id`"),
        ({"messages": [USER, *exchange_of(USE | {"id": "a.b"}, "a.b")]}, "match pattern"),
        ({"messages": [{"role": "assistant", "content": "so"}, USER]}, "first message"),
        ({"messages": [{"role": "system", "content": "so"}, USER]}, "first message"),
        ({"messages": [USER, {"role": "tool", "content": "so"}]}, "Input should be 'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "Input tag 'image_url'"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": "hello", "name": "x"}]}, "name: Extra inputs"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop": ["x"]}, "stop: Extra inputs"),
        ({"tokenhub": {}}, "tokenhub: Extra inputs"),
        ({"thinking": BUDGET, "max_tokens": 1000}, "must be greater"),
        ({"thinking": BUDGET, "messages": [USER, *exchange_of(USE, "call_1")]}, "Expected `thinking`"),
        ({"headers": {"x-api-key": "k"}}, "anthropic-version"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_anthropic_refuses_is_a_400_whatever_the_script(
    upstream: UpstreamProcess, fields: dict[str, Any], said: str
) -> None:
    mark = upstream.mark()
    status, body, _ = ask(upstream, "ok", path=MESSAGES, **fields)
    assert status == 400
    check_anthropic_error(json.loads(body))
    assert said in json.loads(body)["error"]["message"]
    assert upstream.calls(mark)[0]["complaint"] == json.loads(body)["error"]["message"]


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([USER, CALLING, RESULT], None),
        ([USER, CALLING | {"content": None}, RESULT, USER], None),
        ([USER, CALLING | {"reasoning_content": "hm"}, RESULT], None),
        ([USER, CALLING], "must be followed by tool messages"),
        ([USER, CALLING, USER], "must be followed by tool messages"),
        ([USER, CALLING, RESULT, RESULT], "must be a response"),
        ([USER, RESULT], "must be a response"),
        ([{"role": "robot", "content": "x"}], "role"),
        ([{"role": "assistant", "content": "x", "thinking_blocks": []}, USER], "Unknown parameter"),
        ([{"role": "user", "content": None}], "content"),
        ([{"role": "user", "content": [{"type": "tool_use"}]}], "content[0].type"),
    ],
)
def test_what_openai_refuses_is_a_400_whatever_the_script(
    upstream: UpstreamProcess, messages: list[Any], said: str | None
) -> None:
    status, body, _ = ask(upstream, "ok", messages=messages)
    assert status == (400 if said else 200)
    assert said is None or said in json.loads(body)["error"]["message"]


def test_another_dialects_fields_are_leaks(upstream: UpstreamProcess) -> None:
    assert ask(upstream, "ok", stop_sequences=["x"])[0] == 400
    assert ask(upstream, "ok", tokenhub={})[0] == 400


def test_what_is_sealed_is_known_again() -> None:
    assert is_sealed(sealed_of("a_b"))
    assert not is_sealed(sealed_of("a_b")[:-1]) and not is_sealed("a")
