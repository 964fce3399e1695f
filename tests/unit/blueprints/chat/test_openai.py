"""OpenAI's body becomes a command: every field checked, translated, or named as OpenAI's own."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from blueprints.chat import openai
from tests.fakes.answers import FakeStream, receipt
from tests.grammar import check_openai_completion, check_openai_stream, parse_events
from tokenhub.domain.chat import ChatCommand, Chunk, Parameters, Reply, Text, TextDelta, Tool, ToolChoice, Usage
from tokenhub.errors import InvalidRequest
from tokenhub.services.chat import ChatResult

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FUNCTION = {"type": "function", "function": {"name": "f", "description": "does", "parameters": SCHEMA, "strict": True}}


def load(**fields: Any) -> ChatCommand:
    body = {"messages": [USER], **fields}
    return openai.load(body, len(orjson.dumps(body)))


def test_unknown_fields_stay_in_the_raw_body() -> None:
    command = load(model=" m ", brand_new={"a": [1]}, store=False, verbosity=None)
    assert command.raw["brand_new"] == {"a": [1]}
    assert command.model == "m" and not command.stream
    assert command.own_fields == ("brand_new", "store")


def test_an_ordinary_body_has_no_fields_of_its_own() -> None:
    assert load(model="m", stream=True, temperature=0.5, max_tokens=5, stream_options={}).own_fields == ()


def test_what_routing_needs_is_read() -> None:
    command = load(stream=True, stream_options={"include_usage": True}, n=3, max_tokens=9, max_completion_tokens=7)
    assert command.stream and command.include_usage and command.choices == 3 and command.max_output_tokens == 7
    assert load(max_completion_tokens=7, max_tokens=9).max_output_tokens == 7
    assert load(max_completion_tokens=None, max_tokens=9).max_output_tokens == 9


def test_our_own_field_is_policy_and_is_not_forwarded() -> None:
    command = load(tokenhub={"mode": "cheap"})
    assert command.policy == {"mode": "cheap"} and "tokenhub" not in command.raw and command.own_fields == ()


def test_a_field_that_cannot_be_honoured_is_told() -> None:
    assert load(stream_options={"include_usage": True}).not_forwarded == ("stream_options",)
    assert load(stream=True, stream_options={"include_usage": True}).not_forwarded == ()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 1}, {"top_p": 1}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"seed": -1}, {"seed": -1}),
        ({"user": "u"}, {"user": "u"}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"reasoning_effort": "high"}, {"effort": "high"}),
        ({"parallel_tool_calls": False}, {"parallel_tools": False}),
        ({"tool_choice": "required"}, {"tool_choice": ToolChoice("required")}),
        ({"tool_choice": "none"}, {"tool_choice": ToolChoice("none")}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": ToolChoice("tool", "f")},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"json_object": True}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            {"output_schema": SCHEMA, "output_name": "n"},
        ),
    ],
)
def test_parameters_that_others_know_too_are_translated(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    command = load(**fields)
    assert command.parameters == Parameters(**expected) and command.own_fields == ()
    assert command.raw == {"messages": [USER], **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"presence_penalty": 1},
        {"frequency_penalty": 0.5},
        {"logit_bias": {"1": 2}},
        {"logprobs": True},
        {"top_logprobs": 2},
        {"metadata": {"a": "b"}},
        {"top_k": -1},
        {"tool_choice": "whatever"},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        {"response_format": {"type": "grammar"}},
        {"response_format": {"type": "json_schema"}},
        {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
    ],
)
def test_what_only_this_dialect_has_is_named_and_kept(fields: dict[str, Any]) -> None:
    command = load(**fields)
    assert command.own_fields == tuple(fields) and command.parameters == Parameters() and command.tools == []
    assert command.raw == {"messages": [USER], **fields}


def test_functions_are_tools_and_other_tools_are_named() -> None:
    assert load(tools=[FUNCTION]).tools == [Tool("f", "does", SCHEMA, True)]
    assert load(tools=[{"type": "function", "function": {"name": "g"}}]).tools == [Tool("g")]
    mixed = load(tools=[{"type": "web_search"}, FUNCTION])
    assert [tool.name for tool in mixed.tools] == ["f"] and mixed.own_fields == ("tools",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"model": 5}, "model"),
        ({"model": "a\r\nb"}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": 10**12}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"n": True}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"seed": "x"}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools"),
        ({"tools": [FUNCTION, {"type": "function", "function": {}}]}, "tools[1].function.name"),
        ({"tools": [{"type": "function"}]}, "tools[0].function.name"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"tokenhub": "cheap"}, "tokenhub"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("name", [name for name in openai.FIELDS if name != "messages"])
def test_null_counts_as_absent(name: str) -> None:
    command = load(**{name: None})
    assert command.own_fields == () and command.parameters == Parameters()


# ---------------------------------------------------------------- routes

BODY = {"model": "m", "messages": [USER]}


def test_a_completion_is_answered(hub: Any) -> None:
    hub.answer = ChatResult(Reply({}, "anthropic", Usage(3, 4), 1, [Text("hello")]), receipt())
    answer = hub.post("/v1/chat/completions", BODY, x_tokenhub_max_budget_usd="0.5")
    check_openai_completion(answer.json)
    assert answer.status_code == 200 and answer.json["choices"][0]["message"]["content"] == "hello"
    assert answer.headers["x-tokenhub-model"] == "m" and "request-id" not in answer.headers
    assert hub.commands[0].policy_headers == {"max_budget_usd": "0.5"} and hub.lines[0].closed == 1


def test_a_completion_is_streamed(hub: Any) -> None:
    chunks = [Chunk(b"", deltas=(TextDelta("hello"),)), Chunk(b"", finish_reason="stop")]
    stream = hub.answer = FakeStream(chunks, dialect="anthropic")
    answer = hub.post("/v1/chat/completions", {**BODY, "stream": True})
    check_openai_stream(parse_events(answer.data))
    assert answer.content_type == "text/event-stream; charset=utf-8" and answer.headers["x-tokenhub-provider"] == "p"
    answer.close()
    assert stream.closed == 1


def test_a_refusal_has_openai_s_shape(hub: Any) -> None:
    answer = hub.post("/v1/chat/completions", {**BODY, "n": 0})
    assert answer.status_code == 400 and answer.json["error"]["param"] == "n" and not hub.commands
