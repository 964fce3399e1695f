"""Answers in Anthropic's shape: the provider's own where it speaks the same, else written from the inner language."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from blueprints.chat.answers import Writer
from blueprints.chat.anthropic_blocks import BlockSequence
from blueprints.errors import anthropic_error
from tokenhub.domain.chat import Block, ChatCommand, Chunk, FinishReason, JsonObject, Text, Thinking, ToolUse, Usage
from tokenhub.domain.receipt import Receipt
from tokenhub.errors import TokenHubError
from tokenhub.services.chat import ChatResult, ChatStream

STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_use": "tool_use",
    "content_filter": "refusal",
    "pause": "pause_turn",
}


def usage_object(usage: Usage) -> JsonObject:
    """Anthropic's usage object: what was read from a cache or written to one is not counted as input."""
    counts: JsonObject = {
        "input_tokens": usage.input - usage.cache_read - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def _stop(reason: FinishReason, sequence: str | None, *, has_calls: bool) -> JsonObject:
    """Why it ended. Who calls a tool stops for it here; elsewhere a call that was demanded ends with a plain stop."""
    if reason in ("stop", "tool_use"):
        reason = "tool_use" if has_calls else "stop"
    return {
        "stop_reason": STOP_REASONS[reason],
        "stop_sequence": sequence if reason == "stop_sequence" else None,
    }


def _head(receipt: Receipt) -> JsonObject:
    """What a message begins with."""
    return {
        "id": f"msg_{receipt.id.removeprefix('dec_')}",
        "type": "message",
        "role": "assistant",
        "model": receipt.attempts[-1].model,
    }


# ---------------------------------------------------------------- whole answer


def message(result: ChatResult) -> JsonObject:
    """The answer as a message, with the usage that is billed where the provider gave none to believe."""
    reply, usage = result.reply, result.reply.usage or Usage()
    if reply.dialect == "anthropic":
        return {**reply.raw, "usage": _corrected(reply.raw.get("usage"), usage)} if usage.estimated else reply.raw
    has_calls = any(isinstance(block, ToolUse) for block in reply.blocks)
    return {
        **_head(result.receipt),
        "content": list(_content(reply.blocks)),
        **_stop(reply.finish_reason, reply.stop_sequence, has_calls=has_calls),
        "usage": usage_object(usage),
    }


def _corrected(given: Any, usage: Usage) -> JsonObject:
    return {**(given if isinstance(given, dict) else {}), **usage_object(usage)}


def _content(blocks: Sequence[Block]) -> Iterator[JsonObject]:
    """What the model wrote. What only its own protocol can say is left out."""
    for block in blocks:
        if isinstance(block, Text):
            yield {"type": "text", "text": block.text}
        elif isinstance(block, ToolUse):
            yield {"type": "tool_use", "id": block.id, "name": block.name, "input": block.input()}
        elif isinstance(block, Thinking):
            if block.redacted:
                yield {"type": "redacted_thinking", "data": block.signature}
            else:
                yield {"type": "thinking", "thinking": block.text, "signature": block.signature}


# ---------------------------------------------------------------- stream


def writer(stream: ChatStream, command: ChatCommand) -> Writer:
    """Who writes this stream's events."""
    return Forwarder(stream.receipt) if stream.dialect == "anthropic" else EventWriter(stream.receipt)


def _event(data: JsonObject) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data))


MESSAGE_STOP = _event({"type": "message_stop"})

_TYPE = re.compile(rb'\{"type": ?"([a-z_]{1,64})"')
_NAME = re.compile(r"[a-z_]{1,64}", re.ASCII)
_ENDING = (b"message_delta", b"message_stop")


