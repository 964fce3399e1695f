"""OpenAI's messages as ordered blocks. What stands beside them in the body is read in openai.py."""

from __future__ import annotations

from typing import Any

from tokenhub.domain.chat import Block, Image, JsonObject, Media, Message, Role, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import InvalidRequest

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def load_messages(messages: Any) -> list[Message]:
    """Check messages and turn them into ordered blocks. Raises InvalidRequest naming the place."""
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
    """The reasoning of an earlier answer as it is handed back: with its signatures, else its text alone."""
    signed = message.get("thinking_blocks")
    blocks = [_thinking(block) for block in signed if isinstance(block, dict)] if isinstance(signed, list) else []
    reasoning = message.get("reasoning_content")
    if not blocks and isinstance(reasoning, str):
        return [Thinking(reasoning)]
    return list(blocks)


def _thinking(block: JsonObject) -> Thinking:
    text, signature, issuer = (
        value if isinstance(value, str) else ""
        for value in (block.get("thinking"), block.get("signature") or block.get("data"), block.get("issuer"))
    )
    return Thinking(text, signature, issuer, block.get("type") == "redacted_thinking")


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
