"""Messages of the inner language written in Anthropic's shape, and a caller's own history cleaned. Pure.

The API insists on a form: the system apart, turns that are not empty, each tool call answered by exactly one result at
the beginning of the next turn, ids of letters, digits, `_` and `-`. Whatever comes is brought into that form.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from tokenhub.domain.chat import Block, Image, JsonObject, Media, Message, Text, Thinking, ToolResult, ToolUse
from tokenhub.errors import ProviderFatal

IMAGE_TYPES = {
    "image/jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/png": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
}
"""What callers write -> what the API takes."""

NO_RESULT = "This call was not answered."
ORPHAN = "The result of a tool call that is not shown:"
BEFORE = "(The conversation begins with the answer below.)"
THOUGHTS = ("thinking", "redacted_thinking")

_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE | re.ASCII)
_BAD_ID = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)

Turn = tuple[str, list[JsonObject]]


def write_conversation(messages: Sequence[Message], provider_id: str) -> tuple[str, list[JsonObject]]:
    """The system text ("" if there is none) and the turns.

    Raises ProviderFatal (blame "target") for content that only another protocol can carry.
    """
    system = "\n\n".join(_system_text(message) for message in messages if message.role == "system").strip()
    turns = list(_paired(_merged(_turn(message, provider_id) for message in messages if message.role != "system")))
    if not turns and system:
        system, turns = "", [("user", [_text(system)])]
    if turns and turns[0][0] == "assistant":
        turns.insert(0, ("user", [_text(BEFORE)]))
    if turns and turns[-1][0] == "assistant" and (last := turns[-1][1][-1])["type"] == "text":
        last["text"] = last["text"].rstrip()  # the beginning of the answer, which must not end in blanks
    return system, [{"role": role, "content": blocks} for role, blocks in turns]


def _system_text(message: Message) -> str:
    if not all(isinstance(block, Text) for block in message.blocks):
        raise _unsupported("content other than text in a system message")
    return "\n".join(block.text for block in message.blocks if isinstance(block, Text))


def _turn(message: Message, provider_id: str) -> Turn:
    blocks = _written(message.blocks, provider_id)
    if message.role != "assistant":
        return "user", blocks
    return "assistant", blocks if any(block["type"] not in THOUGHTS for block in blocks) else []


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}


# ---------------------------------------------------------------- blocks


def _written(blocks: Iterable[Block], provider_id: str) -> list[JsonObject]:
    return [written for block in blocks if (written := _block(block, provider_id)) is not None]


def _block(block: Block, provider_id: str) -> JsonObject | None:
    """None for what cannot be sent and is not missed: blank text, and thinking of somebody else."""
    match block:
        case Text(text):
            return _text(text) if text.strip() else None
        case Image():
            return _image(block)
        case ToolUse():
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input()}
        case ToolResult():
            return _tool_result(block, provider_id)
        case Thinking():
            return _thinking(block, provider_id)
        case Media():
            raise _unsupported(f"{block.kind} content")


def _image(image: Image) -> JsonObject:
    found = _DATA_URL.match(image.url)
    if found:
        media_type = IMAGE_TYPES.get(found[1].lower())
        if media_type is None:
            raise _unsupported(f"pictures of type {found[1][:40]}")
        data = image.url[found.end() :]
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    if not image.url.startswith(("https://", "http://")):
        raise _unsupported("pictures that are neither a web address nor base64 data")
    return {"type": "image", "source": {"type": "url", "url": image.url}}


def _tool_result(result: ToolResult, provider_id: str) -> JsonObject:
    content = _written(result.content, provider_id)
    written: JsonObject = {"type": "tool_result", "tool_use_id": result.tool_use_id}
    if content:
        written["content"] = content
    if result.is_error:
        written["is_error"] = True
    return written


def _thinking(thought: Thinking, provider_id: str) -> JsonObject | None:
    if not thought.signature or thought.issuer not in ("", provider_id):
        return None
    if thought.redacted:
        return {"type": "redacted_thinking", "data": thought.signature}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _unsupported(what: str) -> ProviderFatal:
    return ProviderFatal(f"this provider's protocol has no place for {what}", code="unsupported_content")


# ---------------------------------------------------------------- turns


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """Turns that alternate; what would be an empty one is left out."""
    merged: list[Turn] = []
    for role, blocks in turns:
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        elif blocks:
            merged.append((role, blocks))
    return merged


def _paired(turns: Iterable[Turn]) -> Iterator[Turn]:
    """The turns with every tool call answered by one result, first in the next turn."""
    used: set[str] = set()
    waiting: dict[str, deque[str]] = {}
    for role, blocks in turns:
        if role == "user":
            yield role, _answered(blocks, waiting)
            waiting = {}
        else:
            said = _in_order(blocks)
            waiting = _named(said, used)
            yield role, said
    if waiting:
        yield "user", _answered([], waiting)


def _in_order(blocks: list[JsonObject]) -> list[JsonObject]:
    """What an assistant said: calls last, so that their results follow at once, and never a thought at the end."""
    calls = [block for block in blocks if block["type"] == "tool_use"]
    said = [block for block in blocks if block["type"] != "tool_use"]
    while not calls and said[-1]["type"] in THOUGHTS:
        said.pop()
    return said + calls


def _named(blocks: list[JsonObject], used: set[str]) -> dict[str, deque[str]]:
    """Give every call an id that is valid and used once; the new ids by the old ones."""
    waiting: dict[str, deque[str]] = {}
    for block in blocks:
        if block["type"] == "tool_use":
            old = block["id"]
            block["id"] = _free_id(_BAD_ID.sub("_", old) or "call", used)
            waiting.setdefault(old, deque()).append(block["id"])
    return waiting


def _free_id(wanted: str, used: set[str]) -> str:
    number, free = len(used), wanted
    while free in used:
        number += 1
        free = f"{wanted}_{number}"
    used.add(free)
    return free


def _answered(blocks: list[JsonObject], waiting: dict[str, deque[str]]) -> list[JsonObject]:
    results: list[JsonObject] = []
    others: list[JsonObject] = []
    for block in blocks:
        if block["type"] != "tool_result":
            others.append(block)
        elif ids := waiting.get(block["tool_use_id"]):
            results.append({**block, "tool_use_id": ids.popleft()})
        else:
            others += [_text(ORPHAN), *block.get("content", [_text("(empty)")])]
    for ids in waiting.values():
        for missing in ids:
            content = [_text(NO_RESULT)]
            results.append({"type": "tool_result", "tool_use_id": missing, "content": content, "is_error": True})
    return results + others


# ---------------------------------------------------------------- a history in Anthropic's shape


def tools_named(messages: Iterable[JsonObject]) -> list[str]:
    """Names of the tools that a written history calls, each once."""
    blocks = (block for message in messages for block in message["content"])
    return list(dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use"))


def may_think(messages: Sequence[JsonObject]) -> bool:
    """Whether the model may think with a budget now: where tools were just answered, the turn that called them has to
    begin with a thought."""
    if not messages or not any(block.get("type") == "tool_result" for block in _blocks_of(messages[-1])):
        return True
    said = next(
        (turn for turn in reversed(messages) if isinstance(turn, dict) and turn.get("role") == "assistant"), None
    )
    first = next(_blocks_of(said), {})
    return first.get("type") in THOUGHTS


def _blocks_of(message: object) -> Iterator[JsonObject]:
    content = message.get("content") if isinstance(message, dict) else None
    return (block for block in content if isinstance(block, dict)) if isinstance(content, list) else iter(())


def without_unsigned_thinking(messages: list[JsonObject]) -> list[JsonObject]:
    """A caller's own history without thoughts that nobody signed (another provider's), and without turns that held
    nothing else. The same list where there are none; nothing is changed in place."""
    cleaned = [_signed(message) for message in messages]
    if all(new is old for new, old in zip(cleaned, messages, strict=True)):
        return messages
    return [new for new, old in zip(cleaned, messages, strict=True) if new is old or new["content"]]


def _signed(message: JsonObject) -> JsonObject:
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return message
    if not any(_is_unsigned(block) for block in _blocks_of(message)):
        return message
    return {**message, "content": [block for block in message["content"] if not _is_unsigned(block)]}


def _is_unsigned(block: object) -> bool:
    if not isinstance(block, dict) or block.get("type") not in THOUGHTS:
        return False
    return not block.get("data" if block["type"] == "redacted_thinking" else "signature")
