"""Answers in OpenAI's shape for callers of another dialect: said again in the inner language, whole or in deltas. Pure.

Only the first choice counts: other dialects have one answer to a request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from tokenhub.domain.chat import (
    Block,
    Chunk,
    Delta,
    FinishReason,
    JsonObject,
    Reply,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolUse,
)
from tokenhub.providers.openai.chunks import END, read_event
from tokenhub.providers.openai.tool_calls import ToolCalls, arguments_text, made_up_id
from tokenhub.providers.openai.wire import FINISH_REASONS, thinking_texts
from tokenhub.providers.reading import load_object

_STOP_FIELDS = ("stop_reason", "matched_stop")
"""Where vLLM and SGLang tell the stop text that was met; beside texts they have numbers of tokens there."""


# ---------------------------------------------------------------- whole answer


def cross_reply(reply: Reply, stops: Collection[str]) -> Reply:
    """Fill in what a reply in OpenAI's shape says in the inner language; `stops` are the caller's stop texts."""
    choice = _first(reply.raw["choices"]) or reply.raw["choices"][0]
    message = choice["message"]
    uses = list(_tool_uses(message, reply.raw.get("id")))
    reply.blocks = [*_written(message), *uses]
    reason, reply.stop_sequence = _finish(
        {**choice, "finish_reason": choice.get("finish_reason") or "stop"}, stops, bool(uses), _is_refusal(message)
    )
    reply.finish_reason = reason or "stop"
    return reply


def _written(message: JsonObject) -> Iterator[Block]:
    for delta in _texts(message):
        yield Text(delta.text) if isinstance(delta, TextDelta) else Thinking(delta.text)


def _tool_uses(message: JsonObject, answer_id: Any) -> Iterator[ToolUse]:
    calls = message.get("tool_calls")
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    if isinstance(message.get("function_call"), dict):
        found.append({"function": message["function_call"]})
    for number, call in enumerate(found):
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = call.get("id"), function.get("name")
        yield ToolUse(
            call_id if isinstance(call_id, str) and call_id else made_up_id(number, answer_id),
            name if isinstance(name, str) else "",
            arguments_text(function.get("arguments")),
        )


# ---------------------------------------------------------------- stream


class CrossingReader:
    """A `calls.EventReader`: the events of one stream as deltas; nothing of them is passed on as it came."""

    def __init__(self, stops: Collection[str]) -> None:
        self.has_ended = False
        self._stops = stops
        self._calls = ToolCalls()
        self._is_refusal = False

    def read(self, payload: bytes) -> Chunk | None:
        """One event's JSON; None for the one that ends the stream. Raises what an error object in it means, or
        ProviderTransient (bad_response)."""
        if payload.startswith(END):
            self.has_ended = True
            return None
        raw, _ = load_object(payload)
        chunk = read_event(raw)
        chunk.finish_reason = None  # of whichever choice it was
        choice = _first(raw.get("choices"))
        if choice is not None:
            self._read_choice(choice, raw.get("id"), chunk)
        return chunk

    def last(self) -> None:
        """Nothing follows."""

    def _read_choice(self, choice: JsonObject, answer_id: Any, chunk: Chunk) -> None:
        deltas: list[Delta] = []
        delta = choice.get("delta")
        if isinstance(delta, dict):
            self._is_refusal = self._is_refusal or _is_refusal(delta)
            deltas = [*_texts(delta), *self._calls.read(delta, answer_id)]
        chunk.finish_reason, chunk.stop_sequence = _finish(choice, self._stops, self._calls.begun > 0, self._is_refusal)
        if chunk.finish_reason:
            deltas += self._calls.rest(answer_id)
        chunk.deltas = tuple(deltas)


# ---------------------------------------------------------------- what both have


def _first(choices: Any) -> JsonObject | None:
    """The choice with index 0, which is also the index of one that has none."""
    return next((choice for choice in choices or () if not choice.get("index")), None)


def _texts(message: JsonObject) -> Iterator[TextDelta | ThinkingDelta]:
    """Reasoning and text of a message or delta, without what is empty."""
    # Some servers tell the same reasoning under both names.
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning and isinstance(reasoning, str):
        yield ThinkingDelta(reasoning)
    for name in ("content", "refusal"):
        value = message.get(name)
        if isinstance(value, list):
            yield from _parts(value)
        elif value and isinstance(value, str):
            yield TextDelta(value)


def _parts(parts: list[Any]) -> Iterator[TextDelta | ThinkingDelta]:
    for part in parts:
        if not isinstance(part, dict):
            continue
        thought = "".join(thinking_texts(part))
        if thought:
            yield ThinkingDelta(thought)
        if part.get("text") and isinstance(part["text"], str):
            yield TextDelta(part["text"])


def _is_refusal(message: JsonObject) -> bool:
    return isinstance(message.get("refusal"), str) and message["refusal"] != ""


def _finish(
    choice: JsonObject, stops: Collection[str], has_calls: bool, is_refusal: bool
) -> tuple[FinishReason | None, str | None]:
    """Why the choice ended, and the stop text that was met; None where it has not ended.

    OpenAI says "stop" also where a call that it was made to do, or a refusal, is all there is.
    """
    word = choice.get("finish_reason")
    if not word or not isinstance(word, str):
        return None, None
    reason = FINISH_REASONS.get(word, "stop")
    if reason != "stop":
        return reason, None
    for name in _STOP_FIELDS:
        met = choice.get(name)
        if isinstance(met, str) and met in stops:
            return "stop_sequence", met
    if has_calls:
        return "tool_use", None
    return ("content_filter" if is_refusal else "stop"), None
