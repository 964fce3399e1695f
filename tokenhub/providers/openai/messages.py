"""Messages of the inner language written in OpenAI's shape, for callers who speak another dialect. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenhub.domain.chat import Block, Image, JsonObject, Media, Message, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import ProviderFatal


def openai_messages(messages: Sequence[Message], *, with_reasoning: bool = False) -> list[JsonObject]:
    """The conversation in OpenAI's shape. Thinking is left out, as the protocol has no place for it, unless
    `with_reasoning`: then its text goes into `reasoning_content`.

    Raises ProviderFatal (blame "target") for content that only another protocol can carry.
    """
    return [written for message in messages for written in _written(message, with_reasoning)]


def _written(message: Message, with_reasoning: bool) -> Iterator[JsonObject]:
    if message.role == "assistant":
        yield _assistant(message, with_reasoning)
        return
    results = [block for block in message.blocks if isinstance(block, ToolResult)]
    for result in results:
        yield _tool_answer(result)
    # Pictures cannot stand in a tool's answer here, so they follow it as the user's.
    shown = [part for result in results for part in result.content if isinstance(part, Image)]
    others = [block for block in message.blocks if not isinstance(block, ToolResult)]
    if others or shown or not results:
        role = "user" if message.role == "tool" else message.role
        turn: JsonObject = {"role": role, "content": _content([*shown, *others])}
        if message.name:
            turn["name"] = message.name
        yield turn


def _assistant(message: Message, with_reasoning: bool) -> JsonObject:
    calls = [block for block in message.blocks if isinstance(block, ToolUse)]
    said = _content([block for block in message.blocks if not isinstance(block, ToolUse)])
    turn: JsonObject = {"role": "assistant", "content": None if calls and not said else said}
    if message.name:
        turn["name"] = message.name
    reasoning = "".join(block.text for block in message.blocks if isinstance(block, Thinking))
    if reasoning and with_reasoning:
        turn["reasoning_content"] = reasoning
    if calls:
        turn["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return turn


def _tool_answer(result: ToolResult) -> JsonObject:
    for part in result.content:
        if isinstance(part, Media):
            raise _unsupported(part)
    text = "\n".join(part.text for part in result.content if isinstance(part, Text))
    if result.is_error:
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": result.tool_use_id, "content": text}


def _content(blocks: Sequence[Block]) -> str | list[JsonObject]:
    """A single text as a string, which every server takes; otherwise parts in order."""
    parts = [part for part in (_part(block) for block in blocks) if part is not None]
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(block: Block) -> JsonObject | None:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        image = {"url": block.url} if block.detail == "auto" else {"url": block.url, "detail": block.detail}
        return {"type": "image_url", "image_url": image}
    if isinstance(block, Media):
        raise _unsupported(block)
    return None


def _unsupported(block: Media) -> ProviderFatal:
    return ProviderFatal(f"this provider's protocol has no place for {block.kind} content", code="unsupported_content")
