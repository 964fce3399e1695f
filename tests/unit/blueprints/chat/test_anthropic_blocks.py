"""Deltas are laid out as blocks that follow one another."""

from __future__ import annotations

from blueprints.chat.anthropic_blocks import BlockSequence
from tokenhub.domain.chat import Delta, TextDelta, ThinkingDelta, ToolUseDelta, ToolUseStart


def told(*deltas: Delta) -> list[list[str]]:
    """What each delta, and the end, lets out, in short."""
    blocks = BlockSequence()
    return [[short(event) for event in blocks.add(delta)] for delta in deltas] + [
        [short(event) for event in blocks.finish()]
    ]


def short(event: dict) -> str:
    kind = event["type"].removeprefix("content_block_")
    if kind == "start":
        return f"{event['index']} {event['content_block']['type']}"
    if kind == "stop":
        return f"{event['index']} stop"
    return f"{event['index']} +{next(text for name, text in event['delta'].items() if name != 'type')}"


def test_text_goes_out_as_it_comes() -> None:
    assert told(TextDelta("a"), TextDelta(""), TextDelta("b")) == [["0 text", "0 +a"], [], ["0 +b"], ["0 stop"]]


def test_a_signature_ends_a_stretch_of_thinking() -> None:
    assert told(ThinkingDelta("a"), ThinkingDelta("b", "s"), ThinkingDelta("c"), TextDelta("x")) == [
        ["0 thinking", "0 +a"],
        ["0 +b", "0 +s"],
        ["0 stop", "1 thinking", "1 +c"],
        ["1 stop", "2 text", "2 +x"],
        ["2 stop"],
    ]


def test_sealed_thinking_is_a_block_without_deltas() -> None:
    assert told(ThinkingDelta(signature="s", redacted=True), ThinkingDelta("a")) == [
        ["0 redacted_thinking"],
        ["0 stop", "1 thinking", "1 +a"],
        ["1 stop"],
    ]


def test_calls_one_after_the_other_wait_for_nothing() -> None:
    assert told(
        ToolUseStart(0, "a", "f"),
        ToolUseDelta(0, "{}"),
        ToolUseStart(1, "b", "g"),
        ToolUseDelta(1, '{"x":'),
        TextDelta("t"),
    ) == [
        ["0 tool_use"],
        ["0 +{}"],
        ["0 stop", "1 tool_use"],
        ['1 +{"x":'],
        [],
        ["1 stop", "2 text", "2 +t", "2 stop"],
    ]


def test_a_call_that_is_written_at_the_same_time_waits_until_the_first_is_complete() -> None:
    assert told(
        ToolUseStart(0, "a", "f"),
        ToolUseStart(1, "b", "g"),
        ToolUseDelta(1, '{"y":'),
        ToolUseDelta(0, '{"x":{}'),
        ToolUseDelta(1, "2}"),
        ToolUseStart(2, "c", "h"),
        ToolUseDelta(0, "}"),
        ToolUseDelta(0, "\n"),
    ) == [
        ["0 tool_use"],
        [],
        [],
        ['0 +{"x":{}'],
        [],
        [],
        ["0 +}", "0 stop", "1 tool_use", '1 +{"y":', "1 +2}", "1 stop", "2 tool_use"],
        [],
        ["2 stop"],
    ]


def test_a_call_without_arguments_holds_back_what_follows_until_the_end() -> None:
    assert told(ToolUseStart(0, "a", "f"), TextDelta("x"), ToolUseDelta(7, "lost")) == [
        ["0 tool_use"],
        [],
        [],
        ["0 stop", "1 text", "1 +x", "1 stop"],
    ]


def test_it_knows_whether_a_tool_was_called() -> None:
    blocks = BlockSequence()
    assert not blocks.has_calls
    blocks.add(ToolUseStart(0, "a", "f"))
    assert blocks.has_calls
