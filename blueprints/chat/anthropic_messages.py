"""Anthropic's messages and system text as ordered blocks. What stands beside them in the body is in anthropic.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from tokenhub.domain.chat import Block, Image, JsonObject, Media, Message, Role, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import InvalidRequest

ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def load_messages(system: Any, messages: Any) -> list[Message]:
    """Check the conversation and turn it into ordered blocks, the system text first. Raises InvalidRequest naming
    the place."""
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages is required and must be a non-empty list", param="messages")
    loaded = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    instructions = _content(system, "system") if system is not None else []
    return [Message("system", instructions), *loaded] if instructions else loaded


def _message(message: Any, path: str) -> Message:
    if not isinstance(message, dict):
        raise InvalidRequest(f"{path} must be an object", param=path)
    raw_role = message.get("role")
    role = ROLES.get(raw_role) if isinstance(raw_role, str) else None
    if role is None:
        raise InvalidRequest(f"{path}.role must be one of {', '.join(ROLES)}", param=f"{path}.role")
    return Message(role, _content(message.get("content"), f"{path}.content"))


def _content(content: Any, path: str) -> list[Block]:
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise InvalidRequest(f"{path} must be a string or a list of blocks", param=path)
    return [_block(block, f"{path}[{index}]") for index, block in enumerate(content)]


def _block(block: Any, path: str) -> Block:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise InvalidRequest(f"{path} must be an object with a type", param=path)
    read = _READERS.get(kind)
    return read(block, path) if read is not None else Media(kind, block)


def _text_of(block: JsonObject, name: str, path: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"{path}.{name} must be a string", param=f"{path}.{name}")
    return value


def _text(block: JsonObject, path: str) -> Block:
    return Text(_text_of(block, "text", path))


def _source(block: JsonObject, path: str) -> JsonObject:
    source = block.get("source")
    if not isinstance(source, dict):
        raise InvalidRequest(f"{path}.source must be an object", param=f"{path}.source")
    return source


def _image(block: JsonObject, path: str) -> Block:
    source = _source(block, path)
    if source.get("type") == "base64":
        media_type, data = (_text_of(source, name, f"{path}.source") for name in ("media_type", "data"))
        return Image(f"data:{media_type};base64,{data}")
    if source.get("type") == "url":
        return Image(_text_of(source, "url", f"{path}.source"))
    return Media("image", block)


def _document(block: JsonObject, path: str) -> Block:
    """Plain text is text, whoever answers; every other document only Anthropic understands."""
    source = _source(block, path)
    if source.get("type") == "text":
        return Text(_text_of(source, "data", f"{path}.source"))
    return Media("document", block)


def _tool_use(block: JsonObject, path: str) -> Block:
    given = block.get("input")
    if not isinstance(given, dict):
        raise InvalidRequest(f"{path}.input must be an object", param=f"{path}.input")
    try:
        arguments = orjson.dumps(given).decode()
    except TypeError as error:
        raise InvalidRequest(f"{path}.input is nested too deeply", param=f"{path}.input") from error
    return ToolUse(_text_of(block, "id", path), _text_of(block, "name", path), arguments)


def _tool_result(block: JsonObject, path: str) -> Block:
    content = block.get("content")
    answered = _content(content, f"{path}.content") if content is not None else []
    return ToolResult(_text_of(block, "tool_use_id", path), answered, block.get("is_error") is True)


def _thinking(block: JsonObject, path: str) -> Block:
    signature = block.get("signature")
    return Thinking(_text_of(block, "thinking", path), signature if isinstance(signature, str) else "")


def _redacted_thinking(block: JsonObject, path: str) -> Block:
    return Thinking("", _text_of(block, "data", path), redacted=True)


_READERS: dict[str, Callable[[JsonObject, str], Block]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted_thinking,
}
"""Blocks that other dialects know too. All others are carried as they came, for Anthropic's providers."""
