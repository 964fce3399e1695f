"""OpenAI's chat completions read: a whole answer, what was written in it, and its usage. Pure.

The request is in request.py, streamed events are in chunks.py, callers of another dialect in crossing.py; no HTTP and
no deadlines (client.py); what an error object means is in failures.py.
"""

from __future__ import annotations

from typing import Any

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import FinishReason, JsonObject, Reply, Usage
from tokenhub.providers.openai.failures import from_error_object
from tokenhub.providers.reading import MAX_DEPTH, bad_response, count, dump, load_object, text_size

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}
"""OpenAI's word -> ours; any other word is a "stop"."""

_WRITTEN_FIELDS = frozenset({"content", "refusal", "reasoning_content", "reasoning"})


# ---------------------------------------------------------------- whole answer


def read_reply(body: bytes, target: Target) -> Reply:
    """A whole answer. Raises what its error object means, or ProviderTransient (bad_response) if it is no chat
    completion."""
    raw, _ = load_object(body)
    raise_error_object(raw)
    choices = raw.get("choices")
    if not isinstance(choices, list) or not choices:
        raise bad_response("the provider's answer has no choices")
    text_bytes = 0
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise bad_response("a choice in the provider's answer has no message")
        text_bytes += written_bytes(message)
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        dump(raw)  # Refuses what could not be written again.
    raw["model"] = target.model.id
    return Reply(raw, "openai", read_usage(raw.get("usage")), text_bytes)


def raise_error_object(raw: JsonObject) -> None:
    """Raise what an error object means that came with a 200."""
    if raw.get("error"):
        raise from_error_object(raw["error"])
    if raw.get("object") == "error":
        raise from_error_object(raw)


def require_no_error(body: bytes) -> None:
    """Raise what an error object in the body means; ProviderTransient (bad_response) if the body is no JSON object."""
    raw, _ = load_object(body)
    raise_error_object(raw)


# ---------------------------------------------------------------- usage


def read_usage(usage: Any) -> Usage | None:
    """Token counts, or None where they cannot be believed: missing, negative, huge, not whole numbers."""
    if not isinstance(usage, dict):
        return None
    read, wrote = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if read is None or wrote is None:
        return None
    details_in, details_out = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    # DeepSeek has the cached part beside the counts, not in the details.
    cached = _part_count(details_in, "cached_tokens") or _part_count(usage, "prompt_cache_hit_tokens")
    reasoning = _part_count(details_out, "reasoning_tokens")
    if reasoning and usage.get("total_tokens") == read + wrote + reasoning:
        # xAI counts reasoning beside the completion; its own total says so.
        wrote += reasoning
    cached = min(cached, read)
    return Usage(
        input=read,
        output=wrote,
        cache_read=cached,
        cache_write=min(_part_count(details_in, "cache_write_tokens"), read - cached),
        reasoning=min(reasoning, wrote),
    )


def _part_count(details: Any, name: str) -> int:
    return (count(details.get(name)) or 0) if isinstance(details, dict) else 0


# ---------------------------------------------------------------- what was written


def written_bytes(message: JsonObject) -> int:
    """UTF-8 size of what the model wrote in a message or delta."""
    size = 0
    for name, value in message.items():
        if not value:
            continue
        if name in _WRITTEN_FIELDS:
            size += text_size(value) if isinstance(value, str) else _parts_bytes(value)
        elif name == "tool_calls":
            size += sum(_call_bytes(call.get("function")) for call in _objects(value))
        elif name == "function_call":
            size += _call_bytes(value)
        elif name == "audio" and isinstance(value, dict):
            size += text_size(value.get("transcript"))
    return size


def thinking_texts(part: JsonObject) -> list[str]:
    """The reasoning in a part of a content: Mistral's models put it there, in parts of its own."""
    return [inner["text"] for inner in _objects(part.get("thinking")) if isinstance(inner.get("text"), str)]


def _parts_bytes(parts: Any) -> int:
    return sum(
        text_size(part.get("text")) + sum(text_size(text) for text in thinking_texts(part)) for part in _objects(parts)
    )


def _call_bytes(function: Any) -> int:
    if not isinstance(function, dict):
        return 0
    return text_size(function.get("name")) + text_size(function.get("arguments"))


def _objects(value: Any) -> list[JsonObject]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
