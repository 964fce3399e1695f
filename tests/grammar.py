"""What a stream may look like, per dialect: checkers of `POST /v1/chat/completions` and `POST /v1/messages` streams.

They know the rules that clients rely on (the SDKs' accumulators most of all), and nothing of who wrote the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

DONE = "[DONE]"


@dataclass(frozen=True)
class Event:
    """One server-sent event: `data` is its JSON, or the text "[DONE]"; `name` is "" where it has no event line."""

    name: str
    data: Any


def parse_events(raw: bytes) -> list[Event]:
    """The events of a whole stream's bytes. Raises AssertionError for what is no clean event stream: half an event,
    a line that is neither of "event:", "data:" or a comment, an event without data, data that is no JSON."""
    text = raw.decode("utf-8").replace("\r\n", "\n")
    assert not text or text.endswith("\n\n"), f"the stream ends in the middle of an event: {text[-80:]!r}"
    return [event for part in text.split("\n\n")[:-1] for event in _parse_event(part)]


def _parse_event(part: str) -> Iterator[Event]:
    names: list[str] = []
    data: list[str] = []
    for line in part.split("\n"):
        if line.startswith(":"):
            continue
        field_name, colon, value = line.partition(":")
        assert colon and field_name in ("event", "data"), f"a strange line in the stream: {line[:80]!r}"
        (names if field_name == "event" else data).append(value.removeprefix(" "))
    if not names and not data:
        return
    assert len(names) <= 1, f"an event with two names: {names}"
    assert data, f"an event without data: {part[:80]!r}"
    joined = "\n".join(data)
    yield Event(names[0] if names else "", DONE if joined == DONE else _json(joined))


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise AssertionError(f"data that is no JSON ({error}): {text[:200]!r}") from error


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# ---------------------------------------------------------------- OpenAI

OPENAI_FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}


@dataclass
class _Choice:
    has_role: bool = False
    finish_reason: str | None = None
    calls: list[str] = field(default_factory=list)
    thinking_blocks: int = 0


def check_openai_stream(events: Iterable[Event]) -> None:
    """Raise AssertionError where the events are not a chat completion stream (complete, or ended by an error)."""
    events = list(events)
    assert events, "an empty stream"
    assert not [e for e in events if e.name], "OpenAI's events have no names"
    if events[-1].data != DONE:
        _check_openai_error(events[-1].data)
        _check_openai_chunks([e.data for e in events[:-1]], is_complete=False)
        return
    _check_openai_chunks([e.data for e in events[:-1]], is_complete=True)


def _check_openai_error(data: Any) -> None:
    assert isinstance(data, dict) and isinstance(data.get("error"), dict), (
        f"neither [DONE] nor an error at the end: {data}"
    )
    error = data["error"]
    for name in ("message", "type", "code"):
        assert isinstance(error.get(name), str) and error[name], f"an error without {name}: {error}"
    assert "param" in error and _is_count(error.get("status")), f"an error without param or status: {error}"


def _check_openai_chunks(chunks: list[Any], *, is_complete: bool) -> None:
    assert not [c for c in chunks if c == DONE or not isinstance(c, dict) or "error" in c], "something before its time"
    assert chunks or not is_complete, "no chunk before [DONE]"
    for name in ("id", "created", "model"):
        values = {str(c.get(name)) for c in chunks}
        assert len(values) <= 1, f"{name} changes within the stream: {values}"
    wants_usage = any("usage" in c for c in chunks)
    choices: dict[int, _Choice] = {}
    for position, chunk in enumerate(chunks):
        assert isinstance(chunk.get("id"), str) and chunk["id"], "a chunk without an id"
        assert _is_count(chunk.get("created")), "a chunk without created"
        assert isinstance(chunk.get("model"), str), "a chunk without a model"
        assert chunk.get("object") == "chat.completion.chunk", f"object is {chunk.get('object')!r}"
        assert isinstance(chunk.get("choices"), list), "a chunk without a list of choices"
        is_last = is_complete and position == len(chunks) - 1
        _check_openai_usage_place(chunk, wants_usage=wants_usage, is_last=is_last)
        for choice in chunk["choices"]:
            _check_openai_choice(choice, choices)
    if is_complete:
        assert choices, "no choice in the whole stream"
        open_choices = [index for index, choice in choices.items() if choice.finish_reason is None]
        assert not open_choices, f"no finish_reason for choices {open_choices}"


def _check_openai_usage_place(chunk: dict[str, Any], *, wants_usage: bool, is_last: bool) -> None:
    """Usage: in a last chunk of its own, null in all others; or in none."""
    if not chunk["choices"]:
        assert is_last, "a chunk without choices that is not the last"
        check_openai_usage(chunk.get("usage"))
        return
    assert chunk.get("usage") is None, "usage in a chunk with choices"
    assert ("usage" in chunk) == wants_usage, "usage is null in some chunks and absent in others"
    assert not (wants_usage and is_last), "usage was promised and never came"


def _check_openai_choice(choice: Any, known: dict[int, _Choice]) -> None:
    assert isinstance(choice, dict) and _is_count(choice.get("index")), f"a choice without an index: {choice}"
    assert choice["index"] <= len(known), "a choice is introduced before those with lower indices"
    state = known.setdefault(choice["index"], _Choice())
    delta = choice.get("delta")
    assert isinstance(delta, dict), f"a choice without a delta: {choice}"
    assert state.finish_reason is None or not any(delta.values()), "content after the finish_reason"
    _check_no_numbers(delta)
    if "role" in delta:
        assert not state.has_role, "the role comes twice"
        assert delta["role"] == "assistant", f"role {delta['role']!r}"
        state.has_role = True
    assert state.has_role, "content before the role"
    for name in ("content", "refusal", "reasoning_content"):
        assert delta.get(name) is None or isinstance(delta[name], str), f"{name} is no text"
    for call in delta.get("tool_calls") or []:
        _check_openai_call(call, state)
    for block in delta.get("thinking_blocks") or []:
        _check_thinking_block(block)
        assert block.get("index") == state.thinking_blocks, "thinking_blocks are not counted from 0"
        state.thinking_blocks += 1
    reason = choice.get("finish_reason")
    if reason is not None:
        assert reason in OPENAI_FINISH_REASONS, f"finish_reason {reason!r}"
        assert state.finish_reason is None, "two finish_reasons"
        assert reason != "tool_calls" or state.calls, "finish_reason tool_calls without any call"
        state.finish_reason = reason


def _check_no_numbers(value: Any, name: str = "") -> None:
    """The SDK adds up every number that is not an index."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_no_numbers(item, key)
    elif isinstance(value, list):
        for item in value:
            _check_no_numbers(item)
    else:
        assert name == "index" or isinstance(value, str | None), f"a number in a delta: {name}"


