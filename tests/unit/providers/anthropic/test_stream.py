from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.providers.anthropic.conftest import a_target, events_of, message
from tokenhub.domain.chat import (
    Chunk,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Usage,
)
from tokenhub.errors import ContextOverflow, ProviderRateLimited, ProviderTransient
from tokenhub.providers.anthropic.stream import MessageReader
from tokenhub.providers.anthropic.wire import read_reply

TARGET = a_target()


def read(events: list[Any], dialect: Any = "openai") -> list[Chunk]:
    reader = MessageReader(TARGET, dialect)
    chunks = [reader.read(event if isinstance(event, bytes) else orjson.dumps(event)) for event in events]
    return [chunk for chunk in [*chunks, reader.last()] if chunk is not None]


def block(index: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def json_delta(index: int, part: str) -> dict[str, Any]:
    return delta(index, type="input_json_delta", partial_json=part)


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ending(stop_reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": None}, "usage": usage}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}


# ---------------------------------------------------------------- same dialect


def test_events_are_forwarded_as_they_came_but_for_the_model_and_pings() -> None:
    events = events_of([{"type": "text", "text": "hé, you"}, {**CALL, "input": {"a": 1}}], "tool_use")
    odd = b'{"type":"content_block_delta", "index":0,"delta":{"type":"text_delta","text":"\\u00e9"},"x":  1.50}'
    unknown = {"type": "unheard_of", "x": 1}
    chunks = read([*events[:-2], odd, unknown, *events[-2:]], "anthropic")
    payloads = [chunk.payload for chunk in chunks]
    assert payloads[-4:-2] == [odd, orjson.dumps(unknown)]
    assert all(chunk.deltas == () and chunk.choice_count == 1 for chunk in chunks)
    expected = [event for event in events if event["type"] != "ping"]
    expected[0]["message"]["model"] = "sonnet"
    assert [orjson.loads(payload) for payload in payloads if payload not in payloads[-4:-2]] == expected


def test_whatever_its_form_an_event_goes_out_on_one_line_of_good_json() -> None:
    for payload in (
        b'{"type":"content_block_delta","index":0,\n"delta":{"type":"text_delta","text":"x"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x","p":NaN}}',
    ):
        (chunk, _) = read([payload], "anthropic")
        want = json.loads(payload, parse_constant=lambda _: None)
        assert b"\n" not in chunk.payload and orjson.loads(chunk.payload) == want


def test_the_end_is_told_once_also_where_the_server_forgot_it_or_says_more() -> None:
    told = {"type": "message_stop", "metrics": {"x": 1}}
    assert [c.payload for c in read([told, {"type": "ping"}, told], "anthropic")] == [orjson.dumps(told)]
    assert [c.payload for c in read([], "anthropic")] == [b'{"type":"message_stop"}']
    assert read([told]) == read([]) == []
    reader = MessageReader(TARGET, "anthropic")
    assert reader.read(b"[DONE]") is None and reader.has_ended


def test_both_kinds_of_callers_are_counted_alike() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "hm €", "signature": "sig"},
        {"type": "text", "text": "hé"},
        {**CALL, "input": {"a": 1}},
    ]
    for dialect in ("anthropic", "openai"):
        chunks = read(events_of(blocks, "tool_use"), dialect)
        assert sum(chunk.text_bytes for chunk in chunks) == 6 + 3 + len('add{"a":1}')
        assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["tool_use"]
        assert [chunk.usage for chunk in chunks if chunk.usage] == [Usage(input=9), Usage(input=9, output=4)]
        assert [c.is_content for c in chunks if c.is_content] == [c.is_content for c in chunks if c.text_bytes > 0]


def test_a_call_is_content_from_its_start_and_an_empty_piece_is_none() -> None:
    start, empty, _ = read([block(0, {**CALL, "name": ""}), json_delta(0, "")], "anthropic")
    assert (start.is_content, start.text_bytes) == (True, 0)
    assert (empty.is_content, empty.text_bytes) == (False, 0)


# ---------------------------------------------------------------- other dialects


