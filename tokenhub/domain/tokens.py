"""How many tokens a text probably has (for routing) and can have at most (for reservations).

Estimates route, bounds reserve: an estimate is a heuristic per script, a bound is never less than what any
tokenizer gives, because a token is at least one byte of the request.
"""

from __future__ import annotations

import orjson

from tokenhub.domain.chat import (
    Block,
    ChatCommand,
    Image,
    JsonObject,
    Media,
    Message,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)

LATIN_CHARS_PER_TOKEN = 4
MESSAGE_OVERHEAD_TOKENS = 4
TOOL_OVERHEAD_TOKENS = 8
IMAGE_ESTIMATE_TOKENS, SMALL_IMAGE_ESTIMATE_TOKENS = 1_000, 100
IMAGE_BOUND_TOKENS = 60_000
"""More than any image costs at the vendors read so far (the worst: 5,667 a 512-px tile, at most 8 tiles and base)."""


def _others(*ranges: tuple[int, int]) -> bytes:
    """All bytes but those in the ranges: what is to be deleted so that only those are left."""
    kept = {byte for first, last in ranges for byte in range(first, last + 1)}
    return bytes(byte for byte in range(256) if byte not in kept)


_SCRIPTS = (
    (_others((0xC2, 0xDF)), 45),  # Accented Latin, Greek, Cyrillic, Hebrew, Arabic: a few letters a token.
    (_others((0xE0, 0xE1)), 60),  # India's scripts, Thai, Georgian, Khmer.
    (_others((0xE2, 0xE9), (0xEE, 0xEF)), 100),  # Chinese, Japanese, punctuation.
    (_others((0xEA, 0xED)), 70),  # Korean.
    (_others((0xF0, 0xF4)), 200),  # Emoji and what is rare.
)
"""By the first byte of a character in UTF-8: what is not such a byte, and how many tokens a hundred characters have."""


def estimate_text(text: str) -> int:
    """Tokens of a text, by its scripts: about one for four ASCII characters, about one for each Chinese one."""
    if text.isascii():
        return (len(text) + LATIN_CHARS_PER_TOKEN - 1) // LATIN_CHARS_PER_TOKEN
    encoded = text.encode("utf-8", "replace")
    hundredths, plain = 0, len(text)
    for others, weight in _SCRIPTS:
        count = len(encoded.translate(None, others))
        hundredths += count * weight
        plain -= count
    return (hundredths + plain * (100 // LATIN_CHARS_PER_TOKEN) + 99) // 100


def estimate_bytes(text_bytes: int) -> int:
    """Tokens of text known only by its UTF-8 size."""
    return -(-text_bytes // LATIN_CHARS_PER_TOKEN)


def _estimate_block(block: Block) -> int:
    if isinstance(block, Text):
        return estimate_text(block.text)
    if isinstance(block, ToolUse):
        return estimate_text(block.arguments) + estimate_text(block.name)
    if isinstance(block, ToolResult):
        return sum(_estimate_block(part) for part in block.content)
    if isinstance(block, Thinking):
        return estimate_text(block.text)
    if isinstance(block, Image) and block.detail == "low":
        return SMALL_IMAGE_ESTIMATE_TOKENS
    return IMAGE_ESTIMATE_TOKENS


def estimate_messages(messages: list[Message]) -> int:
    """Tokens of a conversation, without its tools."""
    return sum(
        MESSAGE_OVERHEAD_TOKENS + sum(_estimate_block(block) for block in message.blocks) for message in messages
    )


def estimate_command(command: ChatCommand) -> int:
    """Tokens of all that a model reads: the conversation, the tools, the schema of the answer."""
    tokens = estimate_messages(command.messages)
    for tool in command.tools:
        tokens += TOOL_OVERHEAD_TOKENS + estimate_text(tool.name) + estimate_text(tool.description)
        tokens += _estimate_json(tool.schema)
    if command.parameters.output_schema is not None:
        tokens += _estimate_json(command.parameters.output_schema)
    return tokens


def _estimate_json(value: JsonObject) -> int:
    """Tokens of JSON text; what JSON cannot say (a lone surrogate) is left to the provider to refuse."""
    try:
        return estimate_bytes(len(orjson.dumps(value)))
    except TypeError:
        return estimate_bytes(len(repr(value)))


def has_images(command: ChatCommand) -> bool:
    """Whether the model would have to see."""
    return any(isinstance(block, Image) for block in _blocks(command))


def _blocks(command: ChatCommand) -> list[Block]:
    return [
        part
        for message in command.messages
        for block in message.blocks
        for part in (block.content if isinstance(block, ToolResult) else (block,))
    ]


def bound_input(command: ChatCommand) -> int | None:
    """The most tokens the provider can count for what is sent; None if nothing bounds it (a file by reference)."""
    images = 0
    for block in _blocks(command):
        if isinstance(block, Image):
            images += 1
        elif isinstance(block, Media) and block.kind not in _BOUNDED_MEDIA:
            return None
    return command.body_bytes + images * IMAGE_BOUND_TOKENS


_BOUNDED_MEDIA = frozenset({"input_audio", "refusal"})
"""Media whose tokens are fewer than the bytes they are sent in."""
