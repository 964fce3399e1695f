"""Estimates are sane per script; bounds are never below what a tokenizer can give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.chat import ChatCommand, Image, Media, Message, Text, Thinking, ToolResult, ToolUse
from tokenhub.domain.tokens import (
    IMAGE_BOUND_TOKENS,
    bound_input,
    estimate_bytes,
    estimate_messages,
    estimate_text,
)


def command(*blocks: object) -> ChatCommand:
    return ChatCommand("openai", {}, 500, [Message("user", list(blocks))])  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "low", "high"), [("", 0, 0), ("word " * 100, 100, 130), ("汉字" * 50, 90, 130)])
def test_an_estimate_follows_the_script(text: str, low: int, high: int) -> None:
    assert low <= estimate_text(text) <= high


@given(st.text())
def test_an_estimate_is_never_negative_nor_above_one_token_a_byte(text: str) -> None:
    assert 0 <= estimate_text(text) <= max(1, len(text.encode("utf-8", "surrogatepass")))


def test_all_kinds_of_blocks_count() -> None:
    blocks = [
        Text("abcd"),
        ToolUse("1", "name", "{}"),
        ToolResult("1", [Text("abcd")]),
        Thinking("abcd"),
        Image("https://x"),
    ]
    for block in blocks:
        assert estimate_messages([Message("user", [block])]) > estimate_messages([Message("user", [])])


def test_the_bound_is_the_body_and_a_fixed_amount_for_each_image() -> None:
    assert bound_input(command(Text("x"))) == 500
    nested = ToolResult("1", [Image("https://y")])
    assert bound_input(command(Image("https://x"), nested)) == 500 + 2 * IMAGE_BOUND_TOKENS


def test_what_is_only_referred_to_has_no_bound() -> None:
    assert bound_input(command(Media("file", {"file": {"file_id": "f"}}))) is None
    assert bound_input(command(Media("input_audio", {}))) == 500


def test_bytes_round_up() -> None:
    assert [estimate_bytes(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
