"""The events of an OpenAI-compatible stream for callers of the same dialect: the bytes as they came, but for the
model's name. Pure, and the hottest path there is.

Most events of a stream differ in one piece of text only. Once an event has been read whole, another one like it is
known by its bytes (`Mould`), and only its text is parsed.
"""

from __future__ import annotations

from typing import Any

import orjson

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import Chunk, JsonObject
from tokenhub.providers.openai.wire import FINISH_REASONS, raise_error_object, read_usage, written_bytes
from tokenhub.providers.reading import bad_response, dump, load_object, text_size

END = b"[DONE]"
MAX_MOULDS = 4
"""How many moulds in a row may turn out useless: a server whose events differ elsewhere too is not worth more."""
_TEXT_FIELDS = ("content", "reasoning_content", "reasoning")


class ChunkReader:
    """A `calls.EventReader` of one stream; keeps what is the same in all of its events."""

    def __init__(self, target: Target) -> None:
        self.has_ended = False
        self._model = target.model.id
        self._reported = ""
        self._needle = b""
        self._replacement = b'"model":' + orjson.dumps(self._model)
        self._mould: Mould | None = None
        self._moulds_left = MAX_MOULDS

    def read(self, payload: bytes) -> Chunk | None:
        """One event's JSON; None for the one that ends the stream. Raises what an error object in it means, or
        ProviderTransient (bad_response)."""
        if self._mould is not None:
            chunk = self._mould.cast(payload)
            if chunk is not None:
                return chunk
        if payload.startswith(END):
            self.has_ended = True
            return None
        return self._read_whole(payload)

    def last(self) -> None:
        """Nothing follows."""

    def _read_whole(self, payload: bytes) -> Chunk:
        raw, is_exact = load_object(payload)
        chunk = read_event(raw, payload)
        chunk.payload = self._renamed(payload, raw, is_exact)
        if self._moulds_left and is_exact and chunk.choice_count == 1 and not chunk.finish_reason:
            self._learn(payload, raw, chunk)
        return chunk

    def _learn(self, payload: bytes, raw: JsonObject, chunk: Chunk) -> None:
        found = _only_text(raw)
        if found is None or text_size(found[1]) != chunk.text_bytes or raw.get("usage") is not None:
            return
        if self._mould is not None and self._mould.was_used:
            self._moulds_left = MAX_MOULDS
        self._moulds_left -= 1
        self._mould = Mould.of(payload, chunk, *found) or self._mould

    def _renamed(self, payload: bytes, raw: JsonObject, is_exact: bool) -> bytes:
        """The event on one line with our name for the model: the bytes as they came wherever that is safe."""
        reported = raw.get("model")
        if is_exact and b"\n" not in payload and b"\r" not in payload:
            if reported == self._model:
                return payload
            if isinstance(reported, str):
                if reported != self._reported or not self._needle:
                    self._reported, self._needle = reported, b'"model":' + dump(reported)
                # Quotes in text are escaped in JSON, so only a key can look like this; one of them is the one.
                for needle in (self._needle, self._needle.replace(b":", b": ", 1)):
                    if payload.count(needle) == 1:
                        return payload.replace(needle, self._replacement)
        raw["model"] = self._model
        return dump(raw)


class Mould:
    """An event without its text: what comes before and after it, as it arrives and as it is passed on. The quotes
    around the text belong to both."""

    __slots__ = ("_head", "_is_call", "_least", "_out_head", "_out_tail", "_start", "_stop", "_tail", "was_used")

    def __init__(self, head: bytes, tail: bytes, out_head: bytes, out_tail: bytes, *, is_call: bool) -> None:
        self.was_used = False
        self._is_call = is_call
        self._head, self._tail = head, tail
        self._out_head, self._out_tail = out_head[:-1], out_tail[1:]
        self._least = len(head) + len(tail)
        self._start, self._stop = len(head) - 1, 1 - len(tail) or None

    @classmethod
    def of(cls, payload: bytes, chunk: Chunk, field: str, text: str) -> Mould | None:
        """The mould of an event that has only this text in this field, or None where its place is not sure."""
        arrived, passed_on = _around(payload, field, text), _around(chunk.payload, field, text)
        return cls(*arrived, *passed_on, is_call=field == "arguments") if arrived and passed_on else None

    def cast(self, payload: bytes) -> Chunk | None:
        """The chunk of another event of this form, or None where it is not of this form."""
        if len(payload) < self._least or not (payload.startswith(self._head) and payload.endswith(self._tail)):
            return None
        quoted = payload[self._start : self._stop]
        try:
            text: str = orjson.loads(quoted)  # one string and nothing else, or it is not JSON
        except orjson.JSONDecodeError:
            return None
        self.was_used = True
        size = len(text) if text.isascii() else len(text.encode())
        return Chunk(self._out_head + quoted + self._out_tail, size, size > 0 or self._is_call)


def _around(payload: bytes, field: str, text: str) -> tuple[bytes, bytes] | None:
    """What comes before and after the text, if exactly one place can be it, and is."""
    for spelling in (f'"{field}":"'.encode(), f'"{field}": "'.encode()):
        needle = spelling + text.encode() + b'"'
        if payload.count(needle) == 1:
            before, _, after = payload.partition(needle)
            head, tail = before + spelling, b'"' + after
            # The same may be written in another place: try whether this is the one.
            return (head, tail) if _only_text(orjson.loads(head + b"~" + tail)) == (field, "~") else None
    return None


def _only_text(raw: JsonObject) -> tuple[str, str] | None:
    """The field and the text of an event that has one that is not empty: content, reasoning, or the arguments of one
    tool call."""
    delta = raw["choices"][0].get("delta")
    if not isinstance(delta, dict) or delta.get("function_call"):
        return None
    fields: tuple[str, ...] = _TEXT_FIELDS
    calls = delta.get("tool_calls")
    if calls:
        call = calls[0] if isinstance(calls, list) and len(calls) == 1 else None
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return None
        delta, fields = function, ("arguments",)
    return next(((name, delta[name]) for name in fields if delta.get(name) and isinstance(delta[name], str)), None)


# ---------------------------------------------------------------- one event


def read_event(raw: JsonObject, payload: bytes = b"") -> Chunk:
    """What an event's JSON says, whoever it is for. Raises what an error object in it means, or ProviderTransient
    (bad_response)."""
    raise_error_object(raw)
    choices = raw.get("choices")
    if choices is None:
        choices = []
    if not isinstance(choices, list):
        raise bad_response("a chunk's choices are no list")
    chunk = Chunk(payload, choice_count=len(choices))
    for choice in choices:
        _read_choice(choice, chunk)
    chunk.is_content = chunk.is_content or chunk.text_bytes > 0
    if raw.get("usage") is not None:
        chunk.usage = read_usage(raw["usage"])
    return chunk


def _read_choice(choice: Any, chunk: Chunk) -> None:
    if not isinstance(choice, dict):
        raise bad_response("a chunk's choice is no object")
    delta = choice.get("delta")
    if isinstance(delta, dict):
        chunk.text_bytes += written_bytes(delta)
        if delta.get("tool_calls") or delta.get("function_call"):
            chunk.is_content = True
    word = choice.get("finish_reason")
    if word and isinstance(word, str):
        chunk.finish_reason = FINISH_REASONS.get(word, "stop")
