"""OpenAI's chat completions: ChatCommand -> request JSON, response JSON -> Reply, streamed event -> Chunk. Pure.

No HTTP and no deadlines (client.py); what an error object means is in failures.py.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import orjson

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import ChatCommand, Chunk, FinishReason, JsonObject, Reply, Usage
from tokenhub.errors import ProviderFatal, ProviderTransient
from tokenhub.providers.openai.failures import from_error_object
from tokenhub.providers.openai.messages import openai_messages

MAX_TOKENS = 1_000_000_000
"""A count from there on is no count."""
MAX_LENIENT_BYTES = 1 << 20
MAX_DEPTH: Final = 254
"""Deepest nesting that orjson writes."""

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}
"""OpenAI's word -> ours; any other word is a "stop"."""

_WRITTEN_FIELDS = ("content", "refusal", "reasoning_content", "reasoning")


# ---------------------------------------------------------------- request


def request_payload(command: ChatCommand, target: Target, *, stream: bool) -> JsonObject:
    """The body to send. A caller's own OpenAI body is kept but for the model and what concerns streaming."""
    if command.dialect == "anthropic":
        payload = _from_blocks(command)
    else:
        payload = {name: value for name, value in command.raw.items() if name not in command.not_forwarded}
    payload["model"] = target.model.upstream_name
    options = payload.pop("stream_options", None)
    payload.pop("stream", None)
    if stream:
        payload["stream"] = True
        payload["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return payload


def encode(payload: JsonObject) -> bytes:
    """JSON bytes of a request. Raises ProviderFatal (blame "caller") for what cannot be written."""
    try:
        return orjson.dumps(payload)
    except TypeError as error:
        raise ProviderFatal(
            "the request is nested too deeply or holds a value that JSON cannot carry",
            code="invalid_request",
            blame="caller",
        ) from error


def _from_blocks(command: ChatCommand) -> JsonObject:
    payload: JsonObject = {"messages": openai_messages(command.messages)}
    if command.max_output_tokens is not None:
        payload["max_tokens"] = command.max_output_tokens
    if command.choices > 1:
        payload["n"] = command.choices
    return payload


# ---------------------------------------------------------------- whole answer


def read_reply(body: bytes, target: Target) -> Reply:
    """A whole answer. Raises what its error object means, or ProviderTransient (bad_response) if it is no chat
    completion."""
    raw, _ = _load(body)
    _raise_error_object(raw)
    choices = raw.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _bad("the provider's answer has no choices")
    text_bytes = 0
    for choice in choices:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise _bad("a choice in the provider's answer has no message")
        text_bytes += _written_bytes(message)
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _refuse_too_deep(raw)
    raw["model"] = target.model.id
    return Reply(raw, "openai", read_usage(raw.get("usage")), text_bytes)


def _refuse_too_deep(raw: JsonObject) -> None:
    try:
        orjson.dumps(raw)
    except TypeError as error:
        raise _bad("the provider's answer is nested too deeply") from error


def read_usage(usage: Any) -> Usage | None:
    """Token counts, or None where they cannot be believed: missing, negative, huge, not whole numbers."""
    if not isinstance(usage, dict):
        return None
    read, wrote = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
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


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < MAX_TOKENS else None


def _part_count(details: Any, name: str) -> int:
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0


def _text_size(value: Any) -> int:
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else len(value.encode("utf-8", "replace"))


def _written_bytes(message: JsonObject) -> int:
    """UTF-8 size of what the model wrote in a message or delta."""
    size = 0
    for name in _WRITTEN_FIELDS:
        value = message.get(name)
        if isinstance(value, str):
            size += _text_size(value)
        elif isinstance(value, list):
            size += sum(_text_size(part.get("text")) for part in value if isinstance(part, dict))
    for call in _calls(message):
        function = call.get("function")
        if isinstance(function, dict):
            size += _text_size(function.get("name")) + _text_size(function.get("arguments"))
    audio = message.get("audio")
    return size + (_text_size(audio.get("transcript")) if isinstance(audio, dict) else 0)


def _calls(message: JsonObject) -> list[JsonObject]:
    calls = message.get("tool_calls")
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    if isinstance(message.get("function_call"), dict):
        found.append({"function": message["function_call"]})
    return found


# ---------------------------------------------------------------- stream


class ChunkReader:
    """Reads the events of one stream; keeps what is the same in all of them."""

    def __init__(self, target: Target) -> None:
        self._model = target.model.id
        self._reported = ""
        self._needle = b""
        self._replacement = b'"model":' + orjson.dumps(self._model)

    def read(self, payload: bytes) -> Chunk:
        """One event's JSON. Raises what an error object in it means, or ProviderTransient (bad_response)."""
        raw, is_exact = _load(payload)
        _raise_error_object(raw)
        choices = raw.get("choices")
        if choices is None:
            choices = []
        if not isinstance(choices, list):
            raise _bad("a chunk's choices are no list")
        chunk = Chunk(payload, choice_count=len(choices))
        for choice in choices:
            _read_choice(choice, chunk)
        chunk.is_content = chunk.is_content or chunk.text_bytes > 0
        if raw.get("usage") is not None:
            chunk.usage = read_usage(raw["usage"])
        chunk.payload = self._renamed(payload, raw, is_exact)
        return chunk

    def _renamed(self, payload: bytes, raw: JsonObject, is_exact: bool) -> bytes:
        """The event on one line with our name for the model: the bytes as they came wherever that is safe."""
        reported = raw.get("model")
        if is_exact and b"\n" not in payload and b"\r" not in payload:
            if reported == self._model:
                return payload
            if isinstance(reported, str):
                if reported != self._reported or not self._needle:
                    self._reported, self._needle = reported, b'"model":' + _dumps(reported)
                # Quotes in text are escaped in JSON, so only a key can look like this; one of them is the one.
                for needle in (self._needle, self._needle.replace(b":", b": ", 1)):
                    if payload.count(needle) == 1:
                        return payload.replace(needle, self._replacement)
        raw["model"] = self._model
        return _dumps(raw)


def _read_choice(choice: Any, chunk: Chunk) -> None:
    if not isinstance(choice, dict):
        raise _bad("a chunk's choice is no object")
    delta = choice.get("delta")
    if isinstance(delta, dict):
        chunk.text_bytes += _written_bytes(delta)
        if delta.get("tool_calls") or delta.get("function_call"):
            chunk.is_content = True
    if isinstance(choice.get("finish_reason"), str):
        chunk.finish_reason = FINISH_REASONS.get(choice["finish_reason"], "stop")


# ---------------------------------------------------------------- JSON


def _bad(message: str) -> ProviderTransient:
    return ProviderTransient(message, code="bad_response")


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise _bad("the provider's answer is nested too deeply") from error


def _raise_error_object(raw: JsonObject) -> None:
    if raw.get("error"):
        raise from_error_object(raw["error"])
    if raw.get("object") == "error":
        raise from_error_object(raw)


def require_no_error(body: bytes) -> None:
    """Raise what an error object in the body means; ProviderTransient (bad_response) if the body is no JSON object."""
    raw, _ = _load(body)
    _raise_error_object(raw)


def _load(payload: bytes) -> tuple[JsonObject, bool]:
    """A JSON object, and whether the bytes themselves are JSON that may be forwarded.

    Servers that write NaN into usage, or split a surrogate pair over two chunks, are understood all the same.
    """
    try:
        value, is_exact = orjson.loads(payload), True
    except orjson.JSONDecodeError:
        value, is_exact = _load_leniently(payload)
    if not isinstance(value, dict):
        raise _bad("the provider's answer is no JSON object")
    return value, is_exact


def _load_leniently(payload: bytes) -> tuple[Any, bool]:
    odd_numbers: list[str] = []

    def number(text: str) -> float | None:
        value = float(text)
        if math.isfinite(value):
            return value
        odd_numbers.append(text)
        return None

    if len(payload) <= MAX_LENIENT_BYTES:
        try:
            value = json.loads(payload.decode(), parse_float=number, parse_constant=number)
            clean = json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")
            return orjson.loads(clean), not odd_numbers
        except (ValueError, RecursionError):
            pass
    raise _bad("the provider's answer is not JSON")
