from __future__ import annotations

import pytest

from tokenhub.domain.chat import Image, Media, Message, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import ProviderFatal
from tokenhub.providers.openai.messages import openai_messages


def test_a_single_text_is_a_string_and_several_blocks_are_parts_in_order() -> None:
    picture = Image("data:image/png;base64,AA==", "low")
    written = openai_messages(
        [
            Message("system", [Text("be brief")]),
            Message("user", [Text("look:"), picture, Text("what is it?")], name="ann"),
            Message("user", []),
        ]
    )
    assert written == [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
                {"type": "text", "text": "what is it?"},
            ],
            "name": "ann",
        },
        {"role": "user", "content": ""},
    ]


def test_an_assistants_tool_calls_keep_null_content_and_their_exact_arguments() -> None:
    calls = [ToolUse("c1", "add", '{"a": 1}'), ToolUse("c2", "add", "{broken")]
    silent, spoken = openai_messages(
        [Message("assistant", [Thinking("hm", "sig", "p"), *calls]), Message("assistant", [Text("wait"), calls[0]])]
    )
    assert silent["content"] is None
    assert [call["function"]["arguments"] for call in silent["tool_calls"]] == ['{"a": 1}', "{broken"]
    assert silent["tool_calls"][0] == {
        "id": "c1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    assert spoken["content"] == "wait"


def test_tool_results_come_first_each_as_its_own_message_and_their_pictures_after() -> None:
    turn = Message(
        "user",
        [
            ToolResult("c1", [Text("one"), Text("two")]),
            ToolResult("c2", [Text("no disk"), Image("https://example.test/a.png")], is_error=True),
            Text("go on"),
        ],
    )
    assert openai_messages([turn]) == [
        {"role": "tool", "tool_call_id": "c1", "content": "one\ntwo"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no disk"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
    assert openai_messages([Message("tool", [ToolResult("c1", [Text("4")])])]) == [
        {"role": "tool", "tool_call_id": "c1", "content": "4"}
    ]


def test_reasoning_is_left_out_but_for_servers_that_take_it_back() -> None:
    turn = Message("assistant", [Thinking("a", "sig", "p"), Thinking("", "s", "p", True), Thinking("b"), Text("c")])
    assert openai_messages([turn]) == [{"role": "assistant", "content": "c"}]
    assert openai_messages([turn], with_reasoning=True) == [
        {"role": "assistant", "content": "c", "reasoning_content": "ab"}
    ]
    assert openai_messages([Message("assistant", [Text("c")])], with_reasoning=True) == [
        {"role": "assistant", "content": "c"}
    ]


def test_a_picture_of_a_tool_is_the_users_whatever_the_role_of_its_turn() -> None:
    turn = Message("tool", [ToolResult("c1", [Image("https://example.test/a.png")])])
    assert [(m["role"], m["content"]) for m in openai_messages([turn])] == [
        ("tool", ""),
        ("user", [{"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}]),
    ]


def test_content_that_this_protocol_cannot_carry_sends_the_request_elsewhere() -> None:
    with pytest.raises(ProviderFatal) as caught:
        openai_messages([Message("user", [Media("document", {})])])
    with pytest.raises(ProviderFatal):
        openai_messages([Message("user", [ToolResult("c1", [Text("x"), Media("document", {})])])])
    assert (caught.value.blame, caught.value.code) == ("target", "unsupported_content")
