"""The one inner language: what a caller asks (`ChatCommand`) and what a provider gives back (`Reply`, `Chunk`).

Every inbound dialect translates to a command, every provider from it; where both speak the same dialect the raw
body passes through, so fields that nobody here knows survive. No HTTP, no dialect's field names: those are in
`blueprints/chat/<dialect>.py` and `providers/<type>/wire.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

Role = Literal["system", "user", "assistant", "tool"]
Dialect = Literal["openai", "anthropic", "native"]
JsonObject = dict[str, Any]

UNPARSED = "unparsed_arguments"
"""Under this name stands what a model wrote as a tool's arguments where that is no JSON object: no tool takes it for
arguments of its own."""


@dataclass(slots=True)
class Text:
    """Plain text."""

    text: str


@dataclass(slots=True)
class Image:
    """A picture by URL (`https:` or `data:`)."""

    url: str
    detail: str = "auto"


@dataclass(slots=True)
class Media:
    """Audio, a file or whatever else a dialect has: carried as it came, for providers of that dialect only."""

    kind: str
    raw: JsonObject


@dataclass(slots=True)
class ToolUse:
    """The assistant calls a tool; `arguments` is JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str

    def input(self) -> JsonObject:
        """The arguments as an object, for protocols that have one. What the model botched stands under UNPARSED."""
        if not self.arguments.strip():
            return {}
        try:
            value = orjson.loads(self.arguments)
        except orjson.JSONDecodeError:
            value = None
        return value if isinstance(value, dict) else {UNPARSED: self.arguments}


@dataclass(slots=True)
class ToolResult:
    """What a tool answered; `content` is text or image blocks."""

    tool_use_id: str
    content: list[Block]
    is_error: bool = False


@dataclass(slots=True)
class Thinking:
    """A model's reasoning. `signature` is only valid at its `issuer` (a provider id; "" where it is not known).

    Where it is `redacted` there is no text, and the signature is the sealed reasoning itself.
    """

    text: str
    signature: str = ""
    issuer: str = ""
    redacted: bool = False


Block = Text | Image | Media | ToolUse | ToolResult | Thinking


@dataclass(slots=True)
class Message:
    """One turn: a role and its blocks in order."""

    role: Role
    blocks: list[Block]
    name: str = ""


@dataclass(slots=True)
class Tool:
    """A tool that the model may call; `schema` is the JSON schema of its arguments, as given."""

    name: str
    description: str = ""
    schema: JsonObject = field(default_factory=dict)
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may ("auto"), must ("required") or must not ("none") call a tool, or must call the one named
    ("tool")."""

    mode: Literal["auto", "required", "none", "tool"] = "auto"
    name: str = ""


@dataclass(slots=True)
class Parameters:
    """How to answer, as far as more than one dialect can say it; None (or empty) is not given."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    user: str = ""
    """Who the caller's end user is, for the provider's abuse checks."""
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    output_schema: JsonObject | None = None
    """The JSON schema that the answer must fit."""
    output_name: str = ""
    """What the caller calls that schema."""
    json_object: bool = False
    """Whether the answer must be some JSON object."""
    effort: str = ""
    """How much to reason, in OpenAI's words ("minimal" ... "high")."""
    thinking_tokens: int | None = None
    """How many tokens to reason with at most, in Anthropic's way; 0: do not."""


