"""Answers in OpenAI's shape: the provider's own where it speaks the same, else written from the inner language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from blueprints.chat.answers import Writer
from blueprints.errors import error_object, status_of
from tokenhub.domain.chat import (
    Block,
    ChatCommand,
    Chunk,
    Delta,
    FinishReason,
    JsonObject,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolUse,
    ToolUseStart,
    Usage,
)
from tokenhub.domain.receipt import Receipt
from tokenhub.errors import TokenHubError
from tokenhub.services.chat import ChatResult, ChatStream

FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
    "length": "length",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
}
DONE = b"data: [DONE]\n\n"


def usage_object(usage: Usage) -> JsonObject:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


# ---------------------------------------------------------------- whole answer


def completion(result: ChatResult) -> JsonObject:
    """The answer as a chat completion, with the usage that is billed where the provider gave none to believe."""
    reply, usage = result.reply, result.reply.usage or Usage()
    if reply.dialect == "anthropic":
        choice = {
            "index": 0,
            "message": _message(reply.blocks, result.receipt.attempts[-1].provider),
            "logprobs": None,
            "finish_reason": FINISH_REASONS[reply.finish_reason],
        }
        return {**_head(result.receipt, "chat.completion"), "choices": [choice], "usage": usage_object(usage)}
    if usage.estimated:
        return {**reply.raw, "usage": usage_object(usage)}
    return reply.raw


def _head(receipt: Receipt, kind: str) -> JsonObject:
    """What a completion and each of its chunks begin with."""
    return {
        "id": f"chatcmpl-{receipt.id.removeprefix('dec_')}",
        "object": kind,
        "created": receipt.created_at_ms // 1000,
        "model": receipt.attempts[-1].model,
    }


def _message(blocks: Sequence[Block], provider_id: str) -> JsonObject:
    """What the model wrote. What only its own protocol can say is left out."""
    texts = [block.text for block in blocks if isinstance(block, Text)]
    message: JsonObject = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    thoughts = [block for block in blocks if isinstance(block, Thinking)]
    if reasoning := "".join(thought.text for thought in thoughts):
        message["reasoning_content"] = reasoning
    signed = [thought for thought in thoughts if thought.signature]
    if signed:
        message["thinking_blocks"] = [
            _thinking_block(index, thought, provider_id) for index, thought in enumerate(signed)
        ]
    calls = [block for block in blocks if isinstance(block, ToolUse)]
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return message


def _thinking_block(index: int, thought: Thinking, provider_id: str) -> JsonObject:
    """Signed reasoning, as the caller is to hand it back: only its issuer can read the signature."""
    return {
        "index": index,
        "type": "redacted_thinking" if thought.redacted else "thinking",
        "thinking": thought.text,
        "signature": thought.signature,
        "issuer": provider_id,
    }


# ---------------------------------------------------------------- stream


def writer(stream: ChatStream, command: ChatCommand) -> Writer:
    """Who writes this stream's events."""
    if stream.dialect == "anthropic":
        return ChunkWriter(stream.receipt, command.include_usage)
    return Forwarder(command.include_usage)


def error_event(error: TokenHubError) -> bytes:
    """An error inside a stream: the object, with a numeric status, since the real one has been sent as 200."""
    return b"data: %b\n\n" % orjson.dumps({"error": {**error_object(error), "status": status_of(error)}})


class Forwarder:
    """Passes on the events of a provider that speaks OpenAI's dialect itself; only their usage is seen to.

    It stands in a last event of its own and only if asked for; elsewhere it is null or absent.
    """

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._last = b"{}"

    def write(self, chunk: Chunk) -> bytes:
        """The provider's event."""
        if not chunk.choice_count:
            return b""
        self._last = payload = chunk.payload
        payload = payload.replace(b',"usage":null', b"")
        if chunk.usage is not None or b'"usage"' in payload:  # in a text the quotes would be escaped
            body = orjson.loads(payload)
            body.pop("usage", None)
            payload = orjson.dumps(body)
        if self._include_usage:
            return b'data: %b,"usage":null}\n\n' % payload.rstrip()[:-1]
        return b"data: %b\n\n" % payload

    def end(self, usage: Usage | None) -> bytes:
        """The event with the usage, if it is asked for, and the end mark."""
        if not self._include_usage or usage is None:
            return DONE
        body = orjson.loads(self._last)
        head = {name: body[name] for name in ("id", "object", "created", "model") if name in body}
        return b"data: %b\n\n%b" % (orjson.dumps({**head, "choices": [], "usage": usage_object(usage)}), DONE)

    def broken(self, error: TokenHubError) -> bytes:
        """The error, and no end mark."""
        return error_event(error)


