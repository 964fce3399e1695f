"""The body that an OpenAI-compatible server is sent. Pure.

Where the caller speaks the same dialect, their body passes with only what must change replaced; where not, it is
written from the inner language, and what has no place in this protocol is named by `not_carried`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import ChatCommand, JsonObject, Message, Parameters, Thinking, Tool, ToolChoice
from tokenhub.providers.openai.messages import openai_messages

SAME_SHAPE = frozenset({"openai", "native"})
"""Dialects whose bodies have OpenAI's shape."""

LOOSE_KEYWORDS = frozenset(
    {"allOf", "oneOf", "not", "if", "then", "else", "default", "patternProperties", "dependentRequired"}
)
"""What OpenAI refuses in a schema that it is to hold a model to."""

EFFORT_UP_TO_TOKENS = ((4_095, "low"), (16_383, "medium"))
"""Thinking with at most so many tokens is such an effort; with more it is "high"."""

COMPLETION_CAP_MODELS = re.compile(r"(.*/)?(o[1-9]|gpt-[5-9])([-.:@].*)?", re.IGNORECASE)
"""OpenAI's reasoning models, whoever serves them: they refuse `max_tokens`."""
EFFORT_MODELS = re.compile(
    r"(.*/)?(o1(?!-mini|-preview)|o[3-9]|gpt-([5-9]|oss)(?!.*-chat)|gemini-(2\.5|[3-9]))([-.:@].*)?", re.IGNORECASE
)
"""Models that take `reasoning_effort` at servers where others refuse a request that has it."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What servers of this protocol take differently."""

    cap_field: str = "max_tokens"
    """Where the cap on the output goes. Servers know `max_tokens` from the beginning, and one that ignores the newer
    `max_completion_tokens` would answer, and charge, without end. OpenAI's reasoning models refuse the older name with
    a 400 that costs nothing: COMPLETION_CAP_MODELS are told the newer one wherever they are."""
    is_dated: bool = False
    """Whether it knows neither `max_completion_tokens` nor `stream_options`."""
    takes_reasoning: bool = False
    """Whether the text of earlier reasoning goes back in `reasoning_content`."""
    takes_effort: bool = False
    """Whether `reasoning_effort` is harmless for every model; otherwise only EFFORT_MODELS are told."""
    efforts: Mapping[str, str] = field(default_factory=lambda: {"xhigh": "high", "max": "high"})
    """Words for effort that have to be said differently: those of few models, which others refuse."""


PLAIN = Manners()


