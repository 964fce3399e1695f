"""OpenAI's messages become ordered blocks, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.chat.openai_messages import load_messages
from tokenhub.domain.chat import Block, Image, Media, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import InvalidRequest


def test_messages_become_ordered_blocks() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    system, user, assistant, tool = load_messages(messages)
    assert system.role == "system" and system.blocks == [Text("be brief")]
    assert user.blocks[:2] == [Text("look"), Image("data:image/png;base64,AAAA", "low")]
    assert isinstance(user.blocks[2], Media) and user.blocks[2].kind == "input_audio"
    assert assistant.blocks == [Thinking("hm"), ToolUse("c1", "f", '{"a":1}')]
    assert tool.role == "tool" and tool.blocks == [ToolResult("c1", [Text("42")])]


def reasoned(**fields: Any) -> list[Block]:
    return load_messages([{"role": "assistant", "content": None, **fields}])[0].blocks


SIGNED = {"index": 0, "type": "thinking", "thinking": "hm", "signature": "sig", "issuer": "p"}
SEALED = {"index": 1, "type": "redacted_thinking", "thinking": "", "signature": "sealed", "issuer": "p"}


def test_signed_reasoning_comes_back_with_its_issuer() -> None:
    blocks = reasoned(reasoning_content="hm", thinking_blocks=[SIGNED, SEALED])
    assert blocks == [Thinking("hm", "sig", "p"), Thinking("", "sealed", "p", redacted=True)]


def test_others_call_the_sealed_text_data() -> None:
    assert reasoned(thinking_blocks=[{"type": "redacted_thinking", "data": "x"}]) == [Thinking("", "x", redacted=True)]


@pytest.mark.parametrize("blocks", [None, [], "x", [1], {}])
def test_reasoning_without_signatures_is_its_text(blocks: Any) -> None:
    assert reasoned(reasoning_content="hm", thinking_blocks=blocks) == [Thinking("hm")]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hi", "messages"),
        ([1], "messages[0]"),
        ([{"role": "robot", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": [7]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        ([{"role": "assistant", "tool_calls": {}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0]"),
    ],
)
def test_a_wrong_message_is_refused_by_name(messages: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_messages(messages)
    assert caught.value.param == param