@dataclass(slots=True)
class ChatCommand:
    """What a caller asks, whatever the dialect.

    `raw` is the body as it came (already checked), `dialect` says whose shape it has ("native" bodies are given
    in OpenAI's shape). `body_bytes` is its size: the base of every bound.
    """

    dialect: Dialect
    raw: JsonObject
    body_bytes: int
    messages: list[Message]
    model: str = ""
    """The model asked for; "" or "auto": let TokenHub choose."""
    stream: bool = False
    include_usage: bool = False
    """Whether the caller wants usage at the end of a stream."""
    max_output_tokens: int | None = None
    """The caller's cap on one choice; None: not given."""
    choices: int = 1
    tools: list[Tool] = field(default_factory=list)
    parameters: Parameters = field(default_factory=Parameters)
    policy: JsonObject = field(default_factory=dict)
    """What the caller set of the policy table in the body, by row name; checked by `domain/policy.py`."""
    policy_headers: dict[str, str] = field(default_factory=dict)
    """The same, set in headers."""
    not_forwarded: tuple[str, ...] = ()
    """Top-level fields that cannot be honoured; told in a response header."""
    own_fields: tuple[str, ...] = ()
    """Top-level fields of the body that only its dialect has: left out, and told, where another one answers."""
    headers: dict[str, str] = field(default_factory=dict)
    """Protocol headers of the caller that a provider of the same dialect may see, lower case."""


@dataclass(slots=True)
class Usage:
    """Tokens of one answer, in disjoint buckets where they cost differently.

    `input` is everything the model read, `cache_read` and `cache_write` are parts of it, and `cache_write_1h` a part of
    the latter (kept for an hour, which costs more); `output` is everything it wrote, `reasoning` a part of it.
    `estimated`: counted by us, the provider gave nothing usable.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0
    estimated: bool = False


FinishReason = Literal["stop", "stop_sequence", "length", "tool_use", "content_filter", "pause"]
"""Why a model stopped: it was done, it met a stop text of the caller's, it met a cap, it waits for a tool's result, it
refused or was cut by a moderation, or it wants to be asked to go on."""


@dataclass(slots=True)
class Reply:
    """A whole answer. `raw` is the provider's JSON in `dialect`, passed on where the caller speaks the same (`native`
    callers speak OpenAI's); where not, `blocks` and what follows them say the same in the inner language."""

    raw: JsonObject
    dialect: Dialect
    usage: Usage | None
    """None: the provider gave none, or nothing believable."""
    text_bytes: int
    """UTF-8 size of everything the model wrote (text, reasoning, tool arguments): for our own count."""
    blocks: list[Block] = field(default_factory=list)
    """What the model wrote; of several choices the first. Only filled for callers of another dialect."""
    finish_reason: FinishReason = "stop"
    stop_sequence: str | None = None
    """The stop text that was met, where the provider tells it."""
    not_forwarded: tuple[str, ...] = ()
    """The caller's top-level fields that this provider's protocol has no place for."""


@dataclass(slots=True)
class TextDelta:
    """More of the answer's text."""

    text: str


@dataclass(slots=True)
class ThinkingDelta:
    """More of the reasoning. `signature` comes whole, with or after the last text of a stretch of reasoning; where it
    is `redacted` there is nothing else."""

    text: str = ""
    signature: str = ""
    redacted: bool = False


@dataclass(slots=True)
class ToolUseStart:
    """A tool call begins. `index` counts the answer's tool calls from 0, without gaps."""

    index: int
    id: str
    name: str


@dataclass(slots=True)
class ToolUseDelta:
    """More of a tool call's arguments: put together they are JSON text. Calls may be written at the same time."""

    index: int
    arguments: str


Delta = TextDelta | ThinkingDelta | ToolUseStart | ToolUseDelta


@dataclass(slots=True)
class Chunk:
    """One event of a streamed answer.

    `payload` is the JSON text of the event in the provider's dialect, ready to be forwarded to callers who speak the
    same; for others it is empty, and `deltas` say the same in the inner language. `text_bytes` counts what the model
    wrote in it; a chunk is *content* if that is not 0 or a tool call starts in it. `usage` is cumulative: the last one
    counts.
    """

    payload: bytes
    text_bytes: int = 0
    is_content: bool = False
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    choice_count: int = 1
    """0: the event carries usage only."""
    deltas: tuple[Delta, ...] = ()
    stop_sequence: str | None = None
    has_follower: bool = False
    """Whether the next chunk is here already, so that both may be sent at once."""