def request_payload(command: ChatCommand, target: Target, *, stream: bool, manners: Manners = PLAIN) -> JsonObject:
    """The body to send. Raises ProviderFatal (blame "target") for content that only another protocol can carry."""
    name = target.model.upstream_name
    if command.dialect in SAME_SHAPE:
        payload = _own_body(command)
    else:
        messages = openai_messages(command.messages, with_reasoning=manners.takes_reasoning)
        payload = {"messages": messages, **crossing_fields(command, name, manners)}
    payload["model"] = name
    options = payload.pop("stream_options", None)
    payload.pop("stream", None)
    if stream:
        payload["stream"] = True
        if not manners.is_dated:
            payload["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return payload


def not_carried(command: ChatCommand, target: Target, manners: Manners = PLAIN) -> tuple[str, ...]:
    """The caller's top-level fields that `request_payload` has no place for."""
    if command.dialect in SAME_SHAPE:
        return ()
    given = command.parameters
    names = [*command.own_fields]
    if given.top_k is not None:
        names.append("top_k")
    if _wished_effort(given) and not _effort(given, target.model.upstream_name, manners):
        names.append("output_config" if given.effort else "thinking")
    return tuple(dict.fromkeys(names))


# ---------------------------------------------------------------- the same dialect


def _own_body(command: ChatCommand) -> JsonObject:
    payload = {name: value for name, value in command.raw.items() if name not in command.not_forwarded}
    if _has_thinking(command.messages):
        payload["messages"] = [_without_our_field(message) for message in payload["messages"]]
    return payload


def _has_thinking(messages: Sequence[Message]) -> bool:
    return any(
        isinstance(block, Thinking) for message in messages if message.role == "assistant" for block in message.blocks
    )


def _without_our_field(message: JsonObject) -> JsonObject:
    """The message without `thinking_blocks`, which are between our callers and us."""
    if "thinking_blocks" not in message:
        return message
    return {name: value for name, value in message.items() if name != "thinking_blocks"}


# ---------------------------------------------------------------- another dialect


def crossing_fields(command: ChatCommand, upstream_name: str, manners: Manners = PLAIN) -> JsonObject:
    """All that a command of another dialect says beside its messages, as OpenAI's fields."""
    given = command.parameters
    fields: JsonObject = {}
    if command.max_output_tokens is not None:
        is_new = COMPLETION_CAP_MODELS.fullmatch(upstream_name) and not manners.is_dated
        fields["max_completion_tokens" if is_new else manners.cap_field] = command.max_output_tokens
    if command.tools:  # without tools, what concerns them is refused
        fields |= _tool_fields(command.tools, given)
    fields |= _sampling_fields(given)
    response_format = _response_format(given)
    if response_format:
        fields["response_format"] = response_format
    effort = _effort(given, upstream_name, manners)
    if effort:
        fields["reasoning_effort"] = effort
    return fields


def _sampling_fields(given: Parameters) -> JsonObject:
    fields = {
        "temperature": given.temperature,
        "top_p": given.top_p,
        "stop": list(given.stop) or None,
        "seed": given.seed,
        "user": given.user or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tool_fields(tools: Sequence[Tool], given: Parameters) -> JsonObject:
    fields: JsonObject = {"tools": [_tool(tool) for tool in tools]}
    if given.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(given.tool_choice)
    if given.parallel_tools is not None:
        fields["parallel_tool_calls"] = given.parallel_tools
    return fields


def _tool(tool: Tool) -> JsonObject:
    function: JsonObject = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.schema:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | JsonObject:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(given: Parameters) -> JsonObject | None:
    if given.output_schema is not None:
        described: JsonObject = {"name": given.output_name or "answer", "schema": given.output_schema}
        if _can_be_strict(given.output_schema):
            described["strict"] = True
        return {"type": "json_schema", "json_schema": described}
    return {"type": "json_object"} if given.json_object else None


def _can_be_strict(schema: JsonObject) -> bool:
    """Whether OpenAI can hold a model to the schema: every object in it closed, and everything in it required.
    Where not, it refuses the request that asks for it."""
    return not any(_is_loose(node) for node in _objects(schema))


def _is_loose(node: JsonObject) -> bool:
    properties = node.get("properties")
    if LOOSE_KEYWORDS & node.keys():
        return True
    if not isinstance(properties, dict):
        return node.get("type") == "object"
    required = node.get("required")
    is_complete = isinstance(required, list) and all(name in required for name in properties)
    return node.get("additionalProperties") is not False or not is_complete


def _objects(value: Any) -> Iterator[JsonObject]:
    """Every object inside a JSON value, itself included; however deep."""
    left = [value]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)


# ---------------------------------------------------------------- effort


def _wished_effort(given: Parameters) -> str:
    """How much the caller wants reasoned, in OpenAI's words; "" where they do not say, or want none."""
    tokens = given.thinking_tokens
    if given.effort or not tokens:
        return given.effort
    return next((effort for most, effort in EFFORT_UP_TO_TOKENS if tokens <= most), "high")


def _effort(given: Parameters, upstream_name: str, manners: Manners) -> str:
    """The wished effort where the model can be told; to others it would be a reason to refuse the request."""
    wished = _wished_effort(given)
    if not manners.takes_effort and not EFFORT_MODELS.fullmatch(upstream_name):
        return ""
    return manners.efforts.get(wished, wished)