def test_other_dialects_get_deltas_and_nothing_else() -> None:
    chunks = read(events_of([{"type": "text", "text": "hello"}]))
    assert all(chunk.payload == b"" for chunk in chunks)
    assert [(chunk.deltas, chunk.choice_count) for chunk in chunks] == [
        ((), 0),
        ((TextDelta("hel"),), 1),
        ((TextDelta("lo"),), 1),
        ((), 1),
    ]
    assert chunks[-1].finish_reason == "stop" and chunks[-1].usage == Usage(input=9, output=4)


def test_parallel_calls_are_numbered_from_0_without_gaps_and_may_be_mixed() -> None:
    chunks = read(
        [
            block(0, {"type": "text", "text": ""}),
            block(1, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
            json_delta(1, '{"q":1}'),
            block(2, CALL),
            block(3, {**CALL, "id": "toolu_2"}),
            json_delta(3, '{"b"'),
            json_delta(2, '{"a":1}'),
            json_delta(3, ":2}"),
            stop(2),
            stop(3),
        ]
    )
    assert [delta for chunk in chunks for delta in chunk.deltas] == [
        ToolUseStart(0, "toolu_1", "add"),
        ToolUseStart(1, "toolu_2", "add"),
        ToolUseDelta(1, '{"b"'),
        ToolUseDelta(0, '{"a":1}'),
        ToolUseDelta(1, ":2}"),
    ]


@pytest.mark.parametrize(
    ("given_input", "parts", "arguments"),
    [({}, [], "{}"), ({}, [""], "{}"), ({"a": 1}, [], '{"a":1}'), ({"a": 1}, ['{"b":', "2}"], '{"b":2}')],
)
def test_arguments_are_whole_json_however_the_server_tells_them(
    given_input: dict[str, Any], parts: list[str], arguments: str
) -> None:
    events = [block(0, {**CALL, "input": given_input}), *(json_delta(0, part) for part in parts), stop(0), stop(0)]
    deltas = [delta for chunk in read(events) for delta in chunk.deltas]
    assert "".join(d.arguments for d in deltas if isinstance(d, ToolUseDelta)) == arguments


def test_a_text_that_comes_with_its_start_is_told() -> None:
    chunks = read(
        [
            block(0, {"type": "thinking", "thinking": "hm", "signature": ""}),
            block(1, {"type": "redacted_thinking", "data": "sealed"}),
            block(2, {"type": "text", "text": "hi"}),
            delta(2, type="citations_delta", citation={}),
            delta(2, type="unheard_of"),
        ]
    )
    assert [chunk.deltas for chunk in chunks] == [
        (ThinkingDelta("hm"),),
        (ThinkingDelta(signature="sealed", redacted=True),),
        (TextDelta("hi"),),
    ]


def test_a_stop_text_is_told_with_the_reason() -> None:
    event = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}}
    for dialect in ("openai", "anthropic"):
        chunk = read([event], dialect)[0]
        assert (chunk.finish_reason, chunk.stop_sequence, chunk.usage) == ("stop_sequence", "END", None)


# ---------------------------------------------------------------- usage


def start(usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": message(stop_reason=None, usage=usage)}


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ({"input_tokens": 9, "output_tokens": 3}, {"output_tokens": 8}, [Usage(9), Usage(9, 8)]),
        (
            {"input_tokens": 9, "cache_read_input_tokens": 90, "output_tokens": 1},
            {"input_tokens": 9, "cache_read_input_tokens": None, "output_tokens": 8},
            [Usage(99, 0, 90), Usage(99, 8, 90)],
        ),
        ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 9, "output_tokens": 8}, [Usage(), Usage(9, 8)]),
        (None, {"input_tokens": 9, "output_tokens": 8}, [Usage(9, 8)]),
        ({"input_tokens": 9, "output_tokens": 1}, {}, [Usage(9), Usage(9, 1)]),
        ({"input_tokens": -9, "output_tokens": 1}, {"output_tokens": 8}, []),
        ({"input_tokens": 9}, {"output_tokens": "8"}, [Usage(9)]),
    ],
)
def test_usage_begins_with_the_input_and_grows(first: Any, last: Any, expected: list[Usage]) -> None:
    for dialect in ("openai", "anthropic"):
        told = [chunk.usage for chunk in read([start(first), ending(**last)], dialect)]
        assert [usage for usage in told if usage is not None] == expected


