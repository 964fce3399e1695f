from __future__ import annotations

from typing import Any

import pytest

from tests.unit.providers.anthropic.conftest import a_target, from_openai
from tokenhub.domain.chat import ChatCommand, Message, Parameters, Text, Thinking, Tool, ToolChoice, ToolResult, ToolUse
from tokenhub.errors import ProviderFatal
from tokenhub.providers.anthropic.messages import write_conversation
from tokenhub.providers.anthropic.parameters import output_limit, write_parameters

OLD, MIDDLE, NEW = "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-opus-4-8"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ADD = Tool("add", "adds", SCHEMA, strict=True)


def write(command: ChatCommand, name: str = OLD, **model: Any) -> tuple[dict[str, Any], list[str]]:
    payload: dict[str, Any] = {"messages": write_conversation(command.messages, "up")[1]}
    dropped = write_parameters(payload, command, a_target(name, **model))
    del payload["messages"]
    return payload, dropped


def asking(name: str = OLD, max_tokens: int = 32_000, **asked: Any) -> tuple[dict[str, Any], list[str]]:
    payload, dropped = write(from_openai(parameters=Parameters(**asked), max_output_tokens=max_tokens), name)
    assert payload.pop("max_tokens") == max_tokens
    return payload, dropped


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("cap", "model", "limit"),
    [
        (None, {}, 4096),
        (None, {"max_output_tokens": 64_000}, 64_000),
        (None, {"max_context_tokens": 2048}, 2048),
        (None, {"max_context_tokens": 200_000}, 4096),
        (7, {"max_output_tokens": 64_000}, 7),
        (100_000, {"max_output_tokens": 64_000}, 64_000),
        (100_000, {}, 100_000),
    ],
)
def test_the_limit_that_the_api_insists_on_is_the_callers_then_the_models(
    cap: int | None, model: dict[str, int], limit: int
) -> None:
    assert output_limit(from_openai(max_output_tokens=cap), a_target(**model)) == limit


def test_several_choices_send_the_request_elsewhere() -> None:
    with pytest.raises(ProviderFatal) as caught:
        write(from_openai(choices=2))
    assert (caught.value.blame, caught.value.code, caught.value.param) == ("target", "unsupported_parameter", "n")


def test_blank_stops_and_a_seed_are_told_as_left_out() -> None:
    assert asking(stop=("END", " \n", ""), seed=7) == ({"stop_sequences": ["END"]}, ["stop", "seed"])
    assert asking(stop=("\n",)) == ({}, ["stop"])
    assert asking(stop=("a", "b")) == ({"stop_sequences": ["a", "b"]}, [])


@pytest.mark.parametrize("user", ["u-1:x.y_Z", "550e8400-e29b-41d4-a716-446655440000"])
def test_an_opaque_user_is_told(user: str) -> None:
    assert asking(user=user)[0] == {"metadata": {"user_id": user}}


@pytest.mark.parametrize("user", ["ann@example.test", "+49 170 123", "491701234567", "Ann Lee", "x" * 300, "é"])
def test_a_user_that_could_be_a_person_is_told_as_a_hash(user: str) -> None:
    told = asking(user=user)[0]["metadata"]["user_id"]
    assert len(told) == 64 and int(told, 16) and told == asking(user=user)[0]["metadata"]["user_id"]


def test_a_schema_for_the_answer_is_the_output_format() -> None:
    expected = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    assert asking(output_schema=SCHEMA, output_name="sum") == (expected, [])
    payload, _ = asking(NEW, output_schema=SCHEMA, effort="low")
    assert payload["output_config"] == {**expected["output_config"], "effort": "low"}


# ---------------------------------------------------------------- sampling


