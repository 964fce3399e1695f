"""Anthropic's messages: the routes, and the body as a command.

Messages are read in anthropic_messages.py, answers are written in anthropic_out.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response, request

from blueprints import guards
from blueprints.body import read_json
from blueprints.chat import answers, anthropic_out
from blueprints.chat.anthropic_messages import load_messages
from blueprints.chat.fields import (
    MAX_OUTPUT_TOKENS,
    SHARED,
    Field,
    is_int,
    is_list_of_objects,
    is_list_of_texts,
    is_number_within,
    is_object,
    parameter,
    read_fields,
    structural,
)
from tokenhub.domain import tokens
from tokenhub.domain.chat import ChatCommand, JsonObject, Tool, ToolChoice
from tokenhub.errors import InvalidRequest

bp = Blueprint("anthropic", __name__)

_BETA = re.compile(r"[A-Za-z0-9._,\- ]{1,2048}", re.ASCII)


@bp.post("/v1/messages")
def create_message() -> Response:
    """Answer an Anthropic messages request."""
    caller = guards.require_key("chat")
    body, size = read_json()
    command = load(body, size, request.headers.get("anthropic-beta", ""))
    answered = answers.answer(command, caller, anthropic_out.writer)
    if isinstance(answered, Response):
        return answered
    return answers.present(anthropic_out.message(answered), answered.receipt)


@bp.post("/v1/messages/count_tokens")
def count_tokens() -> Response:
    """How many tokens a request has, as routing estimates it. Nothing is sent, reserved or charged."""
    guards.require_key("chat", fresh=True)
    body, size = read_json()
    counted = {"input_tokens": tokens.estimate_command(read(body, size))}
    return Response(orjson.dumps(counted), content_type="application/json")


def load(body: JsonObject, body_bytes: int, beta: str = "") -> ChatCommand:
    """Check a messages body and make the command of it. `beta`: the caller's anthropic-beta header. Raises
    InvalidRequest naming the field."""
    command = read(body, body_bytes)
    if command.max_output_tokens is None:
        raise InvalidRequest("max_tokens is required", param="max_tokens")
    if beta:
        if not _BETA.fullmatch(beta):
            raise InvalidRequest("anthropic-beta must be a list of feature names", param="anthropic-beta")
        command.headers["anthropic-beta"] = beta
    return command


def read(body: JsonObject, body_bytes: int) -> ChatCommand:
    """The command of a body that need not be complete: for counting, max_tokens may be missing."""
    messages = load_messages(body.get("system"), body.get("messages"))
    command = ChatCommand("anthropic", body, body_bytes, messages, include_usage=True)
    read_fields(command, FIELDS)
    body.pop("tokenhub", None)
    return command


# ---------------------------------------------------------------- what the fields mean


def _put_max_tokens(command: ChatCommand, value: int) -> bool:
    command.max_output_tokens = value
    return True


def _put_stop(command: ChatCommand, value: list[str]) -> bool:
    command.parameters.stop = tuple(value)
    return True


def _put_metadata(command: ChatCommand, value: JsonObject) -> bool:
    user = value.get("user_id")
    command.parameters.user = user if isinstance(user, str) else ""
    return True


def _put_tools(command: ChatCommand, value: list[JsonObject]) -> bool:
    """Tools of the caller's own are understood everywhere; those with a type of Anthropic's only there."""
    customs = [(index, tool) for index, tool in enumerate(value) if tool.get("type") in (None, "custom")]
    command.tools = [_tool(tool, f"tools[{index}]") for index, tool in customs]
    return len(customs) == len(value)


def _tool(tool: JsonObject, path: str) -> Tool:
    name, schema = tool.get("name"), tool.get("input_schema")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{path}.name must be a string", param=f"{path}.name")
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{path}.input_schema must be an object", param=f"{path}.input_schema")
    description, strict = tool.get("description"), tool.get("strict")
    return Tool(
        name=name,
        description=description if isinstance(description, str) else "",
        schema=schema,
        strict=strict if isinstance(strict, bool) else None,
    )


_TOOL_CHOICES = {"auto": ToolChoice("auto"), "any": ToolChoice("required"), "none": ToolChoice("none")}


def _put_tool_choice(command: ChatCommand, value: JsonObject) -> bool:
    kind, name = value.get("type"), value.get("name")
    if kind == "tool" and isinstance(name, str) and name:
        command.parameters.tool_choice = ToolChoice("tool", name)
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        command.parameters.tool_choice = _TOOL_CHOICES[kind]
    else:
        raise InvalidRequest("tool_choice.type must be auto, any, none, or tool with a name", param="tool_choice")
    if value.get("disable_parallel_tool_use") is True:
        command.parameters.parallel_tools = False
    return True


def _put_thinking(command: ChatCommand, value: JsonObject) -> bool:
    """How much to think. A way of thinking that is not known here is the provider's to understand."""
    kind, budget = value.get("type"), value.get("budget_tokens")
    if kind == "enabled":
        if not is_int(1, MAX_OUTPUT_TOKENS)(budget):
            raise InvalidRequest("thinking.budget_tokens must be a positive integer", param="thinking.budget_tokens")
        command.parameters.thinking_tokens = budget
    elif kind == "disabled":
        command.parameters.thinking_tokens = 0
    return kind in ("enabled", "disabled", "adaptive")


def _put_output_config(command: ChatCommand, value: JsonObject) -> bool:
    effort, output_format = value.get("effort"), value.get("format")
    if isinstance(effort, str):
        command.parameters.effort = effort
    return output_format is None or _put_output_format(command, output_format)


def _put_output_format(command: ChatCommand, value: Any) -> bool:
    schema = value.get("schema") if isinstance(value, dict) else None
    command.parameters.output_schema = schema if isinstance(schema, dict) else None
    return command.parameters.output_schema is not None


FIELDS: Mapping[str, Field] = {
    **SHARED,
    "system": (lambda value: True, "text", structural),
    "max_tokens": (is_int(1, MAX_OUTPUT_TOKENS), "a positive integer", _put_max_tokens),
    "temperature": (is_number_within(0, 1), "a number between 0 and 1", parameter("temperature")),
    "top_p": (is_number_within(0, 1), "a number between 0 and 1", parameter("top_p")),
    "top_k": (is_int(0, MAX_OUTPUT_TOKENS), "a whole number", parameter("top_k")),
    "stop_sequences": (is_list_of_texts, "a list of strings", _put_stop),
    "metadata": (is_object, "an object", _put_metadata),
    "tools": (is_list_of_objects, "a list of objects", _put_tools),
    "tool_choice": (is_object, "an object", _put_tool_choice),
    "thinking": (is_object, "an object", _put_thinking),
    "output_config": (is_object, "an object", _put_output_config),
    "output_format": (is_object, "an object", _put_output_format),
}
"""Known fields, what they take and what they mean. Fields that are not here pass through as they are."""
