from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.providers.conftest import a_command, a_target
from tokenhub.domain.chat import (
    Block,
    ChatCommand,
    Image,
    Message,
    Parameters,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from tokenhub.providers.openai.request import PLAIN, Manners, crossing_fields, not_carried, request_payload
from tokenhub.providers.vllm.wire import MANNERS as VLLM

TARGET = a_target()
NEWER = Manners(cap_field="max_completion_tokens")


def crossing(*messages: Message, parameters: Parameters | None = None, **fields: Any) -> ChatCommand:
    said = list(messages) or [Message("user", [Text("hi")])]
    return ChatCommand("anthropic", {}, 9, said, parameters=parameters or Parameters(), **fields)


def fields_of(model: str = "some-model", manners: Manners = PLAIN, **given: Any) -> dict[str, Any]:
    return crossing_fields(crossing(parameters=Parameters(**given)), model, manners)


# ---------------------------------------------------------------- the same dialect


def test_the_callers_own_body_passes_but_for_the_model() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]}
    command = a_command(temperature=0.5, unheard_of={"a": [1]}, stream=True, stream_options={"include_usage": True})
    command.raw["messages"].append(turn)
    before = json.dumps(command.raw)
    payload = request_payload(command, TARGET, stream=False)
    assert payload == {
        "model": "gpt-4o-2024",
        "messages": command.raw["messages"],
        "temperature": 0.5,
        "unheard_of": {"a": [1]},
    }
    assert payload["messages"][1]["content"] is None
    assert json.dumps(command.raw) == before and not_carried(command, TARGET) == ()


def test_a_stream_always_asks_for_usage_and_keeps_other_options() -> None:
    for options in ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": False}):
        payload = request_payload(a_command(stream_options=options), TARGET, stream=True)
        assert payload["stream"] is True
        assert payload["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert request_payload(a_command(stream_options=None), TARGET, stream=True)["stream_options"] == {
        "include_usage": True
    }


def test_a_server_that_does_not_know_stream_options_gets_none() -> None:
    payload = request_payload(a_command(stream_options={}), TARGET, stream=True, manners=Manners(is_dated=True))
    assert payload["stream"] is True and "stream_options" not in payload


def test_what_is_said_not_to_be_forwarded_is_not() -> None:
    command = a_command(store=True)
    command.not_forwarded = ("store",)
    assert "store" not in request_payload(command, TARGET, stream=False)


def test_our_own_field_of_signed_reasoning_goes_to_no_provider() -> None:
    command = a_command()
    said = {"role": "assistant", "content": "4", "reasoning_content": "hm", "thinking_blocks": [{"signature": "s"}]}
    command.raw["messages"].append(said)
    command.messages.append(Message("assistant", [Thinking("hm", "s", "p"), Text("4")]))
    before = copy.deepcopy(command.raw)
    messages = request_payload(command, TARGET, stream=False)["messages"]
    assert messages[1] == {"role": "assistant", "content": "4", "reasoning_content": "hm"}
    assert command.raw == before


# ---------------------------------------------------------------- another dialect


