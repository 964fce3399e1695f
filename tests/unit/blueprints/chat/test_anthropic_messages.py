"""Anthropic's messages become ordered blocks, or are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.chat.anthropic_messages import load_messages
from tokenhub.domain.chat import Block, Image, Media, Message, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import InvalidRequest


def said(*blocks: Any) -> list[Block]:
    return load_messages(None, [{"role": "user", "content": list(blocks)}])[0].blocks


def test_the_system_text_comes_first() -> None:
    turns = [{"role": "user", "content": "hi"}]
    system = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    assert load_messages(system, turns) == [
        Message("system", [Text("a"), Text("b")]),
        Message("user", [Text("hi")]),
    ]
    assert [message.role for message in load_messages([], turns)] == ["user"]


def test_an_assistant_s_blocks_keep_their_order() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "sealed"},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, "ü"]}},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
    ]
    assert load_messages(None, [{"role": "assistant", "content": blocks}])[0] == Message(
        "assistant",
        [
            Thinking("hm", "sig"),
            Thinking("", "sealed", redacted=True),
            Text("a"),
            ToolUse("t1", "f", '{"a":[1,"ü"]}'),
            Media("server_tool_use", blocks[-1]),
        ],
    )


def test_tool_results_have_text_or_blocks_or_nothing() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    blocks = said(
        {"type": "tool_result", "tool_use_id": "a", "content": "42"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "x"}, picture]},
        {"type": "tool_result", "tool_use_id": "c", "is_error": True},
    )
    assert blocks == [
        ToolResult("a", [Text("42")]),
        ToolResult("b", [Text("x"), Image("data:image/png;base64,AAAA")]),
        ToolResult("c", [], is_error=True),
    ]


def test_pictures_and_documents() -> None:
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}
    by_id = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
    assert said(by_url, by_id, plain, pdf) == [
        Image("https://x.example/a.png"),
        Media("image", by_id),
        Text("words"),
        Media("document", pdf),
    ]


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (None, "messages[0].content"),
        (5, "messages[0].content"),
        ([5], "messages[0].content[0]"),
        ([{"text": "x"}], "messages[0].content[0]"),
        ([{"type": "text"}], "messages[0].content[0].text"),
        ([{"type": "image"}], "messages[0].content[0].source"),
        ([{"type": "image", "source": {"type": "base64", "data": "A"}}], "messages[0].content[0].source.media_type"),
        ([{"type": "image", "source": {"type": "url"}}], "messages[0].content[0].source.url"),
        ([{"type": "document", "source": {"type": "text"}}], "messages[0].content[0].source.data"),
        ([{"type": "tool_use", "id": "x", "name": "f", "input": "{}"}], "messages[0].content[0].input"),
        ([{"type": "tool_use", "id": "x", "input": {}}], "messages[0].content[0].name"),
        ([{"type": "tool_result"}], "messages[0].content[0].tool_use_id"),
        (
            [{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "text"}]}],
            "messages[0].content[0].content[0].text",
        ),
        ([{"type": "thinking"}], "messages[0].content[0].thinking"),
        ([{"type": "redacted_thinking"}], "messages[0].content[0].data"),
    ],
)
def test_a_wrong_block_is_refused_by_name(content: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_messages(None, [{"role": "user", "content": content}])
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        ("hi", "messages"),
        ([1], "messages[0]"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": ["user"], "content": "x"}], "messages[0].role"),
    ],
)
def test_a_wrong_conversation_is_refused_by_name(messages: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_messages(None, messages)
    assert caught.value.param == param


def test_a_tool_input_too_deep_to_be_written_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest, match="deep"):
        said({"type": "tool_use", "id": "x", "name": "f", "input": deep})
