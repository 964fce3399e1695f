"""Anthropic's Messages API: ChatCommand -> request JSON, response JSON -> Reply, usage. Pure.

What a request's parameters become is in parameters.py, its conversation in messages.py, streamed events in stream.py.
No HTTP and no deadlines (client.py); what an error object means is in failures.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import (
    Block,
    ChatCommand,
    Dialect,
    FinishReason,
    JsonObject,
    Reply,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from tokenhub.providers.anthropic.failures import from_error_object
from tokenhub.providers.anthropic.messages import may_think, without_unsigned_thinking, write_conversation
from tokenhub.providers.anthropic.parameters import output_limit, write_parameters
from tokenhub.providers.reading import MAX_DEPTH, bad_response, count, dump, load_object, text_size

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_use",
    "refusal": "content_filter",
    "pause_turn": "pause",
}
"""Anthropic's word -> ours; any other word is a "stop"."""


# ---------------------------------------------------------------- request


def request_payload(command: ChatCommand, target: Target, *, stream: bool) -> tuple[JsonObject, tuple[str, ...]]:
    """The body to send, and the caller's top-level fields that are not in it. A caller's own Anthropic body is kept
    but for the model, what concerns streaming, and thinking that the API would refuse.

    Raises ProviderFatal (blame "target") for what this protocol cannot say.
    """
    payload, dropped = _kept(command, target) if command.dialect == "anthropic" else _translated(command, target)
    payload["model"] = target.model.upstream_name
    payload.pop("stream", None)
    if stream:
        payload["stream"] = True
    return payload, tuple(dict.fromkeys(dropped))


def _kept(command: ChatCommand, target: Target) -> tuple[JsonObject, list[str]]:
    left_out = {*command.not_forwarded, "tokenhub"}
    payload = {name: value for name, value in command.raw.items() if name not in left_out}
    payload.setdefault("max_tokens", output_limit(command, target))
    given = payload.get("messages")
    if not isinstance(given, list):
        return payload, []
    payload["messages"] = messages = without_unsigned_thinking(given)
    thinking = payload.get("thinking")
    if messages is not given and isinstance(thinking, dict) and thinking.get("type") == "enabled":
        # With a budget, a turn whose tools were just answered has to begin with its thought, and that is gone.
        if not may_think(messages):
            del payload["thinking"]
            return payload, ["thinking"]
    return payload, []


def _translated(command: ChatCommand, target: Target) -> tuple[JsonObject, list[str]]:
    system, messages = write_conversation(command.messages, target.provider.id)
    payload: JsonObject = {"messages": messages}
    dropped = [*command.own_fields, *write_parameters(payload, command, target)]
    if command.parameters.json_object and command.parameters.output_schema is None:
        system = f"{system}\n\nAnswer with one JSON object and nothing else.".lstrip()
    if system:
        payload["system"] = system
    return payload, dropped


# ---------------------------------------------------------------- whole answer


def read_reply(body: bytes, target: Target, dialect: Dialect) -> Reply:
    """A whole answer, for a caller who speaks `dialect`. Raises what its error object means, or ProviderTransient
    (bad_response) if it is no message."""
    raw, _ = load_object(body)
    raise_error_object(raw)
    content = raw.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise bad_response("the provider's answer has no content")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        dump(raw)
    raw["model"] = target.model.id
    stop_sequence = raw.get("stop_sequence")
    return Reply(
        raw,
        "anthropic",
        read_usage([raw.get("usage")]),
        sum(written_bytes(block) for block in content),
        blocks=[] if dialect == "anthropic" else list(_blocks(content, target.provider.id)),
        finish_reason=finish_reason(raw.get("stop_reason")) or "stop",
        stop_sequence=stop_sequence if isinstance(stop_sequence, str) else None,
    )


def raise_error_object(raw: JsonObject) -> None:
    """Raise what an error object in an answer or event means."""
    if raw.get("error") or raw.get("type") == "error":
        raise from_error_object(raw.get("error") or raw)


def require_no_error(body: bytes) -> None:
    """Raise what an error object in the body means; ProviderTransient (bad_response) if the body is no JSON object."""
    raise_error_object(load_object(body)[0])


def finish_reason(stop_reason: Any) -> FinishReason | None:
    """Ours for Anthropic's word; None where none is given."""
    return FINISH_REASONS.get(stop_reason, "stop") if isinstance(stop_reason, str) else None


def written_bytes(block: JsonObject) -> int:
    """UTF-8 size of what the model wrote in a content block or delta."""
    size = text_size(block.get("text")) + text_size(block.get("thinking")) + text_size(block.get("partial_json"))
    if "input" in block:
        size += text_size(block.get("name")) + (len(dump(block["input"])) if block["input"] else 0)
    return size


def text_in(value: Any) -> str:
    """A text, or "" for anything else."""
    return value if isinstance(value, str) else ""


def arguments_of(tool_use: JsonObject) -> str:
    """The input of a tool call as JSON text."""
    given = tool_use.get("input")
    return dump({} if given is None else given).decode()


def _blocks(content: Iterable[JsonObject], issuer: str) -> Iterable[Block]:
    """What every dialect can tell; results of Anthropic's own tools cannot be, and are not asked for by others."""
    for block in content:
        match block.get("type"):
            case "text":
                yield Text(text_in(block.get("text")))
            case "thinking":
                yield Thinking(text_in(block.get("thinking")), text_in(block.get("signature")), issuer)
            case "redacted_thinking":
                yield Thinking("", text_in(block.get("data")), issuer, redacted=True)
            case "tool_use":
                yield ToolUse(text_in(block.get("id")), text_in(block.get("name")), arguments_of(block))


# ---------------------------------------------------------------- usage


def read_usage(told: Iterable[Any]) -> Usage | None:
    """Token counts from one usage object, or from several of one stream; None where they cannot be believed.

    Counts are cumulative: they never shrink, and what a later object does not tell stays as it was. Some servers tell
    the input at the start of a stream, some at its end, and 0 at the other place.
    """
    objects = [usage for usage in told if isinstance(usage, dict)]
    fresh, wrote = _largest(objects, "input_tokens"), _largest(objects, "output_tokens")
    if fresh is None or wrote is None:
        return None
    read = _largest(objects, "cache_read_input_tokens") or 0
    created = _largest(objects, "cache_creation_input_tokens") or 0
    lasting = [usage["cache_creation"] for usage in objects if isinstance(usage.get("cache_creation"), dict)]
    details = [
        usage["output_tokens_details"] for usage in objects if isinstance(usage.get("output_tokens_details"), dict)
    ]
    return Usage(
        input=fresh + read + created,
        output=wrote,
        cache_read=read,
        cache_write=created,
        cache_write_1h=min(_largest(lasting, "ephemeral_1h_input_tokens") or 0, created),
        reasoning=min(_largest(details, "thinking_tokens") or 0, wrote),
    )


def _largest(objects: Iterable[Mapping[str, Any]], name: str) -> int | None:
    """The largest count under this name; None where none is told, or one that cannot be true."""
    told = [usage[name] for usage in objects if usage.get(name) is not None]
    counts = [number for number in map(count, told) if number is not None]
    return max(counts) if counts and len(counts) == len(told) else None