def _check_openai_call(call: Any, state: _Choice) -> None:
    assert isinstance(call, dict) and _is_count(call.get("index")), f"a tool call without an index: {call}"
    index = call["index"]
    assert index <= len(state.calls), "a gap in the tool call indices"
    function = call.get("function")
    assert isinstance(function, dict), f"a tool call without a function: {call}"
    if index == len(state.calls):
        assert isinstance(call.get("id"), str) and call["id"], "a tool call begins without an id"
        assert call["id"] not in state.calls, "two tool calls with one id"
        assert call.get("type") == "function", "a tool call begins without its type"
        assert isinstance(function.get("name"), str) and function["name"], "a tool call begins without a name"
        state.calls.append(call["id"])
    else:
        assert not call.get("id") and not function.get("name"), "id or name of a tool call come twice"
    assert function.get("arguments") is None or isinstance(function["arguments"], str), "arguments are no text"


def _check_thinking_block(block: Any) -> None:
    assert isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking"), f"no thinking: {block}"
    for name in ("thinking", "signature", "issuer"):
        assert isinstance(block.get(name), str), f"a thinking block without {name}"
    assert block["signature"], "a thinking block without a signature"


def check_openai_usage(usage: Any) -> None:
    """Raise AssertionError where this is not OpenAI's usage object, or its counts contradict each other."""
    assert isinstance(usage, dict), f"no usage: {usage}"
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert _is_count(usage.get(name)), f"usage without {name}: {usage}"
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], f"a wrong total: {usage}"
    details = usage.get("prompt_tokens_details") or {}
    cached = (details.get("cached_tokens") or 0) + (details.get("cache_write_tokens") or 0)
    assert cached <= usage["prompt_tokens"], f"more cached than read: {usage}"


def check_openai_completion(body: Any) -> None:
    """Raise AssertionError where this is not a whole chat completion."""
    assert isinstance(body, dict) and body.get("object") == "chat.completion", f"no chat completion: {body}"
    assert isinstance(body.get("id"), str) and body["id"] and _is_count(body.get("created")), "no id or created"
    assert isinstance(body.get("model"), str) and body["model"], "no model"
    check_openai_usage(body.get("usage"))
    assert isinstance(body.get("choices"), list) and body["choices"], "no choices"
    for position, choice in enumerate(body["choices"]):
        assert choice.get("index") == position, "choices are not counted from 0"
        assert choice.get("finish_reason") in OPENAI_FINISH_REASONS, f"finish_reason {choice.get('finish_reason')!r}"
        _check_openai_message(choice.get("message"), choice["finish_reason"])


