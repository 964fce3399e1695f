from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.chat import UNPARSED, Image, Media, Message, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import ProviderFatal
from tokenhub.providers.anthropic.messages import (
    BEFORE,
    NO_RESULT,
    ORPHAN,
    may_think,
    tools_named,
    without_unsigned_thinking,
    write_conversation,
)


def turns(*messages: Message) -> list[dict[str, Any]]:
    return write_conversation(messages, "up")[1]


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def user(*blocks: Any) -> Message:
    return Message("user", list(blocks))


def said(*blocks: Any) -> Message:
    return Message("assistant", list(blocks))


def answer(call: str, *content: Any, error: bool = False) -> Message:
    return Message("tool", [ToolResult(call, list(content), error)])


def result(call: str, value: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": [text(value)]}


def unanswered(call: str) -> dict[str, Any]:
    return {**result(call, NO_RESULT), "is_error": True}


def use(call: str, name: str = "add", value: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": name, "input": value or {}}


# ---------------------------------------------------------------- form


def test_system_messages_are_joined_and_stand_apart() -> None:
    messages = [
        Message("system", [Text("be brief")]),
        user(Text("hi")),
        Message("system", [Text("in verse"), Text("!")]),
    ]
    assert write_conversation(messages, "up") == (
        "be brief\n\nin verse\n!",
        [{"role": "user", "content": [text("hi")]}],
    )


def test_a_system_text_alone_is_asked_as_the_user() -> None:
    assert write_conversation([Message("system", [Text("sing")])], "up") == (
        "",
        [{"role": "user", "content": [text("sing")]}],
    )


def test_consecutive_turns_of_one_role_are_one_and_blank_text_is_none() -> None:
    written = turns(
        user(Text("a")), user(Text(" \n")), user(Text("b")), said(Text("")), said(Text("c")), user(Text("d"))
    )
    assert [(turn["role"], turn["content"]) for turn in written] == [
        ("user", [text("a"), text("b")]),
        ("assistant", [text("c")]),
        ("user", [text("d")]),
    ]


def test_a_conversation_begins_with_the_user_and_a_begun_answer_ends_without_blanks() -> None:
    assert turns(said(Text("so: ")), user(Text("go"))) == [
        {"role": "user", "content": [text(BEFORE)]},
        {"role": "assistant", "content": [text("so: ")]},
        {"role": "user", "content": [text("go")]},
    ]
    assert turns(user(Text("go")), said(Text("{ \n")))[-1] == {"role": "assistant", "content": [text("{")]}


def test_pictures_are_data_or_an_address() -> None:
    (turn,) = turns(user(Image("data:image/jpg;base64,AA==", "high"), Image("https://example.test/a.png")))
    assert turn["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}},
    ]


@pytest.mark.parametrize(
    "message",
    [
        user(Media("input_audio", {})),
        user(Image("data:image/tiff;base64,AA==")),
        user(Image("data:image/png,raw")),
        user(Image("file-123")),
        answer("c", Media("file", {})),
        Message("system", [Image("https://example.test/a.png")]),
    ],
)
def test_content_that_this_protocol_cannot_carry_sends_the_request_elsewhere(message: Message) -> None:
    with pytest.raises(ProviderFatal) as caught:
        turns(message)
    assert (caught.value.blame, caught.value.code) == ("target", "unsupported_content")


# ---------------------------------------------------------------- tools


def test_results_of_parallel_calls_stand_together_first_in_the_next_turn() -> None:
    written = turns(
        user(Text("sum up")),
        said(Text("well"), ToolUse("c1", "add", '{"a": 1}'), ToolUse("c2", "add", "")),
        answer("c1", Text("1")),
        answer("c2", Text("no"), Image("https://example.test/a.png"), error=True),
        user(Text("go on")),
    )
    assert written[1]["content"] == [text("well"), use("c1", value={"a": 1}), use("c2")]
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}}
    failed = {"type": "tool_result", "tool_use_id": "c2", "content": [text("no"), picture], "is_error": True}
    assert written[2]["content"] == [result("c1", "1"), failed, text("go on")]


def test_results_stand_first_also_where_the_user_spoke_before_them() -> None:
    written = turns(user(Text("x")), said(ToolUse("c", "add", "{}")), user(Text("wait")), answer("c", Text("1")))
    assert written[2]["content"] == [result("c", "1"), text("wait")]


