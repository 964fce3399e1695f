"""Deltas of the inner language laid out as Anthropic's blocks: one after the other, each opened and closed once.

Other protocols let tool calls be written at the same time, and come back to a call after something else. Here the
first one that is open goes out as it comes; what belongs behind it waits until it is complete.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import orjson

from tokenhub.domain.chat import Delta, JsonObject, TextDelta, ThinkingDelta, ToolUseDelta, ToolUseStart


@dataclass(slots=True, eq=False)
class _Block:
    start: JsonObject
    is_call: bool = False
    is_sealed: bool = False
    """Nothing can be added."""
    arguments: list[str] = field(default_factory=list)
    waiting: list[JsonObject] = field(default_factory=list)

    def is_complete(self) -> bool:
        """Whether nothing more can come: asked when another block is behind it."""
        if not self.is_call:
            return True
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            orjson.loads("".join(self.arguments))
        except orjson.JSONDecodeError:
            return False
        return True


class BlockSequence:
    """Turns deltas into the events of blocks. `has_calls`: whether a tool was called so far."""

    def __init__(self) -> None:
        self._queue: deque[_Block] = deque()
        """The first one is open; the others wait."""
        self._index = -1
        """The open block's."""
        self._calls: dict[int, _Block] = {}

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called so far."""
        return bool(self._calls)

    def add(self, delta: Delta) -> list[JsonObject]:
        """The events that go out now that this delta is there."""
        events: list[JsonObject] = []
        if isinstance(delta, TextDelta):
            if delta.text:
                self._put(self._last("text", events), {"type": "text_delta", "text": delta.text}, events)
        elif isinstance(delta, ThinkingDelta):
            self._think(delta, events)
        elif isinstance(delta, ToolUseStart):
            start = {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}}
            self._calls[delta.index] = self._append(_Block(start, is_call=True), events)
        else:
            self._call(delta, events)
        while len(self._queue) > 1 and self._queue[0].is_complete():
            self._close(events)
        return events

    def finish(self) -> list[JsonObject]:
        """The events that complete what is open and what waits."""
        events: list[JsonObject] = []
        while self._queue:
            self._close(events)
        return events

    def _think(self, delta: ThinkingDelta, events: list[JsonObject]) -> None:
        if delta.redacted:
            start = {"type": "redacted_thinking", "data": delta.signature}
            self._append(_Block(start, is_sealed=True), events)
            return
        if not delta.text and not delta.signature:
            return
        block = self._last("thinking", events)
        if delta.text:
            self._put(block, {"type": "thinking_delta", "thinking": delta.text}, events)
        if delta.signature:
            self._put(block, {"type": "signature_delta", "signature": delta.signature}, events)
            block.is_sealed = True

    def _call(self, delta: ToolUseDelta, events: list[JsonObject]) -> None:
        block = self._calls.get(delta.index)
        if block is None or block.is_sealed or not delta.arguments:
            return  # Behind a complete call only white space can come.
        block.arguments.append(delta.arguments)
        self._put(block, {"type": "input_json_delta", "partial_json": delta.arguments}, events)

    def _last(self, kind: str, events: list[JsonObject]) -> _Block:
        """The block that goes on, or a new one behind all others."""
        if self._queue and self._queue[-1].start["type"] == kind and not self._queue[-1].is_sealed:
            return self._queue[-1]
        start = {"type": "text", "text": ""} if kind == "text" else {"type": kind, "thinking": "", "signature": ""}
        return self._append(_Block(start), events)

    def _append(self, block: _Block, events: list[JsonObject]) -> _Block:
        self._queue.append(block)
        if len(self._queue) == 1:
            self._open(events)
        return block

    def _put(self, block: _Block, delta: JsonObject, events: list[JsonObject]) -> None:
        if block is self._queue[0]:
            events.append({"type": "content_block_delta", "index": self._index, "delta": delta})
        else:
            block.waiting.append(delta)

    def _open(self, events: list[JsonObject]) -> None:
        block = self._queue[0]
        self._index += 1
        events.append({"type": "content_block_start", "index": self._index, "content_block": block.start})
        for delta in block.waiting:
            events.append({"type": "content_block_delta", "index": self._index, "delta": delta})
        block.waiting = []

    def _close(self, events: list[JsonObject]) -> None:
        self._queue.popleft().is_sealed = True
        events.append({"type": "content_block_stop", "index": self._index})
        if self._queue:
            self._open(events)
