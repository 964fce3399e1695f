from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.providers.anthropic.conftest import a_target, from_anthropic, from_openai, message
from tokenhub.domain.chat import (
    Image,
    Message,
    Parameters,
    Reply,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Usage,
)
from tokenhub.errors import ProviderRateLimited, ProviderTransient
from tokenhub.providers.anthropic.wire import read_reply, read_usage, request_payload, require_no_error

TARGET = a_target()


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


# ---------------------------------------------------------------- request of the same dialect


def test_the_callers_own_body_passes_but_for_the_model() -> None:
    fields: dict[str, Any] = {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "temperature": 1.7,
        "container": None,
        "unheard_of": {"a": [1]},
        "stream": True,
        "tokenhub": {"mode": "cheap"},
    }
    command = from_anthropic(**fields)
    before = json.dumps(command.raw)
    kept = {name: value for name, value in command.raw.items() if name not in ("stream", "tokenhub")}
    assert request_payload(command, TARGET, stream=False) == ({**kept, "model": "claude-sonnet-4-5"}, ())
    assert request_payload(command, TARGET, stream=True)[0]["stream"] is True
    assert json.dumps(command.raw) == before


def test_what_is_said_not_to_be_forwarded_is_not_and_a_missing_limit_is_set() -> None:
    command = from_anthropic(store=True)
    command.not_forwarded = ("store",)
    del command.raw["max_tokens"]
    payload, _ = request_payload(command, TARGET, stream=False)
    assert "store" not in payload and payload["max_tokens"] == 4096


def test_a_thought_that_nobody_signed_goes_and_with_it_a_budget_that_needs_it() -> None:
    signed = {"type": "thinking", "thinking": "a", "signature": "s"}
    unsigned = {"type": "thinking", "thinking": "b", "signature": ""}
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c"}
    for kind, first, kept, told in (
        ("enabled", unsigned, False, ("thinking",)),
        ("enabled", signed, True, ()),
        ("adaptive", unsigned, True, ()),
    ):
        turns = [{"role": "assistant", "content": [first, call]}, {"role": "user", "content": [result]}]
        command = from_anthropic(messages=turns, thinking={"type": kind})
        payload, not_forwarded = request_payload(command, TARGET, stream=False)
        assert ("thinking" in payload, not_forwarded) == (kept, told)
        assert payload["messages"][0]["content"] == ([call] if first is unsigned else [signed, call])


# ---------------------------------------------------------------- request of another dialect


def test_another_dialect_is_written_from_its_blocks() -> None:
    command = from_openai(Message("system", [Text("be brief")]), Message("user", [Text("hi")]), max_output_tokens=7)
    command.own_fields, command.parameters = ("logit_bias", "seed"), Parameters(seed=1)
    assert request_payload(command, TARGET, stream=True) == (
        {
            "messages": [{"role": "user", "content": [text("hi")]}],
            "system": "be brief",
            "max_tokens": 7,
            "model": "claude-sonnet-4-5",
            "stream": True,
        },
        ("logit_bias", "seed"),
    )


def test_an_answer_that_must_be_json_is_asked_for_in_words() -> None:
    asked = Parameters(json_object=True)
    payload, _ = request_payload(from_openai(parameters=asked), TARGET, stream=False)
    assert payload["system"] == "Answer with one JSON object and nothing else."
    system = Message("system", [Text("be brief")])
    payload, _ = request_payload(from_openai(system, parameters=asked), TARGET, stream=False)
    assert "Answer with one JSON object" in payload["system"]
    asked = Parameters(json_object=True, output_schema={"type": "object"})
    assert "system" not in request_payload(from_openai(parameters=asked), TARGET, stream=False)[0]


# ---------------------------------------------------------------- there and back

WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).map(lambda word: f"{word}.")
VALUES = st.dictionaries(WORDS, st.one_of(st.integers(-(2**53), 2**53), st.booleans(), st.none(), WORDS), max_size=3)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
PICTURES = st.sampled_from(["data:image/png;base64,AAAA", "https://example.test/a.png"]).map(Image)
THOUGHTS = st.one_of(
    st.builds(Thinking, WORDS, NAMES, st.just("up")),
    st.builds(lambda data: Thinking("", data, "up", redacted=True), NAMES),
)


@st.composite
def exchanges(draw: st.DrawFn) -> list[Message]:
    """Turns that both dialects can say: a question, thoughts, words, calls, and their results with the next words."""
    turns = [Message("user", draw(st.lists(st.one_of(WORDS.map(Text), PICTURES), min_size=1, max_size=3)))]
    for number in range(draw(st.integers(0, 3))):
        ids = [f"call_{number}_{at}" for at in range(draw(st.integers(0, 3)))]
        calls = [ToolUse(call, draw(NAMES), orjson.dumps(draw(VALUES)).decode()) for call in ids]
        said: list[Any] = [*draw(st.lists(THOUGHTS, max_size=2)), *draw(st.lists(WORDS.map(Text), max_size=1))]
        if not calls:
            said.append(Text(draw(WORDS)))
        inner = st.lists(st.one_of(WORDS.map(Text), PICTURES), min_size=1, max_size=2)
        results = [ToolResult(call, draw(inner), draw(st.booleans())) for call in ids]
        turns += [Message("assistant", [*said, *calls]), Message("user", [*results, Text(draw(WORDS))])]
    return turns