def _check_openai_message(message: Any, finish_reason: str) -> None:
    assert isinstance(message, dict) and message.get("role") == "assistant", f"no assistant's message: {message}"
    assert "content" in message and isinstance(message["content"], str | None), "content is neither text nor null"
    calls = message.get("tool_calls")
    assert calls is None or (isinstance(calls, list) and calls), "an empty list of tool calls"
    for call in calls or []:
        assert isinstance(call.get("id"), str) and call["id"] and call.get("type") == "function", f"call {call}"
        function = call.get("function")
        assert isinstance(function, dict) and isinstance(function.get("arguments"), str), f"call {call}"
        assert isinstance(function.get("name"), str) and function["name"], f"call {call}"
    assert finish_reason != "tool_calls" or calls, "finish_reason tool_calls without any call"
    for block in message.get("thinking_blocks") or []:
        _check_thinking_block(block)


# ---------------------------------------------------------------- Anthropic

ANTHROPIC_STOP_REASONS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
}
ANTHROPIC_ERRORS = {
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
}
DELTAS_OF = {
    "text": {"text_delta", "citations_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
}
"""Block type -> the deltas that may follow its start; a type that is not here takes none."""
_DELTA_TEXT = {
    "text_delta": "text",
    "input_json_delta": "partial_json",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
}


@dataclass
class _Blocks:
    started: int = 0
    open_type: str | None = None
    tool_uses: int = 0
    json: str = ""
    has_signature: bool = False
    half_written: int = 0


def check_anthropic_stream(events: Iterable[Event]) -> None:
    """Raise AssertionError where the events are not a message stream (complete, or ended by an error)."""
    events = [e for e in events if e.name != "ping"]
    assert events, "an empty stream"
    for event in events:
        assert isinstance(event.data, dict), f"data that is no object: {event.data}"
        assert event.name, f"an event without its event line: {event.data}"
        assert event.name == event.data.get("type"), f"event {event.name!r} with type {event.data.get('type')!r}"
    names = [event.name for event in events]
    if names[0] != "error":
        assert names[0] == "message_start", f"the stream begins with {names[0]}"
        assert names.count("message_start") == 1, "message_start comes twice"
        _check_anthropic_start(events[0].data)
    if names[-1] == "error":
        check_anthropic_error(events[-1].data)
        assert names.count("error") == 1, "two errors"
        _check_anthropic_blocks([e.data for e in events[1:-1] if e.name.startswith("content_block")])
        return
    assert names[-1] == "message_stop" and names.count("message_stop") == 1, f"the stream ends with {names[-1]}"
    first_delta = names.index("message_delta") if "message_delta" in names else -1
    assert first_delta > 0, "no message_delta"
    assert set(names[first_delta:-1]) == {"message_delta"}, f"after the message_delta: {names[first_delta:]}"
    blocks = _check_anthropic_blocks([e.data for e in events[1:first_delta]])
    _check_anthropic_end(events[-2].data, blocks)


def _check_anthropic_start(data: dict[str, Any]) -> None:
    message = data.get("message")
    assert isinstance(message, dict) and message.get("type") == "message", f"no message: {data}"
    assert message.get("role") == "assistant" and message.get("content") == [], f"no empty answer: {message}"
    assert isinstance(message.get("id"), str) and message["id"], "no id"
    assert isinstance(message.get("model"), str) and message["model"], "no model"
    assert message.get("stop_reason", "") is None and message.get("stop_sequence", "") is None, "stopped at the start"
    check_anthropic_usage(message.get("usage"))


def _check_anthropic_blocks(events: list[dict[str, Any]]) -> _Blocks:
    state = _Blocks()
    for data in events:
        if data["type"] == "content_block_start":
            _check_block_start(data, state)
        elif data["type"] == "content_block_delta":
            _check_block_delta(data, state)
        else:
            assert data["type"] == "content_block_stop", f"an event {data['type']!r} among the blocks"
            _check_open_index(data, state)
            if state.open_type == "tool_use" and state.json:
                state.half_written += not _is_json_object(state.json)
            state.open_type = None
    return state


def _check_block_start(data: dict[str, Any], state: _Blocks) -> None:
    assert state.open_type is None, "a block begins while another one is open"
    assert data.get("index") == state.started, f"block {data.get('index')} begins where {state.started} should"
    assert state.half_written == 0, "a block follows a tool call whose JSON is not complete"
    block = data.get("content_block")
    assert isinstance(block, dict) and isinstance(block.get("type"), str), f"no block: {data}"
    if block["type"] == "text":
        assert block.get("text") == "", "a text block does not begin empty"
    elif block["type"] == "thinking":
        assert block.get("thinking") == "" and isinstance(block.get("signature"), str), "no empty thinking block"
    elif block["type"] == "redacted_thinking":
        assert isinstance(block.get("data"), str) and block["data"], "redacted thinking without data"
    elif block["type"] == "tool_use":
        assert isinstance(block.get("id"), str) and block["id"], "a tool_use without an id"
        assert isinstance(block.get("name"), str) and block["name"], "a tool_use without a name"
        assert block.get("input") == {}, "a tool_use does not begin with an empty input"
        state.tool_uses += 1
    state.started += 1
    state.open_type, state.json, state.has_signature = block["type"], "", False


def _check_open_index(data: dict[str, Any], state: _Blocks) -> None:
    assert state.open_type is not None, f"{data['type']} while no block is open"
    assert data.get("index") == state.started - 1, f"{data['type']} of another block than the open one"


def _check_block_delta(data: dict[str, Any], state: _Blocks) -> None:
    _check_open_index(data, state)
    delta = data.get("delta")
    assert isinstance(delta, dict), f"no delta: {data}"
    kind = delta.get("type")
    assert kind in DELTAS_OF.get(state.open_type or "", ()), f"{kind} in a {state.open_type} block"
    if kind in _DELTA_TEXT:
        assert isinstance(delta.get(_DELTA_TEXT[kind]), str), f"{kind} without its text"
    assert not state.has_signature, f"{kind} after the signature"
    if kind == "input_json_delta":
        state.json += delta["partial_json"]
    state.has_signature = kind == "signature_delta"


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _check_anthropic_end(data: dict[str, Any], blocks: _Blocks) -> None:
    assert blocks.open_type is None, "message_delta while a block is open"
    delta = data.get("delta")
    assert isinstance(delta, dict), f"no delta: {data}"
    _check_stop(delta, blocks.tool_uses)
    assert not blocks.half_written or delta["stop_reason"] == "max_tokens", "a tool call's JSON is not complete"
    usage = data.get("usage")
    assert isinstance(usage, dict) and _is_count(usage.get("output_tokens")), f"no cumulative usage: {usage}"


def _check_stop(said: dict[str, Any], tool_uses: int) -> None:
    reason = said.get("stop_reason")
    assert reason in ANTHROPIC_STOP_REASONS, f"stop_reason {reason!r}"
    assert reason != "tool_use" or tool_uses, "stop_reason tool_use without any tool_use"
    sequence = said.get("stop_sequence")
    assert isinstance(sequence, str | None), f"stop_sequence {sequence!r}"
    assert sequence is None or reason == "stop_sequence", f"a stop_sequence, though stop_reason is {reason}"


def check_anthropic_usage(usage: Any) -> None:
    """Raise AssertionError where this is not Anthropic's usage object."""
    assert isinstance(usage, dict), f"no usage: {usage}"
    for name in ("input_tokens", "output_tokens"):
        assert _is_count(usage.get(name)), f"usage without {name}: {usage}"
    for name in ("cache_creation_input_tokens", "cache_read_input_tokens"):
        assert usage.get(name) is None or _is_count(usage[name]), f"{name} is no count: {usage}"


def check_anthropic_message(body: Any) -> None:
    """Raise AssertionError where this is not a whole message."""
    assert isinstance(body, dict) and body.get("type") == "message", f"no message: {body}"
    assert body.get("role") == "assistant", f"role {body.get('role')!r}"
    assert isinstance(body.get("id"), str) and body["id"], "no id"
    assert isinstance(body.get("model"), str) and body["model"], "no model"
    check_anthropic_usage(body.get("usage"))
    assert isinstance(body.get("content"), list), "no content"
    for block in body["content"]:
        assert isinstance(block, dict) and isinstance(block.get("type"), str), f"no block: {block}"
        if block["type"] == "text":
            assert isinstance(block.get("text"), str), "a text block without text"
        elif block["type"] == "tool_use":
            assert isinstance(block.get("id"), str) and block["id"], "a tool_use without an id"
            assert isinstance(block.get("name"), str) and block["name"], "a tool_use without a name"
            assert isinstance(block.get("input"), dict), "a tool_use whose input is no object"
        elif block["type"] == "thinking":
            assert isinstance(block.get("thinking"), str) and isinstance(block.get("signature"), str), "bad thinking"
    assert "stop_sequence" in body, "no stop_sequence"
    _check_stop(body, sum(block["type"] == "tool_use" for block in body["content"]))


def check_anthropic_error(body: Any) -> None:
    """Raise AssertionError where this is not Anthropic's error object (of a response, or of an error event)."""
    assert isinstance(body, dict) and body.get("type") == "error", f"no error: {body}"
    error = body.get("error")
    assert isinstance(error, dict) and error.get("type") in ANTHROPIC_ERRORS, f"no typed error: {error}"
    assert isinstance(error.get("message"), str) and error["message"], f"an error without a message: {error}"
