from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.providers.conftest import a_target
from tokenhub.domain.chat import (
    Block,
    Chunk,
    Reply,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Usage,
)
from tokenhub.errors import ProviderRateLimited, ProviderTransient
from tokenhub.providers.openai.crossing import CrossingReader, cross_reply
from tokenhub.providers.openai.wire import read_reply

STOPS = ("END",)


def replied(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> Reply:
    choices = [{"index": 0, "message": message, "finish_reason": finish, **choice}]
    body = {"id": "chatcmpl-9", "choices": choices, "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    return cross_reply(read_reply(orjson.dumps(body), a_target()), STOPS)


def call(name: str = "add", arguments: Any = "{}", **fields: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


# ---------------------------------------------------------------- whole answer


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        ({"content": "hi"}, [Text("hi")]),
        ({"content": ""}, []),
        ({"content": None}, []),
        ({"content": "4", "reasoning_content": "hm"}, [Thinking("hm"), Text("4")]),
        ({"content": "4", "reasoning": "hm"}, [Thinking("hm"), Text("4")]),
        ({"content": "4", "reasoning_content": "hm", "reasoning": "hm"}, [Thinking("hm"), Text("4")]),
        ({"content": [{"type": "text", "text": "a"}, {"type": "x"}, 7, {"text": 7}]}, [Text("a")]),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"text": "h"}, {"text": "m"}, 1]},
                    {"type": "text", "text": "4"},
                ]
            },
            [Thinking("hm"), Text("4")],
        ),
        ({"content": None, "refusal": "I will not"}, [Text("I will not")]),
        (
            {"content": "wait", "tool_calls": [call(), call("sub", '{"b":1}', id="b")]},
            [Text("wait"), ToolUse("a", "add", "{}"), ToolUse("b", "sub", '{"b":1}')],
        ),
        ({"content": None, "tool_calls": [call(id=None), 7]}, [ToolUse("call_0_chatcmpl9", "add", "{}")]),
        ({"content": None, "tool_calls": [call(arguments={"a": 1})]}, [ToolUse("a", "add", '{"a":1}')]),
        (
            {"content": None, "function_call": {"name": "add", "arguments": "{}"}},
            [ToolUse("call_0_chatcmpl9", "add", "{}")],
        ),
        ({"content": None, "tool_calls": [{"id": "a", "function": "odd"}]}, [ToolUse("a", "", "")]),
    ],
)
def test_what_the_model_wrote_is_said_in_blocks(message: dict[str, Any], blocks: list[Block]) -> None:
    reply = replied(message)
    assert reply.blocks == blocks and reply.usage == Usage(input=3, output=2)


@pytest.mark.parametrize(
    ("finish", "choice", "message", "reason", "stop"),
    [
        ("stop", {}, {}, "stop", None),
        ("length", {}, {}, "length", None),
        ("tool_calls", {}, {}, "tool_use", None),
        ("function_call", {}, {}, "tool_use", None),
        ("content_filter", {}, {}, "content_filter", None),
        ("eos", {}, {}, "stop", None),
        (None, {}, {}, "stop", None),
        ("stop", {"stop_reason": "END"}, {}, "stop_sequence", "END"),
        ("stop", {"matched_stop": "END"}, {}, "stop_sequence", "END"),
        ("stop", {"stop_reason": 2}, {}, "stop", None),
        ("stop", {"stop_reason": "</s>"}, {}, "stop", None),
        ("length", {"stop_reason": "END"}, {}, "length", None),
        ("stop", {}, {"tool_calls": [call()]}, "tool_use", None),
        (None, {}, {"tool_calls": [call()]}, "tool_use", None),
        ("stop", {}, {"refusal": "no"}, "content_filter", None),
    ],
)
def test_why_it_ended_is_told(
    finish: str | None, choice: dict[str, Any], message: dict[str, Any], reason: str, stop: str | None
) -> None:
    reply = replied({"content": "x", **message}, finish, **choice)
    assert (reply.finish_reason, reply.stop_sequence) == (reason, stop)
    events = [chunk_json({"content": "x", **message}), chunk_json({}, finish or "stop", **choice)]
    last = read(events)[-1]
    assert (last.finish_reason, last.stop_sequence) == (reason, stop)


def test_of_several_choices_the_first_counts() -> None:
    choices = [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in (1, 0)]
    reply = cross_reply(read_reply(orjson.dumps({"choices": choices}), a_target()), ())
    assert reply.blocks == [Text("0")]


# ---------------------------------------------------------------- stream


def chunk_json(delta: dict[str, Any], finish: str | None = None, index: int | None = 0, **choice: Any) -> bytes:
    choices = [{"index": index, "delta": delta, "finish_reason": finish, **choice}]
    return orjson.dumps({"id": "chatcmpl-9", "model": "m", "choices": choices})


def read(events: list[bytes]) -> list[Chunk]:
    reader = CrossingReader(STOPS)
    chunks = [reader.read(event) for event in events]
    return [chunk for chunk in chunks if chunk is not None]


