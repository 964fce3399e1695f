"""Answers in OpenAI's shape: forwarded, or written so that OpenAI's own SDK reads the same answer back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from blueprints.chat import openai_out
from blueprints.chat.answers import EventStream
from tests import deltas
from tests.fakes.answers import DECISION_HEX, FakeLine, FakeStream, receipt
from tests.grammar import Event, check_openai_completion, check_openai_stream, parse_events
from tokenhub.domain.chat import (
    Block,
    ChatCommand,
    Chunk,
    FinishReason,
    Media,
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
from tokenhub.errors import ProviderTransient
from tokenhub.services.chat import ChatResult


def events(stream: FakeStream, include_usage: bool = False) -> list[Event]:
    command = ChatCommand("openai", {}, 0, [], stream=True, include_usage=include_usage)
    writer = openai_out.writer(stream, command)  # type: ignore[arg-type]
    return parse_events(b"".join(EventStream(stream, writer, FakeLine())))  # type: ignore[arg-type]


# ---------------------------------------------------------------- forwarded


def chunk(content: str, **fields: Any) -> Chunk:
    delta = {"role": "assistant", "content": content} if fields.pop("first", False) else {"content": content}
    body: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": fields.get("finish_reason")}],
    }
    usage = fields.pop("usage_json", "absent")
    if usage != "absent":
        body["usage"] = usage
    return Chunk(orjson.dumps(body), len(content), True, **fields)


USAGE_ONLY = Chunk(b'{"id":"c","choices":[],"usage":{"prompt_tokens":3}}', choice_count=0, usage=Usage(3, 4))


def test_without_being_asked_no_usage_is_sent() -> None:
    chunks = [chunk("a", usage_json=None, first=True), chunk("b", usage_json=None, finish_reason="stop"), USAGE_ONLY]
    sent = events(FakeStream(chunks))
    check_openai_stream(sent)
    assert [e.data["choices"][0]["delta"]["content"] for e in sent[:-1]] == ["a", "b"]
    assert all("usage" not in e.data for e in sent[:-1])


def test_usage_is_one_last_event_and_null_before() -> None:
    growing = [
        chunk("a", usage_json={"prompt_tokens": 3}, usage=Usage(3, 4), first=True),
        chunk("b", finish_reason="stop"),
    ]
    sent = events(FakeStream([*growing, USAGE_ONLY]), include_usage=True)
    check_openai_stream(sent)
    assert [e.data["usage"] for e in sent[:-2]] == [None, None]
    assert sent[-2].data["choices"] == [] and sent[-2].data["usage"]["total_tokens"] == 7
    assert {name: sent[-2].data[name] for name in ("id", "created", "model")} == {"id": "c", "created": 1, "model": "m"}


def test_text_that_looks_like_a_usage_field_is_left_alone() -> None:
    text = ',"usage":null} "usage": {'
    for include_usage in (False, True):
        sent = events(FakeStream([chunk(text)]), include_usage)
        assert sent[0].data["choices"][0]["delta"]["content"] == text


def test_a_break_is_an_error_event_and_no_end_mark() -> None:
    broken = FakeStream([chunk("a", first=True)], ProviderTransient("cut", code="connection_lost"))
    sent = events(broken)
    check_openai_stream(sent)
    error = sent[-1].data["error"]
    assert (error["code"], error["type"], error["status"]) == ("connection_lost", "server_error", 502)


def test_a_provider_s_own_answer_is_passed_on_unless_its_usage_is_missing() -> None:
    raw = {"id": "x", "choices": [], "brand_new": 1}
    counted = ChatResult(Reply(raw, "openai", Usage(1, 2), 3), receipt())
    assert openai_out.completion(counted) is raw
    guessed = ChatResult(Reply(raw, "openai", Usage(1, 2, estimated=True), 3), receipt())
    assert openai_out.completion(guessed) == {**raw, "usage": openai_out.usage_object(Usage(1, 2))}


def test_the_usage_object_has_every_bucket() -> None:
    assert openai_out.usage_object(Usage(10, 5, cache_read=3, cache_write=2, reasoning=4)) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }


# ---------------------------------------------------------------- written anew


def written(blocks: list[Block], reason: FinishReason = "stop") -> dict[str, Any]:
    reply = Reply({}, "anthropic", Usage(10, 5, cache_read=3, cache_write=2), 3, blocks, reason)
    body = openai_out.completion(ChatResult(reply, receipt()))
    check_openai_completion(body)
    assert ChatCompletion.model_validate(body).model == "m"
    return body


def test_a_whole_answer_of_another_dialect_is_written_anew() -> None:
    body = written([Text("a"), Media("server_tool_use", {}), Text("b")])
    assert body == {
        "id": f"chatcmpl-{DECISION_HEX}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "ab", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": openai_out.usage_object(Usage(10, 5, cache_read=3, cache_write=2)),
    }


def test_a_pure_tool_call_has_no_content() -> None:
    choice = written([ToolUse("c1", "f", '{"a":1}'), ToolUse("c2", "g", "")], "tool_use")["choices"][0]
    assert choice["message"]["content"] is None and choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]


def test_reasoning_is_text_and_where_it_is_signed_also_blocks_of_its_issuer() -> None:
    thoughts = [Thinking("a", "s"), Thinking("b"), Thinking("", "sealed", redacted=True)]
    message = written([*thoughts, Text("x")])["choices"][0]["message"]
    assert message["reasoning_content"] == "ab"
    assert message["thinking_blocks"] == [
        {"index": 0, "type": "thinking", "thinking": "a", "signature": "s", "issuer": "p"},
        {"index": 1, "type": "redacted_thinking", "thinking": "", "signature": "sealed", "issuer": "p"},
    ]
    assert "thinking_blocks" not in written([Thinking("b"), Text("x")])["choices"][0]["message"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("stop", "stop"),
        ("stop_sequence", "stop"),
        ("pause", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_why_it_ended_is_told_in_openai_s_words(reason: FinishReason, told: str) -> None:
    assert written([Text("x")], reason)["choices"][0]["finish_reason"] == told
    sent = events(FakeStream([Chunk(b"", finish_reason=reason)], dialect="anthropic"))
    check_openai_stream(sent)
    assert sent[0].data["choices"][0]["finish_reason"] == told
    assert sent[0].data["choices"][0]["delta"] == {"role": "assistant", "content": None, "refusal": None}


def test_a_stream_of_another_dialect_is_written_anew() -> None:
    said = [
        Chunk(b"", deltas=(ThinkingDelta("h"), ThinkingDelta("m", "sig"))),
        Chunk(b"", deltas=(TextDelta("a"), TextDelta(""), ToolUseStart(0, "c1", "f"))),
        Chunk(b"", usage=Usage(1, 1)),
        Chunk(b"", deltas=(ToolUseDelta(0, '{"a"'), ToolUseStart(1, "c2", "g"), ToolUseDelta(0, ":1}"))),
        Chunk(b"", finish_reason="tool_use"),
    ]
    sent = events(FakeStream(said, dialect="anthropic"), include_usage=True)
    check_openai_stream(sent)
    block = {"index": 0, "type": "thinking", "thinking": "hm", "signature": "sig", "issuer": "p"}
    head = {"type": "function"}
    assert [e.data["choices"][0]["delta"] for e in sent[:-2]] == [
        {"role": "assistant", "content": None, "refusal": None, "reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [block]},
        {"content": "a"},
        {"tool_calls": [{"index": 0, "id": "c1", **head, "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", **head, "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {},
    ]
    first = sent[0].data
    assert first["id"] == f"chatcmpl-{DECISION_HEX}" and first["created"] == 1_700_000_000 and first["model"] == "m"
    assert sent[-2].data["usage"]["total_tokens"] == 7


def test_a_break_of_a_written_stream_is_an_error_too() -> None:
    broken = FakeStream([Chunk(b"", deltas=(TextDelta("a"),))], ProviderTransient("cut"), dialect="anthropic")
    sent = events(broken)
    check_openai_stream(sent)
    assert len(sent) == 2 and "error" in sent[-1].data


@settings(deadline=None)
@given(deltas.answers(), st.booleans())
def test_every_answer_is_read_back_as_it_was_by_the_sdk(answer: deltas.Answer, include_usage: bool) -> None:
    reason = "tool_use" if answer.calls else "stop"
    sent = events(FakeStream(answer.chunks(reason), dialect="anthropic"), include_usage)
    check_openai_stream(sent)
    state: Any = ChatCompletionStreamState()
    for event in sent[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate(event.data))
    message = state.current_completion_snapshot.choices[0].message.model_dump()
    assert (message["content"] or "") == answer.text and (message.get("reasoning_content") or "") == answer.reasoning
    calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"] or []]
    assert calls == answer.calls
    signed = message.get("thinking_blocks") or []
    assert [(block["thinking"], block["signature"]) for block in signed] == answer.signed
    assert message["role"] == "assistant"