def test_an_empty_result_is_a_result_all_the_same() -> None:
    written = turns(user(Text("x")), said(ToolUse("c", "add", "{}")), answer("c", Text("")))
    assert written[2]["content"] == [{"type": "tool_result", "tool_use_id": "c"}]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ('{"a": [1, "é"]}', {"a": [1, "é"]}),
        ("", {}),
        (" ", {}),
        ("{}", {}),
        ('{"a": 1', {UNPARSED: '{"a": 1'}),
        ("[1]", {UNPARSED: "[1]"}),
        ("null", {UNPARSED: "null"}),
        ('{"a": NaN}', {UNPARSED: '{"a": NaN}'}),
    ],
)
def test_arguments_become_an_object_whatever_the_model_wrote(arguments: str, value: dict[str, Any]) -> None:
    written = turns(user(Text("x")), said(ToolUse("c", "add", arguments)))
    assert written[1]["content"] == [{"type": "tool_use", "id": "c", "name": "add", "input": value}]


def test_calls_without_a_result_get_one_and_results_without_a_call_become_text() -> None:
    written = turns(
        user(Text("x")),
        answer("lost", Text("7")),
        said(ToolUse("c1", "add", "{}"), ToolUse("c2", "add", "{}")),
        answer("c1", Text("1")),
        answer("c1", Text("again")),
        said(Text("hm"), ToolUse("c3", "add", "{}")),
    )
    assert written[0]["content"] == [text("x"), text(ORPHAN), text("7")]
    assert written[2]["content"] == [result("c1", "1"), unanswered("c2"), text(ORPHAN), text("again")]
    assert written[4] == {"role": "user", "content": [unanswered("c3")]}


def test_a_call_is_answered_by_the_next_turn_only() -> None:
    written = turns(
        user(Text("x")),
        said(ToolUse("c", "add", "{}")),
        user(Text("never mind")),
        said(Text("ok")),
        answer("c", Text("1")),
    )
    assert written[2]["content"] == [unanswered("c"), text("never mind")]
    assert written[4]["content"] == [text(ORPHAN), text("1")]


def test_ids_of_other_makers_are_made_valid_and_unique_in_calls_and_results_alike() -> None:
    written = turns(
        user(Text("x")),
        said(ToolUse("functions.Bash:0", "bash", "{}")),
        answer("functions.Bash:0", Text("1")),
        said(ToolUse("functions.Bash:0", "bash", "{}"), ToolUse("", "bash", "{}")),
        answer("functions.Bash:0", Text("2")),
        answer("", Text("3")),
    )
    calls = [block["id"] for turn in written for block in turn["content"] if block["type"] == "tool_use"]
    answers = [block["tool_use_id"] for turn in written for block in turn["content"] if block["type"] == "tool_result"]
    assert calls == answers and len(set(calls)) == 3 and calls[0] == "functions_Bash_0"


def test_calls_of_split_assistant_turns_come_last_together() -> None:
    written = turns(
        user(Text("x")),
        said(ToolUse("c1", "add", "{}")),
        said(Text("and"), ToolUse("c2", "add", "{}")),
        answer("c1", Text("1")),
        answer("c2", Text("2")),
    )
    assert written[1]["content"] == [text("and"), use("c1"), use("c2")]
    assert written[2]["content"] == [result("c1", "1"), result("c2", "2")]


def test_the_tools_of_a_history_are_named_once() -> None:
    written = turns(user(Text("x")), said(ToolUse("1", "b", ""), ToolUse("2", "a", ""), ToolUse("3", "b", "")))
    assert tools_named(written) == ["b", "a"]


# ---------------------------------------------------------------- thinking


def test_only_thoughts_that_this_provider_signed_are_sent() -> None:
    written = turns(
        user(Text("x")),
        said(
            Thinking("ours", "s1", "up"),
            Thinking("unsigned"),
            Thinking("theirs", "s2", "other"),
            Thinking("", "sealed", "", redacted=True),
            Text("y"),
        ),
        user(Text("z")),
    )
    assert written[1]["content"] == [
        {"type": "thinking", "thinking": "ours", "signature": "s1"},
        {"type": "redacted_thinking", "data": "sealed"},
        text("y"),
    ]


def test_a_turn_of_thoughts_only_is_none_and_no_turn_ends_with_one() -> None:
    written = turns(user(Text("x")), said(Thinking("a", "s")), user(Text("y")), said(Text("b"), Thinking("c", "s")))
    assert written == [
        {"role": "user", "content": [text("x"), text("y")]},
        {"role": "assistant", "content": [text("b")]},
    ]


