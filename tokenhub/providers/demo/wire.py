"""A demo answer drafted, and written in OpenAI's shape: whole or as chunks. Pure; when it was made is an argument.

Another dialect is read and answered as at any OpenAI-compatible server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from tokenhub.domain import tokens
from tokenhub.domain.chat import ChatCommand, Chunk, JsonObject, Reply, ToolUse, Usage
from tokenhub.providers.demo.script import answer_text, forced_call, shaped
from tokenhub.providers.openai.crossing import CrossingReader, cross_reply
from tokenhub.providers.openai.request import SAME_SHAPE, crossing_fields
from tokenhub.providers.openai.wire import FINISH_REASONS

MAX_CHOICES = 8


@dataclass(frozen=True, slots=True)
class Draft:
    """What is going to be said. `pieces` (a token each) are words of text, or of a tool call's arguments."""

    id: str
    created_s: int
    model: str
    pieces: tuple[str, ...]
    call: ToolUse | None
    finish_reason: str
    choices: int
    usage: Usage
    stop: str | None = None
    """The stop text that the answer was cut at."""

    @property
    def text(self) -> str:
        """All pieces."""
        return "".join(self.pieces)


def draft(command: ChatCommand, *, model: str, answer_id: str, created_s: int, is_brief: bool) -> Draft:
    """Decide on the answer, within the caller's cap on output tokens and before their stop sequences."""
    asked = command.raw if command.dialect in SAME_SHAPE else crossing_fields(command, model)
    call = forced_call(asked)
    text, stop = (call.arguments, None) if call else _cut(shaped(asked, answer_text(command, is_brief=is_brief)), asked)
    pieces = re.findall(r"\s*\S+|\s+$", text)
    finish_reason = "tool_calls" if call else "stop"
    cap = command.max_output_tokens
    if cap is not None and len(pieces) > cap:
        pieces, finish_reason, stop = pieces[:cap], "length", None
    choices = min(max(command.choices, 1), MAX_CHOICES)
    usage = Usage(input=tokens.estimate_messages(command.messages), output=len(pieces) * choices)
    return Draft(answer_id, created_s, model, tuple(pieces), call, finish_reason, choices, usage, stop)


def _cut(text: str, asked: JsonObject) -> tuple[str, str | None]:
    """The text up to the first of the caller's stop texts, and which that was."""
    stops, met = asked.get("stop"), None
    for stop in [stops] if isinstance(stops, str) else stops if isinstance(stops, list) else []:
        if isinstance(stop, str) and stop and stop in text:
            text, met = text.partition(stop)[0], stop
    return text, met


def reply_to(command: ChatCommand, answer: Draft) -> Reply:
    """The answer in one, for the dialect of the caller."""
    reply = whole(answer)
    return reply if command.dialect in SAME_SHAPE else cross_reply(reply, command.parameters.stop)


def chunks_to(command: ChatCommand, answer: Draft) -> Iterator[Chunk]:
    """The answer in chunks, for the dialect of the caller."""
    if command.dialect in SAME_SHAPE:
        yield from chunks(answer)
        return
    reader = CrossingReader(command.parameters.stop)
    for written in chunks(answer):
        crossed = reader.read(written.payload)
        if crossed is not None:
            yield crossed


def whole(answer: Draft) -> Reply:
    """The answer in one, in OpenAI's shape."""
    message: JsonObject = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.call:
        message["content"] = None
        message["tool_calls"] = [_call(answer.call, answer.text)]
    raw = {
        **_head(answer, "chat.completion"),
        "choices": [
            {
                "index": index,
                "message": message,
                "finish_reason": answer.finish_reason,
                "logprobs": None,
                **_met(answer),
            }
            for index in range(answer.choices)
        ],
        "usage": _usage(answer.usage),
    }
    text_bytes = sum(len(piece.encode()) for piece in answer.pieces) * answer.choices
    return Reply(raw, "openai", answer.usage, text_bytes)


def chunks(answer: Draft) -> Iterator[Chunk]:
    """The answer in chunks, in OpenAI's shape: role, a piece each, the finish, the usage."""
    opening: JsonObject = {"role": "assistant", "content": None if answer.call else ""}
    if answer.call:
        opening["tool_calls"] = [{"index": 0, **_call(answer.call, "")}]
    for index in range(answer.choices):
        yield _chunk(answer, index, opening, is_content=answer.call is not None)
    for piece in answer.pieces:
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} if answer.call else {"content": piece}
        for index in range(answer.choices):
            yield _chunk(answer, index, delta, text_bytes=len(piece.encode()), is_content=True)
    for index in range(answer.choices):
        yield _chunk(answer, index, {}, finish_reason=answer.finish_reason)
    payload = {**_head(answer, "chat.completion.chunk"), "choices": [], "usage": _usage(answer.usage)}
    yield Chunk(orjson.dumps(payload), usage=answer.usage, choice_count=0)


def _chunk(
    answer: Draft,
    index: int,
    delta: JsonObject,
    *,
    text_bytes: int = 0,
    is_content: bool = False,
    finish_reason: str | None = None,
) -> Chunk:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    if finish_reason:
        choice |= _met(answer)
    payload = {**_head(answer, "chat.completion.chunk"), "choices": [choice], "usage": None}
    return Chunk(orjson.dumps(payload), text_bytes, is_content, FINISH_REASONS.get(finish_reason or ""))


def _met(answer: Draft) -> JsonObject:
    """Which stop text was met, as vLLM tells it."""
    return {"stop_reason": answer.stop} if answer.stop else {}


def _head(answer: Draft, kind: str) -> JsonObject:
    return {"id": answer.id, "object": kind, "created": answer.created_s, "model": answer.model}


def _call(call: ToolUse, arguments: str) -> JsonObject:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _usage(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