def test_the_last_of_several_endings_counts_and_one_without_a_reason_is_only_usage() -> None:
    chunks = read([start({"input_tokens": 9}), ending(None, output_tokens=3), ending(output_tokens=8)])
    assert [(chunk.choice_count, chunk.usage) for chunk in chunks] == [
        (0, Usage(9)),
        (0, Usage(9, 3)),
        (1, Usage(9, 8)),
    ]


# ---------------------------------------------------------------- there and back

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
CONTENT = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, WORDS),
        st.builds(lambda text, sig: {"type": "thinking", "thinking": text, "signature": sig}, WORDS, WORDS),
        st.builds(lambda data: {"type": "redacted_thinking", "data": data}, WORDS),
        st.builds(
            lambda call, name, value: {"type": "tool_use", "id": call, "name": name, "input": value},
            WORDS,
            WORDS,
            st.dictionaries(WORDS, st.one_of(st.integers(-(2**53), 2**53), WORDS, st.none()), max_size=3),
        ),
    ),
    max_size=5,
)


@given(CONTENT, st.integers(1, 5), st.sampled_from(["end_turn", "max_tokens", "tool_use", "refusal"]))
def test_a_stream_says_the_same_as_the_whole_answer(content: list[dict[str, Any]], step: int, reason: str) -> None:
    whole = read_reply(orjson.dumps(message(*content, stop_reason=reason)), TARGET, "openai")
    chunks = read(events_of(content, reason, step))
    assert put_together(chunks) == joined(whole.blocks)
    assert chunks[-1].finish_reason == whole.finish_reason and chunks[-1].usage == whole.usage
    assert sum(chunk.text_bytes for chunk in chunks) == whole.text_bytes
    forwarded = read(events_of(content, reason, step), "anthropic")
    assert sum(chunk.text_bytes for chunk in forwarded) == whole.text_bytes


def put_together(chunks: list[Chunk]) -> list[Any]:
    """The blocks that deltas make, with the texts and the thoughts that follow each other as one."""
    blocks: list[Any] = []
    for told in (told for chunk in chunks for told in chunk.deltas):
        match told:
            case TextDelta(text):
                blocks.append(Text(text))
            case ThinkingDelta(text, signature, redacted):
                blocks.append(Thinking(text, signature, "up", redacted))
            case ToolUseStart(_, call, name):
                blocks.append(ToolUse(call, name, ""))
            case ToolUseDelta(index, arguments):
                calls = [block for block in blocks if isinstance(block, ToolUse)]
                calls[index].arguments += arguments
    return joined(blocks)


def joined(blocks: list[Any]) -> list[Any]:
    merged: list[Any] = []
    for each in blocks:
        before = merged[-1] if merged else None
        if isinstance(each, Text) and isinstance(before, Text):
            merged[-1] = Text(before.text + each.text)
        elif isinstance(each, Thinking) and isinstance(before, Thinking) and not before.signature:
            merged[-1] = Thinking(before.text + each.text, each.signature, "up")
        else:
            merged.append(each)
    return merged


# ---------------------------------------------------------------- what is none


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[1]",
        b"{}",
        b'{"type":7}',
        b'{"type":"message_start"}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_delta","delta":"x"}',
        b'{"type":"message_delta"}',
        b'{"type":"message_start","message":{},"x":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
    ids=lambda payload: repr(payload[:40]),
)
def test_an_event_that_is_none_is_a_bad_response(payload: bytes) -> None:
    with pytest.raises(ProviderTransient) as caught:
        read([payload], "anthropic")
    assert caught.value.code == "bad_response"


def test_an_error_in_a_stream_is_what_it_says() -> None:
    def of(kind: str, said: str = "m") -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": said}, "request_id": "req_1"}

    with pytest.raises(ProviderRateLimited):
        read([of("rate_limit_error")])
    with pytest.raises(ContextOverflow):
        read([of("invalid_request_error", "prompt is too long: 2 tokens > 1 maximum")])
    with pytest.raises(ProviderTransient) as caught:
        read([of("overloaded_error", "Overloaded")])
    assert caught.value.status == 529
    with pytest.raises(ProviderTransient):
        read([{"error": {"message": "no type"}}])
    with pytest.raises(ProviderTransient):
        read([{"type": "error"}])