def test_sampling_is_clamped_and_given_as_far_as_the_model_takes_it() -> None:
    assert asking("kimi-k2", temperature=1.7, top_p=0.5, top_k=3)[0] == {"temperature": 1.0, "top_p": 0.5, "top_k": 3}
    assert asking(OLD, temperature=0.2, top_p=0.5) == ({"temperature": 0.2}, ["top_p"])
    assert asking(OLD, top_p=0.5) == ({"top_p": 0.5}, [])
    assert asking(NEW, temperature=0.2, top_p=0.5, top_k=1) == ({}, ["temperature", "top_p", "top_k"])


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, None),
        ({"parallel_tools": True}, None),
        ({"parallel_tools": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": ToolChoice("auto")}, {"type": "auto"}),
        ({"tool_choice": ToolChoice("none"), "parallel_tools": False}, {"type": "none"}),
        ({"tool_choice": ToolChoice("required")}, {"type": "any"}),
        (
            {"tool_choice": ToolChoice("tool", "add"), "parallel_tools": False},
            {"type": "tool", "name": "add", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tools_and_the_choice_among_them(asked: dict[str, Any], expected: dict[str, Any] | None) -> None:
    payload, dropped = write(from_openai(tools=[ADD], parameters=Parameters(**asked)))
    assert payload["tools"] == [{"name": "add", "input_schema": SCHEMA, "description": "adds", "strict": True}]
    assert (payload.get("tool_choice"), dropped) == (expected, [])


def test_a_tool_always_has_an_object_for_its_schema_and_strict_only_where_it_is_taken() -> None:
    tools = [Tool("a"), Tool("b", schema={"properties": {"x": {}}}), Tool("c", schema={"type": "object"})]
    payload, _ = write(from_openai(tools=[*tools, ADD]), "claude-sonnet-4-20250514")
    assert [tool["input_schema"] for tool in payload["tools"]] == [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"x": {}}},
        {"type": "object", "properties": {}},
        SCHEMA,
    ]
    assert not any("strict" in tool for tool in payload["tools"])


def test_a_history_with_calls_brings_its_tools_even_where_the_request_has_none() -> None:
    history = [Message("user", [Text("x")]), Message("assistant", [ToolUse("c", "add", "{}")])]
    payload, dropped = write(from_openai(*history, Message("tool", [ToolResult("c", [Text("1")])])))
    assert payload["tools"] == [{"name": "add", "input_schema": {"type": "object", "properties": {}}}]
    assert payload["tool_choice"] == {"type": "none"} and dropped == []


def test_a_choice_without_tools_is_told_as_left_out_where_it_meant_something() -> None:
    assert asking(tool_choice=ToolChoice("required")) == ({}, ["tool_choice"])
    assert asking(tool_choice=ToolChoice("none")) == ({}, [])


# ---------------------------------------------------------------- thinking


@pytest.mark.parametrize(
    ("name", "max_tokens", "asked", "expected"),
    [
        (OLD, 32_000, {"effort": "medium"}, {"thinking": {"type": "enabled", "budget_tokens": 8192}}),
        (OLD, 10_000, {"effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 5000}}),
        (OLD, 1500, {"effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (OLD, 9000, {"thinking_tokens": 5}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (OLD, 9000, {"thinking_tokens": 9000}, {"thinking": {"type": "enabled", "budget_tokens": 8999}}),
        (OLD, 9000, {"thinking_tokens": 0}, {"thinking": {"type": "disabled"}}),
        (OLD, 9000, {"effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("glm-4.6", 9000, {"effort": "minimal"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (MIDDLE, 99, {"effort": "xhigh"}, {"output_config": {"effort": "high"}, "thinking": {"type": "adaptive"}}),
        (NEW, 99, {"effort": "xhigh"}, {"output_config": {"effort": "xhigh"}, "thinking": {"type": "adaptive"}}),
        (NEW, 99, {"effort": "minimal"}, {"output_config": {"effort": "low"}, "thinking": {"type": "adaptive"}}),
        (NEW, 99, {"thinking_tokens": 5000}, {"thinking": {"type": "adaptive"}}),
        (NEW, 99, {"effort": "none"}, {"thinking": {"type": "disabled"}}),
        ("claude-3-5-haiku", 99, {"effort": "none"}, {}),
    ],
)
def test_reasoning_is_asked_for_in_the_way_that_the_model_understands(
    name: str, max_tokens: int, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert asking(name, max_tokens, **asked) == (expected, [])


@pytest.mark.parametrize(
    ("name", "max_tokens", "asked", "told"),
    [
        (OLD, 1024, {"effort": "low"}, "reasoning_effort"),
        (OLD, 1024, {"thinking_tokens": 2048}, "thinking"),
        (OLD, 32_000, {"effort": "heroic"}, "reasoning_effort"),
        ("claude-3-5-haiku", 32_000, {"effort": "high"}, "reasoning_effort"),
        ("claude-fable-5", 32_000, {"effort": "none"}, "reasoning_effort"),
    ],
)
def test_reasoning_that_the_model_cannot_be_asked_for_is_told_as_left_out(
    name: str, max_tokens: int, asked: dict[str, Any], told: str
) -> None:
    assert asking(name, max_tokens, **asked) == ({}, [told])


def test_a_model_that_thinks_is_given_no_sampling() -> None:
    for name in (OLD, MIDDLE):
        payload, dropped = asking(name, effort="low", temperature=0.2, top_p=0.5)
        assert "thinking" in payload and "temperature" not in payload and dropped == ["temperature", "top_p"]
    assert asking(OLD, effort="none", temperature=0.2)[0]["temperature"] == 0.2


def test_a_forced_call_and_thinking_exclude_each_other() -> None:
    for choice in (ToolChoice("required"), ToolChoice("tool", "add")):
        asked = Parameters(effort="low", tool_choice=choice)
        payload, dropped = write(from_openai(tools=[ADD], parameters=asked, max_output_tokens=9000))
        assert "thinking" not in payload and dropped == ["reasoning_effort"]
        payload, dropped = write(from_openai(tools=[ADD], parameters=asked), NEW)
        assert "thinking" not in payload and payload["output_config"] == {"effort": "low"} and dropped == []


def test_a_budget_for_thinking_waits_where_the_open_turn_lost_its_thought() -> None:
    def of(*said: Any) -> tuple[dict[str, Any], list[str]]:
        turns = [Message("user", [Text("x")]), Message("assistant", [*said, ToolUse("c", "add", "{}")])]
        asked = from_openai(*turns, Message("tool", [ToolResult("c", [Text("1")])]), tools=[ADD])
        asked.parameters, asked.max_output_tokens = Parameters(effort="low"), 9000
        return write(asked)

    assert of()[1] == of(Thinking("hm", "s", "other"))[1] == ["reasoning_effort"]
    assert of(Thinking("hm", "s", "up"))[0]["thinking"]["budget_tokens"] == 2048
