"""Streamed events of Anthropic's Messages API -> Chunk. Pure: bytes of one event in, what they say out.

Callers who speak the same dialect get the events as they came; for others each event is told in deltas, and an event
that says nothing to them is none.
"""

from __future__ import annotations

from typing import Any

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import (
    Chunk,
    Delta,
    Dialect,
    JsonObject,
    TextDelta,
    ThinkingDelta,
    ToolUseDelta,
    ToolUseStart,
)
from tokenhub.providers.anthropic.wire import (
    arguments_of,
    finish_reason,
    raise_error_object,
    read_usage,
    text_in,
    written_bytes,
)
from tokenhub.providers.reading import bad_response, dump, load_object

_STOP = b'{"type":"message_stop"}'


class MessageReader:
    """Reads the events of one stream: a `calls.EventReader`. Names of events are not needed: each tells its type."""

    def __init__(self, target: Target, dialect: Dialect) -> None:
        self.has_ended = False
        self._model = target.model.id
        self._is_same = dialect == "anthropic"
        self._start_usage: Any = None
        self._stop = _STOP
        self._blocks = _OpenBlocks()

    def read(self, payload: bytes) -> Chunk | None:
        """One event's data; None for what carries nothing for this caller. Raises what an error in it means, or
        ProviderTransient (bad_response)."""
        # "[DONE]" is said by servers that came from OpenAI's protocol.
        self.has_ended = self.has_ended or payload.startswith(b"[DONE]")
        if self.has_ended:
            return None
        raw, is_exact = load_object(payload)
        raise_error_object(raw)
        chunk = self._read(raw)
        if self._is_same:
            if chunk is not None and raw["type"] != "message_start":
                chunk.payload = payload if is_exact and b"\n" not in payload else dump(raw)
            return chunk
        if chunk is None or not (chunk.deltas or chunk.finish_reason or chunk.usage):
            return None
        chunk.payload = b""
        return chunk

    def last(self) -> Chunk | None:
        """The event that ends a message, for callers of the same dialect: also where a server forgot it."""
        return Chunk(self._stop) if self._is_same else None

    def _read(self, raw: JsonObject) -> Chunk | None:
        kind = raw.get("type")
        if kind == "content_block_delta":
            return self._delta(raw)
        if kind == "ping":
            return None
        if kind == "content_block_start":
            return self._block_start(raw)
        if kind == "content_block_stop":
            return Chunk(b"", deltas=() if self._is_same else self._blocks.end(raw.get("index")))
        if kind == "message_start":
            return self._message_start(raw)
        if kind == "message_delta":
            return self._message_delta(raw)
        if kind == "message_stop":
            self.has_ended = True
            self._stop = dump(raw)
            return None
        if not isinstance(kind, str):
            raise bad_response("an event of the provider's stream has no type")
        return Chunk(b"")

    def _message_start(self, raw: JsonObject) -> Chunk:
        message = _object(raw, "message")
        message["model"] = self._model
        self._start_usage = message.get("usage")
        usage = None
        if isinstance(self._start_usage, dict):
            # What it calls the output is a beginning: should the stream break, our own count is nearer to the truth.
            usage = read_usage([{**self._start_usage, "output_tokens": 0}])
        if self._is_same:
            return Chunk(dump(raw), usage=usage)
        return Chunk(b"", usage=usage, choice_count=0)

    def _block_start(self, raw: JsonObject) -> Chunk:
        block = _object(raw, "content_block")
        size = written_bytes(block)
        is_content = size > 0 or block.get("type") == "tool_use"
        deltas = () if self._is_same else self._blocks.begin(raw.get("index"), block)
        return Chunk(b"", text_bytes=size, is_content=is_content, deltas=deltas)

    def _delta(self, raw: JsonObject) -> Chunk:
        delta = _object(raw, "delta")
        size = written_bytes(delta)
        deltas = () if self._is_same else self._blocks.go_on(raw.get("index"), delta)
        return Chunk(b"", text_bytes=size, is_content=size > 0, deltas=deltas)

    def _message_delta(self, raw: JsonObject) -> Chunk:
        delta = _object(raw, "delta")
        chunk = Chunk(b"", finish_reason=finish_reason(delta.get("stop_reason")))
        if isinstance(raw.get("usage"), dict):
            chunk.usage = read_usage([self._start_usage, raw["usage"]])
        if isinstance(delta.get("stop_sequence"), str):
            chunk.stop_sequence = delta["stop_sequence"]
        if not self._is_same and chunk.finish_reason is None:
            chunk.choice_count = 0
        return chunk


class _OpenBlocks:
    """The tool calls of a stream: which block is which call, and what of its arguments was told."""

    def __init__(self) -> None:
        self._calls: dict[Any, int] = {}
        self._untold: dict[Any, str] = {}
        """Arguments of calls that began and were not told in pieces so far."""

    def begin(self, index: Any, block: JsonObject) -> tuple[Delta, ...]:
        match block.get("type"):
            case "tool_use" if isinstance(index, int):
                call = self._calls[index] = len(self._calls)
                self._untold[index] = arguments_of(block)
                return (ToolUseStart(call, text_in(block.get("id")), text_in(block.get("name"))),)
            case "text" if text_in(block.get("text")):
                return (TextDelta(block["text"]),)
            case "thinking" if text_in(block.get("thinking")) or text_in(block.get("signature")):
                return (ThinkingDelta(text_in(block.get("thinking")), text_in(block.get("signature"))),)
            case "redacted_thinking":
                return (ThinkingDelta(signature=text_in(block.get("data")), redacted=True),)
        return ()

    def go_on(self, index: Any, delta: JsonObject) -> tuple[Delta, ...]:
        match delta.get("type"):
            case "text_delta" if text_in(delta.get("text")):
                return (TextDelta(delta["text"]),)
            case "input_json_delta" if text_in(delta.get("partial_json")) and index in self._calls:
                self._untold.pop(index, None)
                return (ToolUseDelta(self._calls[index], delta["partial_json"]),)
            case "thinking_delta" if text_in(delta.get("thinking")):
                return (ThinkingDelta(delta["thinking"]),)
            case "signature_delta" if text_in(delta.get("signature")):
                return (ThinkingDelta(signature=delta["signature"]),)
        return ()

    def end(self, index: Any) -> tuple[Delta, ...]:
        """A call whose arguments came with its start, or that has none, is told here."""
        if isinstance(index, int) and index in self._untold:
            return (ToolUseDelta(self._calls[index], self._untold.pop(index)),)
        return ()


def _object(raw: JsonObject, name: str) -> JsonObject:
    value = raw.get(name)
    if not isinstance(value, dict):
        raise bad_response(f"an event of the provider's stream has no {name}")
    return value
