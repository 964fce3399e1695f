"""Anthropic's dialect: how an answer looks whole and streamed, and how errors are worded.

Which requests are refused is in `anthropic_rules.py`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.upstream.answers import Answer, Ask, Event, JsonObject, Refused, Usage, encode, fragments
from tests.upstream.anthropic_rules import check as check

NAME = "anthropic"
END = b""
TEXT_KEY = b'"text": "'
REQUEST_ID = "request-id"

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def usage(count: Usage) -> JsonObject:
    """A count in this dialect: what came from the cache, and what was put there, is not in `input_tokens`."""
    found: JsonObject = {
        "input_tokens": count.prompt - count.cached - count.cache_write,
        "cache_creation_input_tokens": count.cache_write,
        "cache_read_input_tokens": count.cached,
        "output_tokens": count.completion,
        "service_tier": "standard",
    }
    return found | ({"output_tokens_details": {"thinking_tokens": count.reasoning}} if count.reasoning else {})


def odd_usage(prompt: Any, output: Any) -> JsonObject:
    """A count that nobody can believe."""
    return {"input_tokens": prompt, "output_tokens": output}


def stop_reason(answer: Answer) -> str:
    """Why the answer ends."""
    return "stop_sequence" if answer.stop_sequence is not None else _STOP_REASONS[answer.finish_reason]


def blocks(answer: Answer) -> list[JsonObject]:
    """The content of a whole answer."""
    found: list[JsonObject] = []
    if answer.thinking:
        found.append({"type": "thinking", "thinking": "".join(answer.thinking), "signature": answer.signature})
    if answer.sealed:
        found.append({"type": "redacted_thinking", "data": answer.sealed})
    if answer.pieces:
        found.append({"type": "text", "text": "".join(answer.pieces)})
    found += [
        {"type": "tool_use", "id": call_id, "name": name, "input": json.loads(arguments)}
        for call_id, name, arguments in answer.tool_calls
    ]
    return found


def completion(ask: Ask, answer: Answer, usage: Any) -> JsonObject:
    """A whole answer; `usage` None leaves the field out."""
    body: JsonObject = {
        "id": f"msg_{ask.digest}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": blocks(answer),
        "stop_reason": stop_reason(answer),
        "stop_sequence": answer.stop_sequence,
    }
    return body if usage is None else body | {"usage": usage}


def _event(name: str, is_content: bool = False, **fields: Any) -> Event:
    return Event(encode({"type": name, **fields}), is_content, name)


def _block(index: int, start: JsonObject, deltas: list[JsonObject], *, starts_content: bool = False) -> list[Event]:
    """The events of one block; an empty delta and a signature are not something that the model wrote."""
    found = [_event("content_block_start", starts_content, index=index, content_block=start)]
    for delta in deltas:
        is_content = delta["type"] != "signature_delta" and any(v for k, v in delta.items() if k != "type")
        found.append(_event("content_block_delta", is_content, index=index, delta=delta))
    return [*found, _event("content_block_stop", index=index)]


def _streamed_blocks(answer: Answer) -> list[list[Event]]:
    found: list[list[Event]] = []
    for index, block in enumerate(blocks(answer)):
        deltas: list[JsonObject] = []
        start = dict(block)
        if block["type"] == "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in answer.thinking]
            deltas.append({"type": "signature_delta", "signature": answer.signature})
        elif block["type"] == "text":
            start["text"] = ""
            deltas = [{"type": "text_delta", "text": piece} for piece in answer.pieces]
        elif block["type"] == "tool_use":
            start["input"] = {}
            arguments = next(call[2] for call in answer.tool_calls if call[0] == block["id"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *fragments(arguments)]]
        found.append(_block(index, start, deltas, starts_content=block["type"] in ("tool_use", "redacted_thinking")))
    return found


def events(ask: Ask, answer: Answer, usage: Any) -> list[Event]:
    """The events of a stream, which has no end mark; `usage` None leaves it out. A ping comes where the real API
    sends one."""
    message = completion(ask, Answer(), usage) | {"stop_reason": None}
    end: JsonObject = {}
    if isinstance(usage, dict):
        written = usage["output_tokens"]
        message["usage"] = {k: v for k, v in usage.items() if k != "output_tokens_details"}
        message["usage"]["output_tokens"] = 1 if isinstance(written, int) and written > 1 else written
        end["usage"] = {k: v for k, v in usage.items() if k.startswith("output_tokens")}
    elif usage is not None:
        end["usage"] = usage
    streamed = [event for block in _streamed_blocks(answer) for event in block]
    streamed.insert(min(1, len(streamed)), _event("ping"))
    reason = {"stop_reason": stop_reason(answer), "stop_sequence": answer.stop_sequence}
    return [
        _event("message_start", message=message),
        *streamed,
        _event("message_delta", delta=reason, **end),
        _event("message_stop"),
    ]


def misplaced(kind: str, found: list[Event], honest: JsonObject) -> list[Event]:
    """The same events with more than one count at the end ("growing", "twice"); "on-finish" is where it always is."""
    if kind not in ("growing", "twice"):
        return found
    written = honest["output_tokens"] // 2 if kind == "growing" else honest["output_tokens"]
    delta = {"stop_reason": None, "stop_sequence": None}
    early = _event("message_delta", delta=delta, usage={"output_tokens": written})
    return [*found[:-2], early, *found[-2:]]


# ---------------------------------------------------------------- errors as Anthropic words them

_ERRORS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "the scripted upstream refuses this request"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your account is not active"),
    403: ("permission_error", "Your API key does not have permission to use the specified resource"),
    404: ("not_found_error", "model: no such model"),
    408: ("timeout_error", "Request timed out"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit"),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}
_MESSAGES_BY_CODE = {
    "context_length_exceeded": "prompt is too long: 210000 tokens > 200000 maximum",
    "insufficient_quota": "Your credit balance is too low to access the Anthropic API.",
}


def error(status: int, code: str | None = None) -> JsonObject:
    """The body that Anthropic sends with a status; for two codes of OpenAI's it has only words."""
    usual = ("api_error", "scripted failure") if status >= 500 else ("invalid_request_error", "scripted failure")
    kind, message = _ERRORS.get(status, usual)
    message = _MESSAGES_BY_CODE.get(code or "", f"{message} (scripted {status})")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_scripted"}


def refusal(refused: Refused) -> JsonObject:
    """The body for a request that is not as it must be."""
    found = error(refused.status)
    found["error"]["message"] = refused.message
    return found


def error_event(status: int) -> Event:
    """An error in the middle of a stream."""
    return Event(encode(error(status)), name="error")
