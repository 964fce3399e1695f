"""The checkers of tests/grammar.py tell good streams from bad ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.grammar import DONE, Event, check_anthropic_stream, check_openai_stream, parse_events

# ---------------------------------------------------------------- bytes


def test_events_are_read_from_bytes() -> None:
    raw = b': hello\n\nevent: a\ndata: {"x":1}\n\ndata: {"y":\ndata: 2}\r\n\r\ndata: [DONE]\n\n'
    assert parse_events(raw) == [Event("a", {"x": 1}), Event("", {"y": 2}), Event("", DONE)]
    assert parse_events(b"") == []


@pytest.mark.parametrize(
    "raw",
    [b"data: 1", b"data: 1\n", b"data: {\n\n", b"x\n\n", b"id: 1\n\n", b"event: a\n\n", b"event: a\nevent: b\n\n"],
)
def test_what_is_no_clean_event_is_told(raw: bytes) -> None:
    with pytest.raises(AssertionError):
        parse_events(raw)


# ---------------------------------------------------------------- OpenAI


def chunk(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}


def call(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


FIRST_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
ERROR = {"error": {"message": "x", "type": "server_error", "param": None, "code": "cut", "status": 502}}
OPENAI: list[Any] = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "a"}),
    chunk(call(0, **FIRST_CALL)),
    chunk(call(0, function={"arguments": "{}"})),
    chunk({}, "tool_calls"),
    DONE,
]


def openai(stream: list[Any]) -> None:
    check_openai_stream([Event("", data) for data in stream])


def test_good_openai_streams_pass() -> None:
    openai(OPENAI)
    openai([*[{**data, "usage": None} for data in OPENAI[:-1]], chunk({}, choices=[], usage=USAGE), DONE])
    openai([*OPENAI[:2], ERROR])


Change = Callable[[list[Any]], Any]
OPENAI_FAULTS: dict[str, Change] = {
    "empty": lambda s: s.clear(),
    "no end": lambda s: s.pop(),
    "an end in the middle": lambda s: s.insert(1, DONE),
    "an error before the end": lambda s: s.insert(1, ERROR),
    "an error and an end mark": lambda s: s.insert(-1, ERROR),
    "an error without a status": lambda s: s.__setitem__(-1, {"error": {**ERROR["error"], "status": None}}),
    "two ids": lambda s: s[1].update(id="d"),
    "two models": lambda s: s[1].update(model="d"),
    "a wrong object": lambda s: s[1].update(object="chat.completion"),
    "no choices": lambda s: s[1].update(choices=[]),
    "no role": lambda s: s[0]["choices"][0]["delta"].pop("role"),
    "a second role": lambda s: s[1]["choices"][0]["delta"].update(role="assistant"),
    "a number": lambda s: s[1]["choices"][0]["delta"].update(score=1),
    "content that is no text": lambda s: s[1]["choices"][0]["delta"].update(content=["a"]),
    "a later choice first": lambda s: s[0]["choices"][0].update(index=1),
    "a gap between calls": lambda s: s[2]["choices"][0]["delta"]["tool_calls"][0].update(index=1),
    "a call without an index": lambda s: s[2]["choices"][0]["delta"]["tool_calls"][0].pop("index"),
    "a call without an id": lambda s: s[2]["choices"][0]["delta"]["tool_calls"][0].pop("id"),
    "a second id": lambda s: s[3]["choices"][0]["delta"]["tool_calls"][0].update(id="c1"),
    "no finish_reason": lambda s: s[4]["choices"][0].update(finish_reason=None),
    "an unknown finish_reason": lambda s: s[4]["choices"][0].update(finish_reason="end_turn"),
    "content after the finish_reason": lambda s: s[0]["choices"][0].update(finish_reason="stop"),
    "usage among the chunks": lambda s: s[1].update(usage=USAGE),
    "usage null here and there": lambda s: s[1].update(usage=None),
    "usage in the middle": lambda s: s.insert(1, chunk({}, choices=[], usage=USAGE)),
    "a wrong total": lambda s: s.insert(-1, chunk({}, choices=[], usage={**USAGE, "total_tokens": 9})),
    "unsigned thinking": lambda s: s[1]["choices"][0]["delta"].update(
        thinking_blocks=[{"index": 0, "type": "thinking", "thinking": "x", "signature": "", "issuer": "p"}]
    ),
}


@pytest.mark.parametrize("fault", OPENAI_FAULTS)
def test_a_fault_in_an_openai_stream_is_told(fault: str) -> None:
    stream = deepcopy(OPENAI)
    OPENAI_FAULTS[fault](stream)
    with pytest.raises(AssertionError):
        openai(stream)


# ---------------------------------------------------------------- Anthropic

MESSAGE = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 0},
}


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": said}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


ANTHROPIC: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE},
    start(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="a"),
    delta(0, type="signature_delta", signature="s"),
    stop(0),
    start(1, type="text", text=""),
    delta(1, type="text_delta", text="a"),
    stop(1),
    start(2, type="tool_use", id="t", name="f", input={}),
    delta(2, type="input_json_delta", partial_json="{}"),
    stop(2),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 1},
    },
    {"type": "message_stop"},
]
FAILED = {"type": "error", "error": {"type": "api_error", "message": "x"}}


def anthropic(stream: list[dict[str, Any]]) -> None:
    check_anthropic_stream([Event(data["type"], data) for data in stream])


def test_good_anthropic_streams_pass() -> None:
    anthropic(ANTHROPIC)
    anthropic([ANTHROPIC[0], {"type": "ping"}, *ANTHROPIC[1:]])
    anthropic([*ANTHROPIC[:3], FAILED])
    anthropic([FAILED])
    cut = deepcopy(ANTHROPIC)
    cut[9]["delta"]["partial_json"], cut[11]["delta"]["stop_reason"] = '{"a', "max_tokens"
    anthropic(cut)


ANTHROPIC_FAULTS: dict[str, Change] = {
    "empty": lambda s: s.clear(),
    "no start": lambda s: s.pop(0),
    "two starts": lambda s: s.insert(1, s[0]),
    "no end": lambda s: s.pop(),
    "no message_delta": lambda s: s.pop(-2),
    "something after the message_delta": lambda s: s.insert(-1, start(3, type="text", text="")),
    "an error before the end": lambda s: s.insert(4, FAILED),
    "an unknown error": lambda s: s.__setitem__(-1, {"type": "error", "error": {"type": "x", "message": "x"}}),
    "a message that is not empty": lambda s: s[0]["message"].update(content=["x"]),
    "a message without usage": lambda s: s[0]["message"].pop("usage"),
    "a message that has stopped": lambda s: s[0]["message"].update(stop_reason="end_turn"),
    "a wrong index": lambda s: s[5].update(index=0),
    "a block in a block": lambda s: s.pop(4),
    "a block that is not closed": lambda s: s.pop(10),
    "a delta of another block": lambda s: s[6].update(index=0),
    "a delta of another kind": lambda s: s[6].update(delta=s[2]["delta"]),
    "a delta without text": lambda s: s[6].update(delta={"type": "text_delta"}),
    "something after the signature": lambda s: s.insert(4, s[2]),
    "two signatures": lambda s: s.insert(4, s[3]),
    "text at the start of a block": lambda s: s[5]["content_block"].update(text="x"),
    "input at the start of a block": lambda s: s[8]["content_block"].update(input={"a": 1}),
    "a tool_use without an id": lambda s: s[8]["content_block"].pop("id"),
    "half a tool's JSON": lambda s: s[9]["delta"].update(partial_json='{"a'),
    "a tool's JSON that is no object": lambda s: s[9]["delta"].update(partial_json="[]"),
    "an unknown stop_reason": lambda s: s[11]["delta"].update(stop_reason="stop"),
    "a stop_sequence without its reason": lambda s: s[11]["delta"].update(stop_sequence="x"),
    "no cumulative usage": lambda s: s[11].pop("usage"),
}


@pytest.mark.parametrize("fault", ANTHROPIC_FAULTS)
def test_a_fault_in_an_anthropic_stream_is_told(fault: str) -> None:
    stream = deepcopy(ANTHROPIC)
    ANTHROPIC_FAULTS[fault](stream)
    with pytest.raises(AssertionError):
        anthropic(stream)


def test_an_anthropic_event_needs_its_name() -> None:
    for name in ("", "message_stop"):
        with pytest.raises(AssertionError):
            check_anthropic_stream([Event(name, ANTHROPIC[0]), *(Event(d["type"], d) for d in ANTHROPIC[1:])])