def test_another_dialect_is_written_from_the_inner_language() -> None:
    command = crossing(
        Message("system", [Text("be brief")]),
        Message("user", [Text("hi")]),
        max_output_tokens=7,
        tools=[Tool("add", "adds", {"type": "object"}, True), Tool("now")],
        parameters=Parameters(
            temperature=0.5,
            top_p=0.9,
            stop=("END",),
            seed=3,
            user="u1",
            tool_choice=ToolChoice("tool", "add"),
            parallel_tools=False,
        ),
    )
    assert request_payload(command, TARGET, stream=True) == {
        "model": "gpt-4o-2024",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "max_tokens": 7,
        "tools": [
            {
                "type": "function",
                "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}, "strict": True},
            },
            {"type": "function", "function": {"name": "now"}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 3,
        "user": "u1",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_is_not_given_is_not_written() -> None:
    assert fields_of() == {}
    assert fields_of(tool_choice=ToolChoice("auto"), parallel_tools=True) == {}, "refused without tools"
    assert fields_of(temperature=0.0, seed=0) == {"temperature": 0.0, "seed": 0}


@pytest.mark.parametrize(
    ("model", "manners", "field"),
    [
        ("llama-3", PLAIN, "max_tokens"),
        ("gpt-4o", PLAIN, "max_tokens"),
        ("gpt-oss-120b", PLAIN, "max_tokens"),
        ("o1-mini", PLAIN, "max_completion_tokens"),
        ("o3", PLAIN, "max_completion_tokens"),
        ("openai/o4-mini-2025-04-16", PLAIN, "max_completion_tokens"),
        ("gpt-5.1-codex", PLAIN, "max_completion_tokens"),
        ("GPT-5", PLAIN, "max_completion_tokens"),
        ("olmo-2", PLAIN, "max_tokens"),
        ("my-deployment", NEWER, "max_completion_tokens"),
        ("o3", Manners(is_dated=True), "max_tokens"),
        ("Qwen/Qwen3-8B", VLLM, "max_tokens"),
    ],
)
def test_the_cap_has_the_name_that_the_server_keeps_to(model: str, manners: Manners, field: str) -> None:
    assert crossing_fields(crossing(max_output_tokens=7), model, manners) == {field: 7}


@pytest.mark.parametrize(
    ("given", "effort"),
    [
        ({"effort": "high"}, "high"),
        ({"effort": "minimal", "thinking_tokens": 50_000}, "minimal"),
        ({"effort": "max"}, "high"),
        ({"thinking_tokens": 1_024}, "low"),
        ({"thinking_tokens": 4_096}, "medium"),
        ({"thinking_tokens": 16_384}, "high"),
        ({"thinking_tokens": 0}, None),
        ({}, None),
    ],
)
def test_effort_is_told_in_words_and_thinking_becomes_effort(given: dict[str, Any], effort: str | None) -> None:
    assert fields_of("o3", **given).get("reasoning_effort") == effort


@pytest.mark.parametrize(
    ("model", "is_told"),
    [
        ("o1", True),
        ("o3-mini", True),
        ("openai/gpt-5-mini", True),
        ("gpt-5.2", True),
        ("openai/gpt-oss-20b", True),
        ("models/gemini-2.5-flash", True),
        ("gemini-3-pro-preview", True),
        ("o1-mini", False),
        ("o1-preview-2024-09-12", False),
        ("gpt-5-chat-latest", False),
        ("gpt-4o", False),
        ("gemini-2.0-flash", False),
        ("llama-3", False),
    ],
)
def test_effort_goes_only_to_models_that_do_not_refuse_it_and_is_told_where_not(model: str, is_told: bool) -> None:
    target = a_target(upstream_name=model)
    wished = (Parameters(thinking_tokens=2_000), Parameters(effort="low"))
    for parameters, field in zip(wished, ("thinking", "output_config"), strict=True):
        command = crossing(parameters=parameters)
        assert ("reasoning_effort" in request_payload(command, target, stream=False)) is is_told
        assert not_carried(command, target) == (() if is_told else (field,))


def test_vllm_takes_effort_for_every_model_in_three_words() -> None:
    told = [fields_of("any", VLLM, effort=word)["reasoning_effort"] for word in ("minimal", "low", "high", "xhigh")]
    assert told == ["low", "low", "high", "high"]


def test_what_has_no_place_is_named_once() -> None:
    command = crossing(parameters=Parameters(top_k=5), own_fields=("container", "top_k"))
    assert not_carried(command, TARGET) == ("container", "top_k")
    assert "container" not in request_payload(command, TARGET, stream=False)


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        (CLOSED, True),
        ({**CLOSED, "properties": {"a": CLOSED}}, True),
        ({**CLOSED, "$defs": {"x": {"type": "object"}}}, False),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "required": None}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({**CLOSED, "properties": {"a": {"anyOf": [{"type": "object", "properties": {}}]}}}, False),
        ({**CLOSED, "properties": {"a": {"oneOf": []}}}, False),
    ],
)
def test_a_schema_is_made_binding_where_openai_can_hold_a_model_to_it(schema: dict[str, Any], is_strict: bool) -> None:
    before = copy.deepcopy(schema)
    described = fields_of(output_schema=schema)["response_format"]["json_schema"]
    assert described == {"name": "answer", "schema": before} | ({"strict": True} if is_strict else {})


def test_a_deep_schema_is_not_walked_into_the_ground() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"items": deep}
    assert fields_of(output_schema=deep)["response_format"]["json_schema"]["strict"] is True


def test_any_json_object_can_be_asked_for() -> None:
    assert fields_of(json_object=True) == {"response_format": {"type": "json_object"}}
    assert fields_of(output_schema={}, output_name="n")["response_format"]["json_schema"]["name"] == "n"


