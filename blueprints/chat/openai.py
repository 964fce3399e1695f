"""OpenAI's chat completions: the routes, and the body as a command.

`/v1/chat` (native.py) uses the same translation for what is inside its own body. Messages are read in
openai_messages.py, answers are written in openai_out.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from blueprints import guards
from blueprints.body import read_json
from blueprints.chat import answers, openai_out
from blueprints.chat.fields import (
    MAX_OUTPUT_TOKENS,
    SHARED,
    Field,
    is_any_int,
    is_bool,
    is_int,
    is_list_of_objects,
    is_list_of_texts,
    is_number,
    is_object,
    is_text,
    own,
    parameter,
    read_fields,
    structural,
)
from blueprints.chat.openai_messages import load_messages
from tokenhub.domain.chat import ChatCommand, Dialect, JsonObject, Tool, ToolChoice
from tokenhub.errors import InvalidRequest

bp = Blueprint("openai", __name__)

MAX_CHOICES = 128


@bp.post("/v1/chat/completions")
def create_completion() -> Response:
    """Answer an OpenAI chat completion request."""
    caller = guards.require_key("chat")
    body, size = read_json()
    command = load(body, size)
    answered = answers.answer(command, caller, openai_out.writer)
    if isinstance(answered, Response):
        return answered
    return answers.present(openai_out.completion(answered), answered.receipt)


def load(body: JsonObject, body_bytes: int, *, dialect: Dialect = "openai") -> ChatCommand:
    """Check a chat completion body and make the command of it. Raises InvalidRequest naming the field."""
    command = ChatCommand(dialect, body, body_bytes, load_messages(body.get("messages")))
    read_fields(command, FIELDS)
    body.pop("tokenhub", None)
    options = body.get("stream_options")
    if options:
        if command.stream:
            command.include_usage = options.get("include_usage") is True
        else:
            command.not_forwarded = ("stream_options",)
    return command


# ---------------------------------------------------------------- what the fields mean


def _put_max_tokens(command: ChatCommand, value: int) -> bool:
    command.max_output_tokens = command.raw.get("max_completion_tokens") or value
    return True


def _put_choices(command: ChatCommand, value: int) -> bool:
    command.choices = value
    return True


def _is_stop(value: Any) -> bool:
    return is_text(value) or is_list_of_texts(value)


def _put_stop(command: ChatCommand, value: str | list[str]) -> bool:
    command.parameters.stop = (value,) if isinstance(value, str) else tuple(value)
    return True


def _put_top_k(command: ChatCommand, value: Any) -> bool:
    """Not OpenAI's, but common among those who speak its protocol; they differ in what else than a count they take."""
    is_count = is_any_int(value) and value > 0
    command.parameters.top_k = value if is_count else None
    return is_count


def _put_tools(command: ChatCommand, value: list[JsonObject]) -> bool:
    """Functions are understood everywhere; tools of any other type only by OpenAI."""
    functions = [(index, tool.get("function")) for index, tool in enumerate(value) if tool.get("type") == "function"]
    command.tools = [_tool(function, f"tools[{index}].function") for index, function in functions]
    return len(functions) == len(value)


def _tool(function: Any, path: str) -> Tool:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{path}.name must be a string", param=f"{path}.name")
    description, schema, strict = function.get("description"), function.get("parameters"), function.get("strict")
    return Tool(
        name=function["name"],
        description=description if isinstance(description, str) else "",
        schema=schema if isinstance(schema, dict) else {},
        strict=strict if isinstance(strict, bool) else None,
    )


_TOOL_CHOICES = {"auto": ToolChoice("auto"), "required": ToolChoice("required"), "none": ToolChoice("none")}


def _put_tool_choice(command: ChatCommand, value: str | JsonObject) -> bool:
    if isinstance(value, str):
        choice = _TOOL_CHOICES.get(value)
    else:
        function = value.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        choice = ToolChoice("tool", name) if isinstance(name, str) else None
    command.parameters.tool_choice = choice
    return choice is not None


def _put_response_format(command: ChatCommand, value: JsonObject) -> bool:
    parameters, kind = command.parameters, value.get("type")
    if kind == "json_object":
        parameters.json_object = True
    elif kind == "json_schema":
        wrapped = value.get("json_schema")
        schema, name = (wrapped.get("schema"), wrapped.get("name")) if isinstance(wrapped, dict) else (None, None)
        parameters.output_schema = schema if isinstance(schema, dict) else None
        parameters.output_name = name if isinstance(name, str) else ""
        return parameters.output_schema is not None
    return kind in ("json_object", "text")


FIELDS: Mapping[str, Field] = {
    **SHARED,
    "stream_options": (is_object, "an object", structural),
    "max_tokens": (is_int(1, MAX_OUTPUT_TOKENS), "a positive integer", _put_max_tokens),
    "max_completion_tokens": (is_int(1, MAX_OUTPUT_TOKENS), "a positive integer", _put_max_tokens),
    "n": (is_int(1, MAX_CHOICES), f"an integer between 1 and {MAX_CHOICES}", _put_choices),
    "temperature": (is_number, "a number", parameter("temperature")),
    "top_p": (is_number, "a number", parameter("top_p")),
    "top_k": (lambda value: True, "a positive integer", _put_top_k),
    "stop": (_is_stop, "a string or a list of strings", _put_stop),
    "seed": (is_any_int, "an integer", parameter("seed")),
    "user": (is_text, "a string", parameter("user")),
    "tools": (is_list_of_objects, "a list of objects", _put_tools),
    "tool_choice": (lambda v: isinstance(v, str | dict), "a string or an object", _put_tool_choice),
    "parallel_tool_calls": (is_bool, "true or false", parameter("parallel_tools")),
    "response_format": (is_object, "an object", _put_response_format),
    "reasoning_effort": (is_text, "a string", parameter("effort")),
    "presence_penalty": (is_number, "a number", own),
    "frequency_penalty": (is_number, "a number", own),
    "logit_bias": (is_object, "an object", own),
    "logprobs": (is_bool, "true or false", own),
    "top_logprobs": (is_int(0, 1000), "an integer", own),
    "metadata": (is_object, "an object", own),
}
"""Known fields, what they take and what they mean. Fields that are not here pass through as they are."""