def test_thinking_with_a_budget_goes_on_only_where_the_open_turn_began_with_a_thought() -> None:
    call, thought = ToolUse("c", "add", "{}"), Thinking("hm", "s")
    assert may_think(turns(user(Text("x"))))
    assert not may_think(turns(user(Text("x")), said(call), answer("c", Text("1"))))
    assert may_think(turns(user(Text("x")), said(thought, call), answer("c", Text("1"))))
    assert may_think([{"role": "user", "content": "x"}]) and may_think([])


def test_a_history_loses_unsigned_thoughts_and_turns_of_nothing_else() -> None:
    signed = {"type": "thinking", "thinking": "a", "signature": "s"}
    unsigned = {"type": "thinking", "thinking": "b", "signature": ""}
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [unsigned, signed, text("y")], "odd": 1},
        {"role": "assistant", "content": [unsigned, {"type": "redacted_thinking"}]},
        {"role": "assistant", "content": []},
        {"role": "user", "content": [unsigned]},
    ]
    before = json.dumps(history)
    assert without_unsigned_thinking(history) == [
        history[0],
        {"role": "assistant", "content": [signed, text("y")], "odd": 1},
        history[3],
        history[4],
    ]
    assert json.dumps(history) == before
    clean: list[Any] = [history[0], {"role": "assistant", "content": "z"}, "odd", {"role": "assistant"}]
    assert without_unsigned_thinking(clean) is clean


# ---------------------------------------------------------------- any conversation

WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
IDS = st.sampled_from(["a", "b", "c:1", "c.1", ""])
BLOCKS = {
    "user": st.one_of(WORDS.map(Text), st.just(Image("https://example.test/a.png"))),
    "assistant": st.one_of(
        WORDS.map(Text),
        st.builds(ToolUse, IDS, st.sampled_from(["f", "g"]), st.sampled_from(["", "{}", '{"a":1}', "{"])),
        st.builds(Thinking, WORDS, st.sampled_from(["", "s"]), st.sampled_from(["", "up", "other"]), st.booleans()),
    ),
    "tool": st.builds(ToolResult, IDS, st.lists(WORDS.map(Text), max_size=2), st.booleans()),
}
CONVERSATIONS = st.lists(
    st.one_of(*(st.builds(Message, st.just(role), st.lists(blocks, max_size=4)) for role, blocks in BLOCKS.items())),
    max_size=8,
)


@given(CONVERSATIONS)
def test_every_conversation_is_written_in_the_form_that_the_api_insists_on(messages: list[Message]) -> None:
    written = turns(*messages)
    assert [turn["role"] for turn in written] == ["user", "assistant"] * (len(written) // 2) + ["user"] * (
        len(written) % 2
    )
    calls: list[str] = []
    for turn in written:
        assert turn["content"]
        kinds = [block["type"] for block in turn["content"]]
        assert all(block["text"].strip() for block in turn["content"] if block["type"] == "text")
        if turn["role"] == "user":
            answers = [block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"]
            assert sorted(answers) == sorted(calls) and kinds[: len(answers)] == ["tool_result"] * len(answers)
            calls = []
        else:
            calls = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
            assert kinds[-1] in ("text", "tool_use")
    assert not calls
    ids = [block["id"] for turn in written for block in turn["content"] if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids) and all(re.fullmatch("[A-Za-z0-9_-]+", call) for call in ids)


@given(CONVERSATIONS)
def test_nothing_that_was_said_is_lost(messages: list[Message]) -> None:
    def texts(blocks: list[Any]) -> list[str]:
        inner = [part for block in blocks for part in (block.content if isinstance(block, ToolResult) else [block])]
        return [block.text.rstrip() for block in inner if isinstance(block, Text) and block.text.strip()]

    made = {BEFORE, ORPHAN, NO_RESULT, "(empty)"}
    given_texts = sorted(word for message in messages for word in texts(message.blocks) if word not in made)
    found = []
    for turn in turns(*messages):
        for block in turn["content"]:
            inner = block.get("content", []) if block["type"] == "tool_result" else [block]
            found += [part["text"].rstrip() for part in inner if part["type"] == "text"]
    assert sorted(word for word in found if word not in made) == given_texts
