"""What the upstream says, in no dialect yet: functions of the request body. No sockets, no clock, no randomness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
    """In OpenAI's words."""
    thinking: tuple[str, ...] = ()
    """Reasoning before all else, in pieces."""
    sealed: str = ""
    """Reasoning that is not shown, after that which is."""
    stop_sequence: str | None = None
    """The caller's stop text that was met."""
    names_stop: bool = False
    """Whether OpenAI's dialect tells that text too, as vLLM does."""

    @property
    def tokens(self) -> int:
        """Completion tokens of one choice."""
        called = sum(1 + len(fragments(call[2])) for call in self.tool_calls)
        return len(self.pieces) + self.reasoning_tokens + called

    @property
    def reasoning_tokens(self) -> int:
        """Those of them that are reasoning."""
        return len(self.thinking) + bool(self.sealed)

    @property
    def signature(self) -> str:
        """What the reasoning is signed with."""
        return signature_of("".join(self.thinking))


class Event(NamedTuple):
    """One event of a stream: its JSON, whether the model wrote something in it, and its name where it has one."""

    data: bytes
    is_content: bool = False
    name: str = ""


@dataclass(frozen=True)
class Usage:
    """The honest count of one call. `prompt` is all that was read, the cached parts included."""

    prompt: int
    completion: int
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass
class Ask:
    """A request body of either dialect, read leniently."""

    body: JsonObject
    text: str = field(init=False)
    images: int = field(init=False)
    prompt_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        contents = [message.get("content") for message in self.messages]
        system = self.body.get("system")
        contents[:0] = [system] if system else []
        parts = [part for content in contents for part in parts_of(content)]
        self.text = "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str) and part["text"])
        self.images = sum(part.get("type") in ("image", "image_url") for part in parts)
        self.prompt_tokens = 4 * len(contents) + self.images * IMAGE_TOKENS + len(self.text) // 4

    @property
    def messages(self) -> list[JsonObject]:
        found = self.body.get("messages")
        return [message if isinstance(message, dict) else {} for message in found] if isinstance(found, list) else []

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

    @property
    def cap(self) -> int | None:
        """The most tokens that are wanted."""
        cap = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return cap if isinstance(cap, int) and cap > 0 else None

    @property
    def stops(self) -> list[str]:
        """The stop texts."""
        stops = self.body.get("stop") or self.body.get("stop_sequences") or []
        return [stops] if isinstance(stops, str) else [stop for stop in stops if isinstance(stop, str) and stop]

    @property
    def has_results(self) -> bool:
        """Whether the last turn answers tool calls."""
        last = self.messages[-1] if self.messages else {}
        content = last.get("content")
        parts = content if isinstance(content, list) else []
        return last.get("role") == "tool" or any(
            isinstance(part, dict) and part.get("type") == "tool_result" for part in parts
        )

    @property
    def tool_names(self) -> list[str]:
        """The tools offered."""
        offered = [tool.get("function", tool) for tool in self.body.get("tools") or [] if isinstance(tool, dict)]
        return [tool["name"] for tool in offered if isinstance(tool, dict) and "name" in tool]

    @property
    def schema(self) -> JsonObject | None:
        """The JSON schema that the answer must fit."""
        for holder in (self.body.get("response_format"), self.body.get("output_config")):
            inner = (holder.get("json_schema") or holder.get("format")) if isinstance(holder, dict) else None
            if isinstance(inner, dict) and isinstance(inner.get("schema"), dict):
                found: JsonObject = inner["schema"]
                return found
        return None

    def usage(self, answer: Answer, *, cached: bool = False) -> Usage:
        """The honest count for this answer."""
        read, written = (self.prompt_tokens // 2, self.prompt_tokens // 4) if cached else (0, 0)
        completion, reasoning = answer.tokens * self.choices, answer.reasoning_tokens * self.choices
        return Usage(self.prompt_tokens, completion, read, written, reasoning)


def parts_of(content: Any) -> Iterator[JsonObject]:
    """The parts of a content in either dialect, those of tool results in their place."""
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if isinstance(part, dict):
            yield part
            if part.get("type") == "tool_result":
                yield from parts_of(part.get("content"))


def digest_of(text: str) -> str:
    """The first word of the answer to this text (all messages' texts, joined by newlines)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def signature_of(thinking: str) -> str:
    """The one signature that is good for this reasoning."""
    return "sig_" + hashlib.sha256(b"signed " + thinking.encode("utf-8", "surrogatepass")).hexdigest()


def sealed_of(secret: str) -> str:
    """Reasoning that is not shown; `is_sealed` knows it again."""
    return f"sealed_{secret}_{digest_of('sealed ' + secret)}"


def is_sealed(data: str) -> bool:
    """Whether this was sealed here, and not changed since."""
    return data == sealed_of("_".join(data.split("_")[1:-1]))


# ---------------------------------------------------------------- what to say


def words(ask: Ask, count: int = DEFAULT_TOKENS, word: str = " word{}") -> Answer:
    """`count` tokens of text, or fewer where the caller capped them."""
    capped = ask.cap is not None and ask.cap < count
    pieces = [ask.digest] + [word.format(number) for number in range(1, count)] if count > 0 else []
    return Answer(tuple(pieces[: ask.cap if capped else count]), finish_reason="length" if capped else "stop")


def spoken(text: str, finish_reason: str = "stop") -> Answer:
    """This text, in pieces of at most 16 characters."""
    return Answer(tuple(text[at : at + 16] for at in range(0, len(text), 16)), finish_reason=finish_reason)


def stopped(ask: Ask, answer: Answer) -> Answer:
    """The answer as far as the first of the caller's stop texts, which is not said."""
    text = "".join(answer.pieces)
    met = min((stop for stop in ask.stops if stop in text), key=text.index, default=None)
    if met is None:
        return answer
    left = text.index(met)
    pieces = []
    for piece in answer.pieces:
        pieces.append(piece[:left])
        left -= len(pieces[-1])
    return replace(answer, pieces=tuple(filter(None, pieces)), stop_sequence=met)


def pondered(ask: Ask, answer: Answer, *, sealed: bool = False) -> Answer:
    """The answer after some reasoning."""
    thinking = ("I think ", "of ", ask.digest, " — ", "and so on.")
    return replace(answer, thinking=thinking, sealed=sealed_of(ask.digest) if sealed else "")


def calls(ask: Ask, count: int) -> Answer:
    """`count` tool calls, to the tools that were offered, in their order."""
    offered = ask.tool_names or ["get_weather"]
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
    return spoken(json.dumps(instance_of(ask.schema) if ask.schema is not None else {"answer": "text"}))


# ---------------------------------------------------------------- what both dialects need to be written


def encode(value: Any) -> bytes:
    """JSON as UTF-8, not escaped to ASCII: split and broken characters need real ones."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


class Refused(Exception):
    """The request is not as the real API wants it: a status, and what it says then."""

    def __init__(self, message: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
