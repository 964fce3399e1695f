"""OpenAI's chat completions: the body to a command, the reply and its chunks to OpenAI's JSON.

`/v1/chat` (native.py) uses the same translation for what is inside its own body.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from flask import Blueprint, Response, request

from blueprints import guards
from blueprints.body import read_json
from blueprints.errors import error_object, status_of
from blueprints.headers import request_id
from blueprints.services import Departure, services
from tokenhub.domain.chat import (
    Block,
    ChatCommand,
    Dialect,
    Image,
    JsonObject,
    Media,
    Message,
    Reply,
    Role,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Usage,
)
from tokenhub.domain.keys import Caller
from tokenhub.domain.receipt import Receipt
from tokenhub.errors import Interruption, InvalidRequest, ProviderError, TokenHubError
from tokenhub.services.chat import ChatResult, ChatStream

bp = Blueprint("openai", __name__)

MAX_CHOICES = 128
MAX_OUTPUT_TOKENS = 100_000_000

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


@bp.post("/v1/chat/completions")
def create_completion() -> Response:
    """Answer an OpenAI chat completion request."""
    caller = guards.require_key("chat")
    body, size = read_json()
    answered = answer(load(body, size), caller)
    if isinstance(answered, Response):
        return answered
    return Response(
        orjson.dumps(with_usage(answered.reply)),
        headers=receipt_headers(answered.receipt),
        content_type="application/json",
    )


def answer(command: ChatCommand, caller: Caller) -> ChatResult | Response:
    """Let the command be answered: a whole result, or the response that streams it. Ends where the caller leaves."""
    environ, known = request.environ, services()
    line = known.departures.watch(environ)
    try:
        if command.stream:
            return present_stream(known.chat.stream(command, caller, request_id(environ), line), command, line)
        result = known.chat.complete(command, caller, request_id(environ), line)
    except BaseException:
        line.close()
        raise
    line.close()
    return result


# ---------------------------------------------------------------- in


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_int(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_stop(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (lambda v: isinstance(v, str) and len(v) <= 256 and v.isprintable(), "a model name"),
    "stream": (lambda v: isinstance(v, bool), "true or false"),
    "stream_options": (lambda v: isinstance(v, dict), "an object"),
    "max_tokens": (_is_int(1, MAX_OUTPUT_TOKENS), "a positive integer"),
    "max_completion_tokens": (_is_int(1, MAX_OUTPUT_TOKENS), "a positive integer"),
    "n": (_is_int(1, MAX_CHOICES), f"an integer between 1 and {MAX_CHOICES}"),
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "presence_penalty": (_is_number, "a number"),
    "frequency_penalty": (_is_number, "a number"),
    "seed": (lambda v: isinstance(v, int) and not isinstance(v, bool), "an integer"),
    "stop": (_is_stop, "a string or a list of strings"),
    "tools": (_is_list_of_objects, "a list of objects"),
    "tool_choice": (lambda v: isinstance(v, str | dict), "a string or an object"),
    "parallel_tool_calls": (lambda v: isinstance(v, bool), "true or false"),
    "response_format": (lambda v: isinstance(v, dict), "an object"),
    "logit_bias": (lambda v: isinstance(v, dict), "an object"),
    "logprobs": (lambda v: isinstance(v, bool), "true or false"),
    "top_logprobs": (_is_int(0, 1000), "an integer"),
    "metadata": (lambda v: isinstance(v, dict), "an object"),
    "user": (lambda v: isinstance(v, str), "a string"),
    "tokenhub": (lambda v: isinstance(v, dict), "an object"),
}
"""Known fields and what they take; null counts as absent. Fields that are not here pass through as they are."""


def load(body: JsonObject, body_bytes: int, *, dialect: Dialect = "openai") -> ChatCommand:
    """Check a chat completion body and make the command of it. Raises InvalidRequest naming the field."""
    for name, value in body.items():
        known = FIELDS.get(name)
        if known is not None and value is not None and not known[0](value):
            raise InvalidRequest(f"{name} must be {known[1]}", param=name)
    stream = bool(body.get("stream"))
    options = body.get("stream_options") or {}
    policy = body.pop("tokenhub", None) or {}
    return ChatCommand(
        dialect=dialect,
        raw=body,
        body_bytes=body_bytes,
        messages=load_messages(body.get("messages")),
        model=(body.get("model") or "").strip(),
        stream=stream,
        include_usage=stream and options.get("include_usage") is True,
        max_output_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        choices=body.get("n") or 1,
        policy=policy,
        not_forwarded=("stream_options",) if options and not stream else (),
    )


def load_messages(messages: Any) -> list[Message]:
    """Check messages and turn them into ordered blocks."""
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages is required and must be a non-empty list", param="messages")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Any, path: str) -> Message:
    if not isinstance(message, dict):
        raise InvalidRequest(f"{path} must be an object", param=path)
    raw_role = message.get("role")
    role = ROLES.get(raw_role) if isinstance(raw_role, str) else None
    if role is None:
        raise InvalidRequest(f"{path}.role must be one of {', '.join(ROLES)}", param=f"{path}.role")
    content = message.get("content")
    blocks: list[Block] = [Text(content)] if isinstance(content, str) else _parts(content, f"{path}.content")
    if role == "tool":
        tool_use_id = message.get("tool_call_id")
        blocks = [ToolResult(tool_use_id if isinstance(tool_use_id, str) else "", blocks)]
    elif role == "assistant":
        blocks = _reasoning(message) + blocks + _tool_calls(message.get("tool_calls"), f"{path}.tool_calls")
    elif not blocks:
        raise InvalidRequest(f"{path}.content is required", param=f"{path}.content")
    name = message.get("name")
    return Message(role, blocks, name if isinstance(name, str) else "")


def _reasoning(message: JsonObject) -> list[Block]:
    reasoning = message.get("reasoning_content")
    return [Thinking(reasoning)] if isinstance(reasoning, str) else []


def _parts(content: Any, path: str) -> list[Block]:
    if content is None:
        return []
    if not isinstance(content, list):
        raise InvalidRequest(f"{path} must be a string, a list of parts or null", param=path)
    return [_part(part, f"{path}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, path: str) -> Block:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise InvalidRequest(f"{path} must be an object with a type", param=path)
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise InvalidRequest(f"{path}.text must be a string", param=f"{path}.text")
        return Text(part["text"])
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str):
            raise InvalidRequest(f"{path}.image_url.url must be a string", param=f"{path}.image_url")
        return Image(url, str(image.get("detail") or "auto"))
    return Media(kind, part)


def _tool_calls(calls: Any, path: str) -> list[Block]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise InvalidRequest(f"{path} must be a list", param=path)
    return [_tool_call(call, f"{path}[{index}]") for index, call in enumerate(calls)]


def _tool_call(call: Any, path: str) -> Block:
    if not isinstance(call, dict) or not isinstance(call.get("id"), str):
        raise InvalidRequest(f"{path} must be an object with an id", param=path)
    function = call.get("function")
    if function is None:  # a custom tool: its input is text, not JSON arguments
        return Media(str(call.get("type")), call)
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest(f"{path}.function.name must be a string", param=path)
    arguments = function.get("arguments")
    return ToolUse(call["id"], function["name"], arguments if isinstance(arguments, str) else "")


# ---------------------------------------------------------------- out

SSE_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache"}


def receipt_headers(receipt: Receipt) -> dict[str, str]:
    """Who answered and why; on every answer that a model gave."""
    last = receipt.attempts[-1]
    headers = {
        "x-tokenhub-model": header_value(last.model),
        "x-tokenhub-provider": header_value(last.provider),
        "x-tokenhub-decision-id": receipt.id,
        "x-tokenhub-reason": last.reason,
        "X-Negotiated-Model": header_value(last.model),
    }
    if receipt.not_forwarded:
        headers["x-tokenhub-not-forwarded"] = header_value(", ".join(receipt.not_forwarded))
    return headers


def header_value(text: str) -> str:
    """Text that is safe in a header: Latin-1 without control characters, anything else as `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace").decode("latin-1")


def usage_object(usage: Usage) -> JsonObject:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def with_usage(reply: Reply) -> JsonObject:
    """The reply's JSON with the usage that is billed, where the provider's own could not be believed."""
    if reply.usage is not None and reply.usage.estimated:
        return {**reply.raw, "usage": usage_object(reply.usage)}
    return reply.raw


def present_stream(stream: ChatStream, command: ChatCommand, line: Departure) -> Response:
    """The stream as server-sent events in OpenAI's exact form; it closes the line."""
    response = Response(
        _Events(stream, command.include_usage, line),
        headers={**SSE_HEADERS, **receipt_headers(stream.receipt)},
        content_type="text/event-stream; charset=utf-8",
    )
    response.implicit_sequence_conversion = False
    return response


class _Events:
    """The lines of an event stream; closing it closes the chat stream, wherever it is."""

    def __init__(self, stream: ChatStream, include_usage: bool, line: Departure) -> None:
        self._stream = stream
        self._line = line
        self._include_usage = include_usage
        self._lines = self._read()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        self._line.close()
        self._stream.close()

    def _read(self) -> Iterator[bytes]:
        last: bytes = b"{}"
        try:
            for chunk in self._stream:
                if chunk.choice_count:
                    last = chunk.payload
                    yield b"data: %b\n\n" % self._payload(last, chunk.usage is not None)
        except (ProviderError, Interruption) as error:
            self._line.close()
            yield error_event(error)
            return
        self._line.close()
        if self._include_usage and self._stream.usage is not None:
            yield b"data: %b\n\n" % usage_chunk(last, self._stream.usage)
        yield b"data: [DONE]\n\n"

    def _payload(self, payload: bytes, has_usage: bool) -> bytes:
        """Usage stands in its own last event and only if asked for; elsewhere it is null or absent."""
        payload = payload.replace(b',"usage":null', b"")
        if has_usage or b'"usage"' in payload:  # in a text the quotes would be escaped
            body = orjson.loads(payload)
            body.pop("usage", None)
            payload = orjson.dumps(body)
        return payload.rstrip()[:-1] + b',"usage":null}' if self._include_usage else payload


def error_event(error: TokenHubError) -> bytes:
    """An error inside a stream: the object, with a numeric status, since the real one has been sent as 200."""
    return b"data: %b\n\n" % orjson.dumps({"error": {**error_object(error), "status": status_of(error)}})


def usage_chunk(like: bytes, usage: Usage) -> bytes:
    """The last event of a stream that asked for usage; id, created and model as in the others."""
    body = orjson.loads(like)
    head = {name: body[name] for name in ("id", "object", "created", "model") if name in body}
    return orjson.dumps({**head, "choices": [], "usage": usage_object(usage)})