def test_a_stream_is_told_in_deltas_and_nothing_is_passed_on() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    chunks = read(
        [
            chunk_json({"role": "assistant", "content": ""}),
            chunk_json({"reasoning_content": "hm"}),
            chunk_json({"content": "fo"}),
            chunk_json({"content": "ur"}, index=None),
            chunk_json({"tool_calls": [call(arguments="", index=3)]}),
            chunk_json({"tool_calls": [{"index": 3, "function": {"arguments": "{}"}}]}),
            chunk_json({}, "tool_calls"),
            orjson.dumps({"id": "chatcmpl-9", "choices": [], "usage": usage}),
        ]
    )
    assert [chunk.deltas for chunk in chunks] == [
        (),
        (ThinkingDelta("hm"),),
        (TextDelta("fo"),),
        (TextDelta("ur"),),
        (ToolUseStart(0, "a", "add"),),
        (ToolUseDelta(0, "{}"),),
        (),
        (),
    ]
    assert [chunk.is_content for chunk in chunks] == [False, True, True, True, True, True, False, False]
    assert [chunk.text_bytes for chunk in chunks] == [0, 2, 2, 2, 3, 2, 0, 0]
    assert [chunk.finish_reason for chunk in chunks] == [None] * 6 + ["tool_use", None]
    assert chunks[-1].usage == Usage(input=3, output=2) and chunks[-1].choice_count == 0
    assert {chunk.payload for chunk in chunks} == {b""}


def test_the_end_of_a_stream_is_seen() -> None:
    reader = CrossingReader(())
    assert reader.read(b"[DONE]") is None and reader.has_ended and reader.last() is None


def test_other_choices_are_counted_and_not_told() -> None:
    (chunk,) = read([chunk_json({"content": "b"}, "stop", index=1)])
    assert (chunk.deltas, chunk.finish_reason, chunk.text_bytes) == ((), None, 1)


def test_a_call_without_a_name_is_told_when_the_answer_ends() -> None:
    chunks = read([chunk_json({"tool_calls": [{"index": 0, "id": "a"}]}), chunk_json({}, "tool_calls")])
    assert [chunk.deltas for chunk in chunks] == [(), (ToolUseStart(0, "a", ""),)]


def test_errors_and_nonsense_in_a_stream_are_what_they_are_for_every_caller() -> None:
    with pytest.raises(ProviderRateLimited):
        read([b'{"error":{"message":"slow down","code":429}}'])
    for event in (b"", b"[1]", b'{"choices":"x"}', b'{"choices":[1]}'):
        with pytest.raises(ProviderTransient):
            read([event])


# ---------------------------------------------------------------- what both dialects can say survives


def answer_of(blocks: list[Block]) -> dict[str, Any]:
    """OpenAI's message for blocks, written from its reference and with nothing of ours."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for block in blocks:
        if isinstance(block, Thinking):
            message["reasoning_content"] = block.text
        elif isinstance(block, Text):
            message["content"] = block.text
        elif isinstance(block, ToolUse):
            message.setdefault("tool_calls", []).append(call(block.name, block.arguments, id=block.id))
    return message


def events_of(blocks: list[Block], finish: str, cut: int) -> list[bytes]:
    """The same as a stream, each text in pieces of `cut` characters; several tool calls are written in turn."""

    def pieces(text: str) -> list[str]:
        return [text[at : at + cut] for at in range(0, len(text), cut)]

    events = [chunk_json({"role": "assistant", "content": ""})]
    uses = [block for block in blocks if isinstance(block, ToolUse)]
    for block in blocks:
        if isinstance(block, Thinking | Text):
            name = "content" if isinstance(block, Text) else "reasoning_content"
            events += [chunk_json({name: piece}) for piece in pieces(block.text)]
    for index, use in enumerate(uses):
        events.append(chunk_json({"tool_calls": [call(use.name, "", id=use.id, index=index)]}))
    rounds = [pieces(use.arguments) for use in uses]
    for turn in range(max(map(len, rounds), default=0)):
        for index, parts in enumerate(rounds):
            if turn < len(parts):
                fragment = {"index": index, "function": {"arguments": parts[turn]}}
                events.append(chunk_json({"tool_calls": [fragment]}))
    return [*events, chunk_json({}, finish)]


def gathered(chunks: list[Chunk]) -> list[Block]:
    """The blocks that the deltas add up to."""
    thought, text, uses = "", "", list[ToolUse]()
    for delta in (delta for chunk in chunks for delta in chunk.deltas):
        if isinstance(delta, ThinkingDelta):
            thought += delta.text
        elif isinstance(delta, TextDelta):
            text += delta.text
        elif isinstance(delta, ToolUseStart):
            assert delta.index == len(uses)
            uses.append(ToolUse(delta.id, delta.name, ""))
        else:
            uses[delta.index].arguments += delta.arguments
    return [*([Thinking(thought)] if thought else []), *([Text(text)] if text else []), *uses]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
USES = st.lists(st.builds(ToolUse, TEXT, TEXT, st.just("") | TEXT), max_size=3, unique_by=lambda use: use.id)
ANSWERS = st.builds(
    lambda thought, text, uses: [*thought, *text, *uses],
    st.lists(st.builds(Thinking, TEXT), max_size=1),
    st.lists(st.builds(Text, TEXT), max_size=1),
    USES,
)


@given(ANSWERS, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]), st.integers(1, 5))
def test_what_both_dialects_can_say_survives_whole_and_streamed(blocks: list[Block], finish: str, cut: int) -> None:
    reply = replied(answer_of(blocks), finish)
    chunks = read(events_of(blocks, finish, cut))
    assert reply.blocks == blocks == gathered(chunks)
    assert chunks[-1].finish_reason == reply.finish_reason
    assert sum(chunk.text_bytes for chunk in chunks) == reply.text_bytes