PARAMETERS = st.builds(
    Parameters,
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0.1, 1),
    top_k=st.none() | st.integers(1, 99),
    stop=st.lists(WORDS, max_size=3).map(tuple),
    user=st.just("") | NAMES.map(lambda name: f"u{name}"),
    tool_choice=st.none() | st.sampled_from([ToolChoice("auto"), ToolChoice("required"), ToolChoice("tool", "t")]),
    parallel_tools=st.sampled_from([None, False]),
    output_schema=st.none() | st.just({"type": "object", "properties": {"a": {}}}),
)


@given(exchanges(), PARAMETERS, st.none() | st.integers(1, 10**6), WORDS)
def test_what_both_dialects_can_say_survives_into_the_request(
    turns: list[Message], asked: Parameters, cap: int | None, system: str
) -> None:
    tools = [Tool("t", "does", {"type": "object", "properties": {"x": {"type": "string"}}})]
    command = from_openai(Message("system", [Text(system)]), *turns, parameters=asked, max_output_tokens=cap)
    command.tools = tools
    payload, dropped = request_payload(command, a_target("other-makers-model"), stream=False)
    assert dropped == ()
    assert as_messages(orjson.loads(orjson.dumps(payload))) == [Message("system", [Text(system.strip())]), *turns]
    assert [Tool(t["name"], t["description"], t["input_schema"]) for t in payload["tools"]] == tools
    assert payload["max_tokens"] == cap or cap is None
    if asked.tool_choice is None and asked.parallel_tools is False:
        asked.tool_choice = ToolChoice("auto")  # the same: this protocol has no other place to say it
    assert as_parameters(payload) == asked


def as_messages(payload: dict[str, Any]) -> list[Message]:
    """An Anthropic request read back, as plainly as can be."""
    turns = [Message(turn["role"], [as_block(block) for block in turn["content"]]) for turn in payload["messages"]]
    return [Message("system", [Text(payload["system"])]), *turns]


def as_block(block: dict[str, Any]) -> Any:
    match block["type"]:
        case "text":
            return Text(block["text"])
        case "image" if block["source"]["type"] == "url":
            return Image(block["source"]["url"])
        case "image":
            return Image(f"data:{block['source']['media_type']};base64,{block['source']['data']}")
        case "tool_use":
            return ToolUse(block["id"], block["name"], orjson.dumps(block["input"]).decode())
        case "tool_result":
            content = [as_block(part) for part in block["content"]]
            return ToolResult(block["tool_use_id"], content, block.get("is_error", False))
        case "thinking":
            return Thinking(block["thinking"], block["signature"], "up")
        case "redacted_thinking":
            return Thinking("", block["data"], "up", redacted=True)
    raise AssertionError(block)


def as_parameters(payload: dict[str, Any]) -> Parameters:
    choice = payload.get("tool_choice") or {}
    mode = {"any": "required"}.get(choice.get("type", ""), choice.get("type"))
    told = ToolChoice(mode, choice.get("name", "")) if choice else None
    return Parameters(
        temperature=payload.get("temperature"),
        top_p=payload.get("top_p"),
        top_k=payload.get("top_k"),
        stop=tuple(payload.get("stop_sequences", ())),
        user=payload.get("metadata", {}).get("user_id", ""),
        tool_choice=told,
        parallel_tools=False if choice.get("disable_parallel_tool_use") else None,
        output_schema=payload.get("output_config", {}).get("format", {}).get("schema"),
    )


# ---------------------------------------------------------------- whole answer


def reply(raw: Any, dialect: Any = "openai") -> Reply:
    return read_reply(raw if isinstance(raw, bytes) else orjson.dumps(raw), TARGET, dialect)


def test_a_reply_names_our_model_and_keeps_the_rest_for_its_own_dialect() -> None:
    raw = message(text("hé"), container={"id": "x"}, stop_details=None)
    answer = reply(raw, "anthropic")
    assert answer.raw == {**raw, "model": "sonnet"} and answer.dialect == "anthropic"
    assert (answer.usage, answer.text_bytes, answer.blocks) == (Usage(input=9, output=4), 3, [])
    assert (answer.finish_reason, answer.stop_sequence) == ("stop", None)


