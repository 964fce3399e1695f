"""What the upstream says: pure functions of the request body. No sockets, no clock, no randomness."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

JsonObject = dict[str, Any]

CREATED = 1_700_000_000
DEFAULT_TOKENS = 8
IMAGE_TOKENS = 85


@dataclass(frozen=True)
class Answer:
    """One answer, given to every choice alike: a piece is a token, and one streamed chunk."""

    pieces: tuple[str, ...] = ()
    tool_calls: tuple[tuple[str, str, str], ...] = ()
    """(id, name, arguments as JSON text)"""
    finish_reason: str = "stop"

    @property
    def tokens(self) -> int:
        """Completion tokens of one choice."""
        return len(self.pieces) + sum(1 + len(fragments(call[2])) for call in self.tool_calls)


class Event(NamedTuple):
    """One event of a stream: its JSON, and whether the model wrote something in it."""

    data: bytes
    is_content: bool = False


@dataclass(frozen=True)
class Usage:
    """The honest count of one call."""

    prompt: int
    completion: int
    cached: int = 0

    def as_json(self) -> JsonObject:
        """In OpenAI's shape."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }


@dataclass
class Ask:
    """A request body, read leniently."""

    body: JsonObject
    text: str = field(init=False)
    prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        texts: list[str] = []
        tokens = 0
        messages = self.body.get("messages")
        for message in messages if isinstance(messages, list) else []:
            parts = message.get("content") if isinstance(message, dict) else None
            for part in parts if isinstance(parts, list) else [{"type": "text", "text": parts}]:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    texts.append(part["text"])
                elif isinstance(part, dict) and part.get("type") == "image_url":
                    tokens += IMAGE_TOKENS
            tokens += 4
        self.text = "\n".join(texts)
        self.prompt_tokens = tokens + len(self.text) // 4

    @property
    def digest(self) -> str:
        """Names the conversation: an answer that begins with another one's digest was mixed up."""
        return digest_of(self.text)

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def include_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def choices(self) -> int:
        count = self.body.get("n")
        return count if isinstance(count, int) and 1 <= count <= 8 else 1

    def usage(self, answer: Answer, *, cached: bool = False) -> Usage:
        """The honest count for this answer."""
        return Usage(self.prompt_tokens, answer.tokens * self.choices, self.prompt_tokens // 2 if cached else 0)


def digest_of(text: str) -> str:
    """The first word of the answer to this text (all messages' texts, joined by newlines)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


# ---------------------------------------------------------------- what to say


def words(ask: Ask, count: int = DEFAULT_TOKENS, word: str = " word{}") -> Answer:
    """`count` tokens of text, or fewer where the caller capped them."""
    cap = ask.body.get("max_completion_tokens") or ask.body.get("max_tokens")
    capped = isinstance(cap, int) and 0 < cap < count
    pieces = [ask.digest] + [word.format(number) for number in range(1, count)] if count > 0 else []
    return Answer(tuple(pieces[: cap if capped else count]), finish_reason="length" if capped else "stop")


def spoken(text: str, finish_reason: str = "stop") -> Answer:
    """This text, in pieces of at most 16 characters."""
    return Answer(tuple(text[at : at + 16] for at in range(0, len(text), 16)), finish_reason=finish_reason)


def calls(ask: Ask, count: int) -> Answer:
    """`count` tool calls, to the tools that were offered, in their order."""
    offered = [
        tool["function"]["name"]
        for tool in ask.body.get("tools") or []
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict) and "name" in tool["function"]
    ] or ["get_weather"]
    made = tuple(
        (
            f"call_{ask.digest}_{number}",
            offered[number % len(offered)],
            json.dumps({"city": f"City {number}", "unit": "celsius", "number": number}),
        )
        for number in range(count)
    )
    return Answer(tool_calls=made, finish_reason="tool_calls")


def fragments(arguments: str) -> list[str]:
    """Tool arguments as they are streamed."""
    return [arguments[at : at + 7] for at in range(0, len(arguments), 7)]


def instance_of(schema: JsonObject, root: JsonObject | None = None, depth: int = 0) -> Any:
    """The smallest value that fits a JSON schema of the kind that `.parse()` sends."""
    root = root or schema
    if depth > 20:
        return None
    if "$ref" in schema:
        target: Any = root
        for name in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[name] if name != "#" else target
        return instance_of(target, root, depth + 1)
    for many in ("anyOf", "oneOf", "allOf"):
        if schema.get(many):
            return instance_of(schema[many][0], root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance_of(sub, root, depth + 1) for name, sub in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [instance_of(schema.get("items") or {"type": "string"}, root, depth + 1)]
    return {"string": "text", "integer": 7, "number": 1.5, "boolean": True}.get(kind)


def structured(ask: Ask) -> Answer:
    """A JSON object that fits the schema asked for."""
    wanted = ask.body.get("response_format")
    holder = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schema = holder.get("schema") if isinstance(holder, dict) else None
    return spoken(json.dumps(instance_of(schema) if isinstance(schema, dict) else {"answer": "text"}))


# ---------------------------------------------------------------- in OpenAI's shape


def encode(value: Any) -> bytes:
    """JSON as UTF-8, not escaped to ASCII: split and broken characters need real ones."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def completion(ask: Ask, answer: Answer, usage: Any) -> JsonObject:
    """A whole answer; `usage` None leaves the field out."""
    message: JsonObject = {"role": "assistant", "content": "".join(answer.pieces), "refusal": None}
    if answer.tool_calls:
        message["content"] = None
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in answer.tool_calls
        ]
    body: JsonObject = {
        "id": f"chatcmpl-{ask.digest}",
        "object": "chat.completion",
        "created": CREATED,
        "model": ask.model,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
            for index in range(ask.choices)
        ],
        "system_fingerprint": "fp_scripted",
    }
    return body if usage is None else body | {"usage": usage}


