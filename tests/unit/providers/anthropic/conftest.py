"""What the tests of this provider share: a target, commands of both kinds, and the events of a stream."""

from __future__ import annotations

from typing import Any

import orjson

from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.chat import ChatCommand, Message, Text


def a_target(upstream_name: str = "claude-sonnet-4-5", model: str = "sonnet", **fields: Any) -> Target:
    provider = Provider(id="up", type="anthropic", credential="sealed")
    return Target(provider, Model(id=model, provider_id="up", upstream_name=upstream_name, **fields))


def from_openai(*messages: Message, **fields: Any) -> ChatCommand:
    """A command of a caller who speaks another dialect."""
    return ChatCommand("openai", {"model": "sonnet"}, 100, list(messages) or [Message("user", [Text("hi")])], **fields)


def from_anthropic(**raw: Any) -> ChatCommand:
    """A command of a caller who speaks the same dialect."""
    body = {"model": "sonnet", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}], **raw}
    return ChatCommand("anthropic", body, 100, [Message("user", [Text("hi")])])


def message(*content: dict[str, Any], stop_reason: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": list(content),
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 4},
        **fields,
    }


def events_of(blocks: list[dict[str, Any]], stop_reason: str = "end_turn", step: int = 3) -> list[dict[str, Any]]:
    """The events with which the API streams such content, texts cut into pieces of `step` characters."""
    start = message(stop_reason=None, usage={"input_tokens": 9, "output_tokens": 1})
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        opened, deltas = _opened(block, step)
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": stop_reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": ending, "usage": {"output_tokens": 4}})
    return [*events, {"type": "message_stop"}]


def _opened(block: dict[str, Any], step: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in pieces(block["text"], step)]
    if block["type"] == "thinking":
        told = [{"type": "thinking_delta", "thinking": part} for part in pieces(block["thinking"], step)]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*told, signed]
    if block["type"] == "tool_use":
        parts = pieces(orjson.dumps(block["input"]).decode(), step) if block["input"] else []
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in ["", *parts]]
    return block, []


def pieces(text: str, step: int) -> list[str]:
    return [text[at : at + step] for at in range(0, len(text), step)]


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events)
