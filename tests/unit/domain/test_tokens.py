"""Estimates are sane per script; bounds are never below what a tokenizer can give."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.chat import ChatCommand, Image, Media, Message, Text, Thinking, Tool, ToolResult, ToolUse
from tokenhub.domain.tokens import (
    IMAGE_BOUND_TOKENS,
    bound_input,
    estimate_bytes,
    estimate_command,
    estimate_messages,
    estimate_text,
    has_images,
)


def command(*blocks: object) -> ChatCommand:
    return ChatCommand("openai", {}, 500, [Message("user", list(blocks))])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("word " * 100, 100, 130),
        ("汉字" * 50, 90, 130),
        ("Привет, мир. " * 10, 45, 65),
        ("مرحبا بالعالم " * 10, 50, 75),
        ("नमस्ते दुनिया " * 10, 70, 110),
        ("안녕하세요 세계 " * 10, 45, 80),
        ("こんにちは世界" * 10, 60, 80),
        ("😀" * 20, 30, 50),
        ("café, naïve — résumé “x”", 6, 12),
    ],
)
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


def test_an_image_that_may_be_small_counts_less() -> None:
    small, large = (estimate_messages([Message("user", [Image("https://x", d)])]) for d in ("low", "auto"))
    assert small < large / 5


def test_tools_and_the_schema_of_the_answer_count_in_full() -> None:
    schema = {"type": "object", "properties": {f"field_{i}": {"type": "string"} for i in range(20)}}
    plain, described = command(Text("hi")), command(Text("hi"))
    described.tools = [Tool("look_up", "Looks something up. " * 20, schema)]
    shaped = command(Text("hi"))
    shaped.parameters.output_schema = schema
    tokens = len(json.dumps(schema, separators=(",", ":"))) // 4
    assert estimate_command(plain) == estimate_messages(plain.messages)
    assert tokens <= estimate_command(shaped) - estimate_command(plain) <= tokens + 1
    assert estimate_command(described) - estimate_command(plain) >= tokens + 100


def test_a_schema_that_is_no_json_has_some_size() -> None:
    odd = command(Text("hi"))
    odd.tools = [Tool("t", "", {"x": "\ud800" * 40})]
    assert estimate_command(odd) > 10


def test_images_are_seen_wherever_they_are() -> None:
    assert has_images(command(Image("https://x"))) and has_images(command(ToolResult("1", [Image("https://x")])))
    assert not has_images(command(Text("x"), ToolResult("1", [Text("y")])))


def test_the_bound_is_the_body_and_a_fixed_amount_for_each_image() -> None:
    assert bound_input(command(Text("x"))) == 500
    nested = ToolResult("1", [Image("https://y")])
    assert bound_input(command(Image("https://x"), nested)) == 500 + 2 * IMAGE_BOUND_TOKENS


def test_what_is_only_referred_to_has_no_bound() -> None:
    assert bound_input(command(Media("file", {"file": {"file_id": "f"}}))) is None
    assert bound_input(command(Media("input_audio", {}))) == 500


def test_bytes_round_up() -> None:
    assert [estimate_bytes(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