# ---------------------------------------------------------------- what both dialects can say survives


def read_back(payload: dict[str, Any]) -> tuple[list[Message], list[Tool], Parameters, int | None]:
    """A plain reader of OpenAI's request, written from its reference and from nothing of ours."""
    messages: list[Message] = []
    for turn in payload["messages"]:
        content = turn["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        blocks: list[Block] = [
            Text(part["text"])
            if part["type"] == "text"
            else Image(part["image_url"]["url"], part["image_url"].get("detail", "auto"))
            for part in parts
        ]
        if turn["role"] == "tool":
            blocks = [ToolResult(turn["tool_call_id"], blocks)]
            if messages and all(isinstance(block, ToolResult) for block in messages[-1].blocks):
                messages[-1].blocks += blocks
                continue
        blocks += [
            ToolUse(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in turn.get("tool_calls", [])
        ]
        messages.append(Message("user" if turn["role"] == "tool" else turn["role"], blocks))
    tools = [
        Tool(one["name"], one.get("description", ""), one.get("parameters", {}), one.get("strict"))
        for one in (tool["function"] for tool in payload.get("tools", []))
    ]
    choice = payload.get("tool_choice")
    described = payload.get("response_format", {}).get("json_schema", {})
    return (
        messages,
        tools,
        Parameters(
            temperature=payload.get("temperature"),
            top_p=payload.get("top_p"),
            stop=tuple(payload.get("stop", ())),
            seed=payload.get("seed"),
            user=payload.get("user", ""),
            tool_choice=ToolChoice("tool", choice["function"]["name"])
            if isinstance(choice, dict)
            else choice and ToolChoice(choice),
            parallel_tools=payload.get("parallel_tool_calls"),
            output_schema=described.get("schema"),
            output_name=described.get("name", ""),
            effort=payload.get("reasoning_effort", ""),
        ),
        payload.get("max_completion_tokens"),
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.builds(Text, TEXT)
IMAGES = st.builds(Image, TEXT, st.sampled_from(["auto", "low", "high"]))
USES = st.builds(ToolUse, TEXT, TEXT, TEXT)
RESULTS = st.builds(ToolResult, TEXT, st.lists(TEXTS, min_size=1, max_size=1))
TURNS = st.one_of(
    st.builds(Message, st.just("system"), st.lists(TEXTS, min_size=1, max_size=3)),
    st.builds(Message, st.just("user"), st.lists(st.one_of(TEXTS, IMAGES), min_size=1, max_size=3)),
    st.builds(
        lambda said, uses: Message("assistant", [*said, *uses]),
        st.lists(TEXTS, max_size=2),
        st.lists(USES, min_size=1, max_size=2),
    ),
)
CONVERSATIONS = st.builds(
    lambda turns, results: [*turns, *([Message("user", results)] if results else [])],
    st.lists(TURNS, min_size=1, max_size=4),
    st.lists(RESULTS, max_size=3),
)
SCHEMAS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.lists(TEXT, max_size=2)), max_size=2)
TOOLS = st.lists(
    st.builds(Tool, TEXT, st.one_of(st.just(""), TEXT), SCHEMAS, st.none() | st.booleans()), min_size=1, max_size=3
)
CHOICES = st.one_of(
    st.none(),
    st.builds(ToolChoice, st.sampled_from(["auto", "required", "none"])),
    st.builds(ToolChoice, st.just("tool"), TEXT),
)
PARAMETERS = st.builds(
    Parameters,
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    stop=st.lists(TEXT, max_size=3).map(tuple),
    seed=st.none() | st.integers(0, 9),
    user=st.just("") | TEXT,
    tool_choice=CHOICES,
    parallel_tools=st.none() | st.booleans(),
    effort=st.sampled_from(["", "low", "high"]),
)


@given(CONVERSATIONS, TOOLS, PARAMETERS, st.none() | st.integers(1, 9), st.none() | SCHEMAS)
def test_what_both_dialects_can_say_survives_the_way_to_a_request(
    messages: list[Message], tools: list[Tool], parameters: Parameters, cap: int | None, schema: Any
) -> None:
    if schema is not None:
        parameters.output_schema, parameters.output_name = schema, "named"
    command = crossing(*messages, tools=tools, parameters=parameters, max_output_tokens=cap)
    payload = request_payload(command, a_target(upstream_name="o3"), stream=False)
    assert read_back(json.loads(json.dumps(payload))) == (messages, tools, parameters, cap)