def deltas(answer: Answer) -> list[tuple[JsonObject, bool]]:
    """What one choice's stream consists of before its end: (delta, whether the model wrote something)."""
    found: list[tuple[JsonObject, bool]] = [
        ({"role": "assistant", "content": None if answer.tool_calls else "", "refusal": None}, False)
    ]
    found += [({"content": piece}, True) for piece in answer.pieces]
    for index, (call_id, name, arguments) in enumerate(answer.tool_calls):
        opening = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        found.append(({"tool_calls": [opening]}, True))
        found += [
            ({"tool_calls": [{"index": index, "function": {"arguments": part}}]}, True) for part in fragments(arguments)
        ]
    return found


def events(ask: Ask, answer: Answer, usage: Any) -> list[Event]:
    """The events of a stream without the end mark. The usage event is there if it was asked for and `usage` is not
    None."""
    frame: JsonObject = {
        "id": f"chatcmpl-{ask.digest}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": ask.model,
        "system_fingerprint": "fp_scripted",
    }
    tail: JsonObject = {"usage": None} if ask.include_usage else {}

    def event(index: int, delta: JsonObject, finish_reason: str | None, is_content: bool) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return Event(encode(frame | {"choices": [choice]} | tail), is_content)

    found = [
        event(index, delta, None, is_content) for delta, is_content in deltas(answer) for index in range(ask.choices)
    ]
    found += [event(index, {}, answer.finish_reason, False) for index in range(ask.choices)]
    if ask.include_usage and usage is not None:
        found.append(Event(encode(frame | {"choices": [], "usage": usage})))
    return found


# ---------------------------------------------------------------- errors as OpenAI words them

_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "the scripted upstream refuses this request"),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
    402: ("insufficient_quota", "billing_not_active", "Your account is not active"),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country not supported"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it"),
    408: ("timeout", None, "Request timed out"),
    409: ("invalid_request_error", "conflict", "Conflict"),
    413: ("invalid_request_error", None, "Request too large"),
    422: ("invalid_request_error", None, "Unprocessable"),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests"),
    500: ("server_error", None, "The server had an error while processing your request"),
    503: ("server_error", "overloaded", "The engine is currently overloaded"),
}
_TYPES_BY_CODE = {"insufficient_quota": "insufficient_quota", "context_length_exceeded": "invalid_request_error"}


def error(status: int, code: str | None = None) -> JsonObject:
    """The body that OpenAI sends with a status (and a typed code)."""
    kind, usual, message = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None, ""))
    param = "messages" if code == "context_length_exceeded" else None
    return {
        "error": {
            "message": f"{message or 'scripted failure'} (scripted {status})",
            "type": _TYPES_BY_CODE.get(code or "", kind),
            "param": param,
            "code": code or usual,
        }
    }
