"""How many tokens a text probably has (for routing) and can have at most (for reservations).

Estimates route, bounds reserve: an estimate is a heuristic per script, a bound is never less than what any
tokenizer gives, because a token is at least one byte of the request.
"""

from __future__ import annotations

from tokenhub.domain.chat import Block, ChatCommand, Image, Media, Message, Text, Thinking, ToolResult, ToolUse

LATIN_CHARS_PER_TOKEN = 4
MESSAGE_OVERHEAD_TOKENS = 4
IMAGE_ESTIMATE_TOKENS = 1_000
IMAGE_BOUND_TOKENS = 60_000
"""More than any image costs at the vendors read so far (the worst: 5,667 a 512-px tile, at most 8 tiles and base)."""


def estimate_text(text: str) -> int:
    """Tokens of a text: about one for four Latin characters, about one for each character of other scripts."""
    if text.isascii():
        return (len(text) + LATIN_CHARS_PER_TOKEN - 1) // LATIN_CHARS_PER_TOKEN
    # Two- and three-byte characters cost about one token each; the surplus bytes tell how many there are.
    wide = min(len(text), (len(text.encode("utf-8", "replace")) - len(text) + 1) // 2)
    return wide + (len(text) - wide + LATIN_CHARS_PER_TOKEN - 1) // LATIN_CHARS_PER_TOKEN


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
    return IMAGE_ESTIMATE_TOKENS


def estimate_messages(messages: list[Message]) -> int:
    """Tokens of a conversation, without its tools."""
    return sum(
        MESSAGE_OVERHEAD_TOKENS + sum(_estimate_block(block) for block in message.blocks) for message in messages
    )


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