class ChunkWriter:
    """Writes chat completion chunks from the deltas of a provider that speaks another dialect."""

    def __init__(self, receipt: Receipt, include_usage: bool) -> None:
        self._provider_id = receipt.attempts[-1].provider
        self._include_usage = include_usage
        # Nothing but the delta differs between chunks.
        self._head = orjson.dumps(_head(receipt, "chat.completion.chunk"))[:-1]
        self._before = b'data: %b,"choices":[{"index":0,"delta":' % self._head
        self._null_usage = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._after = b',"logprobs":null,"finish_reason":null}]' + self._null_usage
        self._has_role = False
        self._thought: list[str] = []
        self._thinking_blocks = 0

    def write(self, chunk: Chunk) -> bytes:
        """One event for each delta that says something; the finish reason in an event of its own."""
        events = [event for delta in chunk.deltas for event in self._events(delta)]
        if chunk.finish_reason:
            reason = orjson.dumps(FINISH_REASONS[chunk.finish_reason])
            said = b"{}" if self._has_role else orjson.dumps(self._opened({}))
            events.append(
                b'%b%b,"logprobs":null,"finish_reason":%b}]%b' % (self._before, said, reason, self._null_usage)
            )
        return b"".join(events)

    def end(self, usage: Usage | None) -> bytes:
        """The event with the usage, if it is asked for, and the end mark."""
        if not self._include_usage or usage is None:
            return DONE
        return b'data: %b,"choices":[],"usage":%b}\n\n%b' % (self._head, orjson.dumps(usage_object(usage)), DONE)

    def broken(self, error: TokenHubError) -> bytes:
        """The error, and no end mark."""
        return error_event(error)

    def _events(self, delta: Delta) -> Iterable[bytes]:
        for said in self._said(delta):
            yield b"%b%b%b" % (self._before, orjson.dumps(said if self._has_role else self._opened(said)), self._after)

    def _opened(self, said: JsonObject) -> JsonObject:
        """The first delta also says whose words these are. Once: accumulators put texts together."""
        self._has_role = True
        return {"role": "assistant", "content": None, "refusal": None, **said}

    def _said(self, delta: Delta) -> Iterable[JsonObject]:
        """The delta in OpenAI's words."""
        if isinstance(delta, ThinkingDelta):
            yield from self._reasoned(delta)
            return
        self._thought.clear()
        if isinstance(delta, TextDelta):
            if delta.text:
                yield {"content": delta.text}
        elif isinstance(delta, ToolUseStart):
            yield _call(delta.index, {"name": delta.name, "arguments": ""}, id=delta.id, type="function")
        elif delta.arguments:
            yield _call(delta.index, {"arguments": delta.arguments})

    def _reasoned(self, delta: ThinkingDelta) -> Iterable[JsonObject]:
        """Reasoning as text while it comes; once it is signed, also whole and with its signature."""
        if delta.redacted:
            self._thought.clear()
        if delta.text:
            self._thought.append(delta.text)
            yield {"reasoning_content": delta.text}
        if delta.signature:
            thought = Thinking("".join(self._thought), delta.signature, redacted=delta.redacted)
            yield {"thinking_blocks": [_thinking_block(self._thinking_blocks, thought, self._provider_id)]}
            self._thinking_blocks += 1
            self._thought.clear()


def _call(index: int, function: JsonObject, **head: Any) -> JsonObject:
    """A fragment of a tool call."""
    return {"tool_calls": [{"index": index, **head, "function": function}]}
