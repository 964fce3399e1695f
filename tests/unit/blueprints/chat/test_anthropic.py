"""Anthropic's body becomes a command: every field checked, translated, or named as Anthropic's own."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from blueprints.chat import anthropic
from tests.fakes.answers import FakeStream, receipt
from tests.grammar import check_anthropic_error, check_anthropic_message, check_anthropic_stream, parse_events
from tokenhub.domain.chat import (
    ChatCommand,
    Chunk,
    Message,
    Parameters,
    Reply,
    Text,
    TextDelta,
    Tool,
    ToolChoice,
    Usage,
)
from tokenhub.errors import InvalidRequest, Unavailable
from tokenhub.services.chat import ChatResult

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"name": "f", "description": "does", "input_schema": SCHEMA, "strict": True, "cache_control": {}}


def load(beta: str = "", **fields: Any) -> ChatCommand:
    body = {"max_tokens": 9, "messages": [USER], **fields}
    return anthropic.load(body, len(orjson.dumps(body)), beta)


def test_what_routing_needs_is_read() -> None:
    command = load(model="m", stream=True, system="be brief", tokenhub={"mode": "cheap"})
    assert command.dialect == "anthropic" and command.model == "m" and command.stream
    assert command.max_output_tokens == 9 and command.policy == {"mode": "cheap"} and "tokenhub" not in command.raw
    assert command.messages == [Message("system", [Text("be brief")]), Message("user", [Text("hi")])]
    assert command.own_fields == () and command.choices == 1


def test_unknown_fields_stay_in_the_raw_body() -> None:
    command = load(service_tier="auto", container=None, mcp_servers=[{}])
    assert command.raw["mcp_servers"] == [{}] and command.own_fields == ("service_tier", "mcp_servers")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"top_p": 1}, {"top_p": 1}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"stop_sequences": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"metadata": {"user_id": None}}, {}),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": ToolChoice("auto")}),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": ToolChoice("required")}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": ToolChoice("none")}),
        (
            {"tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
            {"tool_choice": ToolChoice("tool", "f"), "parallel_tools": False},
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking_tokens": 2000}),
        ({"thinking": {"type": "disabled"}}, {"thinking_tokens": 0}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"output_config": {"effort": "low"}}, {"effort": "low"}),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {"output_schema": SCHEMA}),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, {"output_schema": SCHEMA}),
    ],
)
def test_parameters_that_others_know_too_are_translated(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    command = load(**fields)
    assert command.parameters == Parameters(**expected) and command.own_fields == ()
    assert command.raw == {"max_tokens": 9, "messages": [USER], **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "auto"},
        {"context_management": {}},
        {"thinking": {"type": "between_tools"}},
        {"output_config": {"format": {"type": "grammar"}}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ],
)
def test_what_only_this_dialect_has_is_named_and_kept(fields: dict[str, Any]) -> None:
    command = load(**fields)
    assert command.own_fields == tuple(fields) and command.parameters == Parameters() and command.tools == []
    assert command.raw == {"max_tokens": 9, "messages": [USER], **fields}


def test_tools_of_the_caller_are_tools_and_the_server_s_are_named() -> None:
    assert load(tools=[TOOL, {**TOOL, "type": "custom"}]).tools == [Tool("f", "does", SCHEMA, True)] * 2
    mixed = load(tools=[{"type": "bash_20250124", "name": "bash"}, TOOL])
    assert [tool.name for tool in mixed.tools] == ["f"] and mixed.own_fields == ("tools",)


def test_beta_features_are_carried_for_providers_of_this_dialect() -> None:
    assert load("a-2025-01-01,b-2025-02-02").headers == {"anthropic-beta": "a-2025-01-01,b-2025-02-02"}
    assert load().headers == {}
    with pytest.raises(InvalidRequest):
        load("a\r\nx-api-key: y")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"system": 5}, "system"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": 1.1}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"top_p": "x"}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": "a"}, "stop_sequences"),
        ({"metadata": "u"}, "metadata"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"tool_choice": {"type": ["any"]}}, "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": "yes"}, "thinking"),
        ({"tokenhub": "cheap"}, "tokenhub"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(**fields)
    assert caught.value.param == param


def test_for_counting_no_cap_is_needed() -> None:
    assert anthropic.read({"messages": [USER]}, 10).messages == [Message("user", [Text("hi")])]


# ---------------------------------------------------------------- routes

BODY = {"model": "m", "max_tokens": 9, "messages": [USER]}


def test_a_message_is_answered(hub: Any) -> None:
    hub.answer = ChatResult(Reply({}, "openai", Usage(3, 4), 1, [Text("hello")]), receipt())
    answer = hub.post("/v1/messages", BODY, anthropic_beta="a-2025-01-01", x_tokenhub_mode="cheap")
    check_anthropic_message(answer.json)
    assert answer.status_code == 200 and answer.json["content"] == [{"type": "text", "text": "hello"}]
    assert answer.headers["x-tokenhub-model"] == "m" and answer.headers["request-id"]
    [command] = hub.commands
    assert command.headers == {"anthropic-beta": "a-2025-01-01"} and command.policy_headers == {"mode": "cheap"}
    assert hub.lines[0].closed == 1


def test_a_message_is_streamed(hub: Any) -> None:
    stream = hub.answer = FakeStream([Chunk(b"", deltas=(TextDelta("hello"),)), Chunk(b"", finish_reason="stop")])
    answer = hub.post("/v1/messages", {**BODY, "stream": True})
    check_anthropic_stream(parse_events(answer.data))
    assert answer.content_type == "text/event-stream; charset=utf-8" and answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-tokenhub-provider"] == "p"
    answer.close()
    assert stream.closed == 1


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "kind"),
    [
        ("", BODY, {"x_api_key": "wrong"}, 401, "authentication_error"),
        ("", {**BODY, "max_tokens": None}, {}, 400, "invalid_request_error"),
        ("", "no object", {}, 400, "invalid_request_error"),
        ("", {**BODY, "system": "x" * 11_000}, {}, 413, "request_too_large"),
        ("/count_tokens", BODY, {"x_api_key": "wrong"}, 401, "authentication_error"),
        ("/count_tokens", {}, {}, 400, "invalid_request_error"),
        ("/batches", BODY, {}, 404, "not_found_error"),
    ],
)
def test_every_refusal_has_anthropic_s_shape(
    hub: Any, path: str, body: Any, headers: dict[str, str], status: int, kind: str
) -> None:
    answer = hub.post(f"/v1/messages{path}", body, **headers)
    check_anthropic_error(answer.json)
    assert answer.status_code == status and answer.json["error"]["type"] == kind and not hub.commands


def test_a_failure_before_the_first_event_has_its_status(hub: Any) -> None:
    hub.answer = Unavailable("the books are closed")
    answer = hub.post("/v1/messages", {**BODY, "stream": True})
    check_anthropic_error(answer.json)
    assert answer.status_code == 503 and answer.json["error"]["type"] == "overloaded_error"
    assert hub.lines[0].closed == 1


def test_tokens_are_counted_with_nothing_asked(hub: Any) -> None:
    short = hub.post("/v1/messages/count_tokens", {"messages": [USER]}).json
    long = hub.post("/v1/messages/count_tokens", {**BODY, "system": "be brief " * 50, "tools": [TOOL]}).json
    assert set(short) == {"input_tokens"} and 0 < short["input_tokens"] < long["input_tokens"] and not hub.commands