def test_other_dialects_get_the_blocks() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    calls = [{"type": "tool_use", "id": f"toolu_{n}", "name": "add", "input": {"n": n}} for n in (1, 2)]
    other = [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}}, {"odd": 1}]
    raw = message(
        thought, {"type": "redacted_thinking", "data": "xx"}, *other, text("so"), *calls, stop_reason="tool_use"
    )
    answer = reply(raw)
    assert answer.blocks == [
        Thinking("hm", "sig", "up"),
        Thinking("", "xx", "up", redacted=True),
        Text("so"),
        ToolUse("toolu_1", "add", '{"n":1}'),
        ToolUse("toolu_2", "add", '{"n":2}'),
    ]
    assert answer.finish_reason == "tool_use"
    assert answer.text_bytes == len("hmso") + 2 * len('add{"n":1}') + len('web_search{"q":"x"}')


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_use"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause"),
        ("unheard_of", "stop"),
        (None, "stop"),
    ],
)
def test_every_reason_to_stop_has_ours(stop_reason: str | None, expected: str) -> None:
    answer = reply(message(text("x"), stop_reason=stop_reason, stop_sequence="END"))
    assert (answer.finish_reason, answer.stop_sequence) == (expected, "END")


@given(exchanges())
def test_what_both_dialects_can_say_survives_out_of_a_reply(turns: list[Message]) -> None:
    for turn in turns:
        if turn.role == "assistant":
            written, _ = request_payload(from_openai(Message("user", [Text("x")]), turn), TARGET, stream=False)
            assert reply(message(*written["messages"][1]["content"])).blocks == turn.blocks


GOOD = {"input_tokens": 10, "output_tokens": 4}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (GOOD, Usage(input=10, output=4)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
        (
            {
                **GOOD,
                "cache_read_input_tokens": 6,
                "cache_creation_input_tokens": 3,
                "cache_creation": {"ephemeral_5m_input_tokens": 3},
                "output_tokens_details": {"thinking_tokens": 2},
                "server_tool_use": {"web_search_requests": 1},
            },
            Usage(input=19, output=4, cache_read=6, cache_write=3, reasoning=2),
        ),
        ({**GOOD, "cache_read_input_tokens": None, "cache_creation_input_tokens": None}, Usage(input=10, output=4)),
        ({**GOOD, "cache_read_input_tokens": -1}, Usage(input=10, output=4)),
        ({**GOOD, "output_tokens_details": {"thinking_tokens": 99}}, Usage(input=10, output=4, reasoning=4)),
        ({**GOOD, "output_tokens_details": "odd"}, Usage(input=10, output=4)),
        (None, None),
        ({}, None),
        ([], None),
        ({"input_tokens": 10}, None),
        *(({**GOOD, "input_tokens": odd}, None) for odd in (-1, 10**9, 2**70, "10", True, 1.0, None, [1])),
        *(({**GOOD, "output_tokens": odd}, None) for odd in (-1, 10**9, "10", False, 1.5)),
    ],
)
def test_usage_is_believed_only_if_it_can_be_true(usage: Any, expected: Usage | None) -> None:
    assert read_usage([usage]) == expected


def test_usage_told_in_parts_grows() -> None:
    start = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5}
    assert read_usage([start, {"output_tokens": 7}]) == Usage(input=15, output=7, cache_read=5)
    created = {"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 6}}
    assert read_usage([{**start, **created}, {"output_tokens": 7}]) == Usage(
        input=24, output=7, cache_read=5, cache_write=9, cache_write_1h=6
    )
    assert read_usage([start, {"output_tokens": 7, "input_tokens": 0, "cache_read_input_tokens": None}]) == Usage(
        input=15, output=7, cache_read=5
    )
    assert read_usage([{"input_tokens": 0, "output_tokens": 0}, GOOD]) == Usage(input=10, output=4)
    assert read_usage([None, GOOD]) == Usage(input=10, output=4)
    assert read_usage([start, {"output_tokens": -7}]) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"[]",
        b"null",
        b'{"content": [',
        b"{}",
        b'{"content": "x"}',
        b'{"content": ["x"]}',
        b'{"choices": [{"message": {}}]}',
        b'{"content": [], "x": ' + b"[" * 300 + b"]" * 300 + b"}",
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_200_that_is_no_message_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(ProviderTransient) as caught:
        reply(body)
    assert caught.value.code == "bad_response"


def test_odd_fields_spoil_no_answer() -> None:
    odd = {"type": "tool_use", "id": 7, "name": None, "input": None}
    answer = reply(message(odd, {"type": "text"}, {"type": "thinking", "thinking": 1}, stop_sequence=7, usage="x"))
    assert answer.blocks == [ToolUse("", "", "{}"), Text(""), Thinking("", "", "up")]
    assert (answer.usage, answer.text_bytes, answer.stop_sequence) == (None, 0, None)


def test_an_error_inside_a_200_is_what_it_says() -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    for read in (reply, lambda raw: require_no_error(orjson.dumps(raw))):
        with pytest.raises(ProviderRateLimited):
            read(error)
    require_no_error(b'{"type": "message"}')
