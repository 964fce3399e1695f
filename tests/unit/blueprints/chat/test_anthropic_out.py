"""Answers in Anthropic's shape: forwarded, or written so that Anthropic's own SDK reads the same answer back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message
from hypothesis import given, settings

from blueprints.chat import anthropic_out
from blueprints.chat.answers import EventStream
from tests import deltas
from tests.fakes.answers import DECISION_HEX, FakeLine, FakeStream, receipt
from tests.grammar import Event, check_anthropic_message, check_anthropic_stream, parse_events
from tokenhub.domain.chat import (
    UNPARSED,
    Block,
    ChatCommand,
    Chunk,
    FinishReason,
    Media,
    Reply,
    Text,
    TextDelta,
    Thinking,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
    Usage,
)
from tokenhub.errors import ProviderTransient, SpendLimitReached, Stopping, TokenHubError
from tokenhub.services.chat import ChatResult


def events(stream: FakeStream) -> list[Event]:
    writer = anthropic_out.writer(stream, ChatCommand("anthropic", {}, 0, [], stream=True))  # type: ignore[arg-type]
    return parse_events(b"".join(EventStream(stream, writer, FakeLine())))  # type: ignore[arg-type]


def checked(stream: FakeStream) -> list[Event]:
    sent = events(stream)
    check_anthropic_stream(sent)
    return sent


# ---------------------------------------------------------------- forwarded

START = {
    "type": "message_start",
    "message": {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
}
BODY = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"index": 0, "delta": {"type": "text_delta", "text": '{"type":"x"}'}, "type": "content_block_delta", "new": 1},
    {"type": "content_block_stop", "index": 0},
]
END = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4, "new": 1}},
    {"type": "message_stop", "new": 2},
]


def forwarded(*payloads: dict[str, Any], **fields: Any) -> FakeStream:
    return FakeStream(
        [Chunk(orjson.dumps(p)) for p in payloads], fields.pop("error", None), dialect="anthropic", **fields
    )


def test_the_provider_s_events_are_passed_on_with_their_names() -> None:
    sent = checked(forwarded(START, *BODY, *END))
    assert [event.data for event in sent] == [START, *BODY, *END]


def test_a_missing_end_mark_is_added() -> None:
    assert checked(forwarded(START, *BODY, END[0]))[-1].name == "message_stop"


def test_what_ends_the_message_waits_for_the_bill() -> None:
    stream = forwarded(START, *END)
    lines = iter(EventStream(stream, anthropic_out.Forwarder(receipt()), FakeLine()))  # type: ignore[arg-type]
    next(lines)
    assert stream.usage is None
    assert b"message_delta" in next(lines) and stream.usage is not None


def test_several_endings_keep_their_order_with_what_is_between() -> None:
    payloads = [START, END[0], {"type": "later"}, *END]
    assert [event.data for event in events(forwarded(*payloads))] == payloads


def test_usage_that_cannot_be_believed_is_replaced_by_ours() -> None:
    usage = Usage(9, 8, estimated=True)
    told = checked(forwarded(START, *BODY, *END, usage=usage))[-2].data["usage"]
    assert told == {**anthropic_out.usage_object(usage), "new": 1}
    raw = {"id": "x", "usage": {"new": 1}}
    guessed = ChatResult(Reply(raw, "anthropic", usage, 3), receipt())
    assert anthropic_out.message(guessed) == {"id": "x", "usage": told}
    counted = ChatResult(Reply(raw, "anthropic", Usage(9, 8), 3), receipt())
    assert anthropic_out.message(counted) is raw


@pytest.mark.parametrize("given", [{}, {"usage": None}])
def test_a_message_that_begins_without_usage_gets_our_estimate(given: dict[str, Any]) -> None:
    message = {name: value for name, value in START["message"].items() if name != "usage"}  # type: ignore[attr-defined]
    sent = checked(forwarded({**START, "message": message | given}, *BODY, *END))
    assert sent[0].data["message"] == message | {"usage": anthropic_out.usage_object(Usage(7))}


def test_thinking_is_a_part_of_what_was_written() -> None:
    assert anthropic_out.usage_object(Usage(1, 5, reasoning=4))["output_tokens_details"] == {"thinking_tokens": 4}


@pytest.mark.parametrize("payload", [b'{"a":1}', b"[1]", b'{"type":"a\\nb"}', b'{"type":5}'])
def test_an_event_without_a_name_is_left_out(payload: bytes) -> None:
    assert anthropic_out.Forwarder(receipt()).write(Chunk(payload)) == b""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ProviderTransient("cut"), "api_error"),
        (Stopping("stop"), "overloaded_error"),
    ],
)
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_break_is_an_error_event_that_names_the_cause(error: TokenHubError, kind: str, dialect: str) -> None:
    stream = forwarded(START, *BODY[:1], error=error)
    if dialect == "openai":
        stream = FakeStream([Chunk(b"", deltas=(TextDelta("a"),))], error)
    sent = checked(stream)
    told = {"type": kind, "message": error.message}
    assert sent[-1] == Event("error", {"type": "error", "error": told, "request_id": "req_1"})


# ---------------------------------------------------------------- written anew


def written(blocks: list[Block], reason: FinishReason = "stop", sequence: str | None = None) -> dict[str, Any]:
    reply = Reply({}, "openai", Usage(10, 5, cache_read=3, cache_write=2), 3, blocks, reason, sequence)
    body = anthropic_out.message(ChatResult(reply, receipt()))
    check_anthropic_message(body)
    assert Message.model_validate(body).model == "m"
    return body


def test_a_whole_answer_of_another_dialect_is_written_anew() -> None:
    assert written([Thinking("hm"), Text("a"), Media("audio", {}), ToolUse("c1", "f", '{"a":1}')], "tool_use") == {
        "id": f"msg_{DECISION_HEX}",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 3,
            "output_tokens": 5,
        },
    }


def test_sealed_thinking_has_its_own_block() -> None:
    assert written([Thinking("", "s", redacted=True)])["content"] == [{"type": "redacted_thinking", "data": "s"}]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [("", {}), (" ", {}), ('{"a":', {UNPARSED: '{"a":'}), ("[1]", {UNPARSED: "[1]"})],
)
def test_arguments_that_are_no_object_are_still_an_object(arguments: str, given: dict[str, Any]) -> None:
    assert written([ToolUse("c", "f", arguments)], "length")["content"][0]["input"] == given


CALL = (ToolUseStart(0, "c", "f"), ToolUseDelta(0, "{}"))


@pytest.mark.parametrize(
    ("reason", "sequence", "has_call", "told"),
    [
        ("stop", None, False, ("end_turn", None)),
        ("stop", None, True, ("tool_use", None)),
        ("tool_use", None, True, ("tool_use", None)),
        ("tool_use", None, False, ("end_turn", None)),
        ("length", None, True, ("max_tokens", None)),
        ("content_filter", "x", False, ("refusal", None)),
        ("pause", None, False, ("pause_turn", None)),
        ("stop_sequence", "END", False, ("stop_sequence", "END")),
    ],
)
def test_why_it_ended_is_told_in_anthropic_s_words(
    reason: FinishReason, sequence: str | None, has_call: bool, told: tuple[str, str | None]
) -> None:
    body = written([ToolUse("c", "f", "{}")] if has_call else [Text("x")], reason, sequence)
    assert (body["stop_reason"], body["stop_sequence"]) == told
    said = CALL if has_call else (TextDelta("x"),)
    sent = checked(FakeStream([Chunk(b"", deltas=said), Chunk(b"", finish_reason=reason, stop_sequence=sequence)]))
    assert sent[-2].data["delta"] == {"stop_reason": told[0], "stop_sequence": told[1]}


def test_a_stream_begins_with_our_estimate_and_ends_with_the_count() -> None:
    usage = Usage(10, 5, cache_read=3)
    sent = checked(FakeStream([Chunk(b"", deltas=(TextDelta("a"),)), Chunk(b"", finish_reason="stop")], usage=usage))
    assert [event.name for event in sent] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert sent[0].data["message"]["usage"]["input_tokens"] == 7
    assert sent[-2].data["usage"] == anthropic_out.usage_object(usage)


def test_an_empty_answer_is_a_message_too() -> None:
    assert [event.name for event in checked(FakeStream([]))] == ["message_start", "message_delta", "message_stop"]


def test_a_spent_budget_is_billing_s_matter() -> None:
    event = parse_events(anthropic_out.EventWriter(receipt()).broken(SpendLimitReached("x")))[0]
    assert event.data["error"]["type"] == "billing_error"


@settings(deadline=None)
@given(deltas.answers())
def test_every_answer_is_read_back_as_it_was_by_the_sdk(answer: deltas.Answer) -> None:
    sent = checked(FakeStream(answer.chunks()))
    message: Any = None
    buffers: dict[int, bytes] = {}
    for event in sent[:-1]:
        message = accumulate_event(event=event.data, current_snapshot=message, json_bufs=buffers)
    content = message.content
    assert "".join(block.text for block in content if block.type == "text") == answer.text
    assert "".join(block.thinking for block in content if block.type == "thinking") == answer.reasoning
    calls = [(block.id, block.name, block.input) for block in content if block.type == "tool_use"]
    assert calls == [(call, name, orjson.loads(text or "{}")) for call, name, text in answer.calls]
    signed = [
        ("", block.data) if block.type == "redacted_thinking" else (block.thinking, block.signature)
        for block in content
        if block.type == "redacted_thinking" or (block.type == "thinking" and block.signature)
    ]
    assert signed == answer.signed
    assert message.stop_reason == ("tool_use" if answer.calls else "end_turn")