class Forwarder:
    """Passes on the events of a provider that speaks Anthropic's dialect itself.

    Those that end the message are held back until the books are closed, and until it is known whether their usage can
    be believed. A message that begins without usage gets our estimate: clients count on it.
    """

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt
        self._held: list[tuple[bytes, bytes]] = []

    def write(self, chunk: Chunk) -> bytes:
        """The provider's event with its name."""
        payload = chunk.payload
        found = _TYPE.match(payload)
        name = found[1] if found else _name_of(payload)
        if name in _ENDING:
            self._held.append((name, payload))
            return b""
        if name == b"message_start":
            payload = _with_first_usage(payload, self._receipt)
        held = self._release() if self._held else b""
        return b"%bevent: %b\ndata: %b\n\n" % (held, name, payload) if name else held

    def end(self, usage: Usage | None) -> bytes:
        """How the message ended."""
        has_stopped = any(name == b"message_stop" for name, _ in self._held)
        if usage is not None and usage.estimated:
            self._held = [
                (name, _with_usage(payload, usage) if name == b"message_delta" else payload)
                for name, payload in self._held
            ]
        return self._release() if has_stopped else self._release() + MESSAGE_STOP

    def broken(self, error: TokenHubError) -> bytes:
        """The error, and no end of the message."""
        return _event(anthropic_error(error, self._receipt.request_id))

    def _release(self) -> bytes:
        held, self._held = self._held, []
        return b"".join([b"event: %b\ndata: %b\n\n" % event for event in held])


def _name_of(payload: bytes) -> bytes:
    """The type of an event that does not begin with it; empty if it has none that could be a name."""
    data = orjson.loads(payload)
    kind = data.get("type") if isinstance(data, dict) else None
    return kind.encode() if isinstance(kind, str) and _NAME.fullmatch(kind) else b""


def _estimate(receipt: Receipt) -> JsonObject:
    """Usage at the start of a message: what was read is an estimate until the count comes at the end."""
    return usage_object(Usage(input=receipt.prepared.input_tokens if receipt.prepared else 0))


def _with_first_usage(payload: bytes, receipt: Receipt) -> bytes:
    data = orjson.loads(payload)
    begun = data.get("message")
    if not isinstance(begun, dict) or isinstance(begun.get("usage"), dict):
        return payload
    return orjson.dumps({**data, "message": {**begun, "usage": _estimate(receipt)}})


def _with_usage(payload: bytes, usage: Usage) -> bytes:
    data = orjson.loads(payload)
    return orjson.dumps({**data, "usage": _corrected(data.get("usage"), usage)})


class EventWriter:
    """Writes a message's events from the deltas of a provider that speaks another dialect."""

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt
        self._blocks = BlockSequence()
        self._is_open = False
        self._reason: FinishReason = "stop"
        self._sequence: str | None = None

    def write(self, chunk: Chunk) -> bytes:
        """The events that the chunk's deltas allow to be sent."""
        events = [event for delta in chunk.deltas for event in self._blocks.add(delta)]
        if chunk.finish_reason:
            self._reason = chunk.finish_reason
        if chunk.stop_sequence is not None:
            self._sequence = chunk.stop_sequence
        if not self._is_open:
            self._is_open = True
            events.insert(0, self._opening())
        return b"".join([_event(event) for event in events])

    def end(self, usage: Usage | None) -> bytes:
        """The end of the open blocks, why the message ended, and what it cost."""
        events = [] if self._is_open else [self._opening()]
        events += self._blocks.finish()
        said = _stop(self._reason, self._sequence, has_calls=self._blocks.has_calls)
        events.append({"type": "message_delta", "delta": said, "usage": usage_object(usage or Usage())})
        return b"".join([_event(event) for event in events]) + MESSAGE_STOP

    def broken(self, error: TokenHubError) -> bytes:
        """The error, and no end of the message."""
        return _event(anthropic_error(error, self._receipt.request_id))

    def _opening(self) -> JsonObject:
        """The message, still empty."""
        begun = {**_head(self._receipt), "content": [], "stop_reason": None, "stop_sequence": None}
        return {"type": "message_start", "message": {**begun, "usage": _estimate(self._receipt)}}
