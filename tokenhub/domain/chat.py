"""The one inner language: what a caller asks (`ChatCommand`) and what a provider gives back (`Reply`, `Chunk`).

Every inbound dialect translates to a command, every provider from it; where both speak the same dialect the raw
body passes through, so fields that nobody here knows survive. No HTTP, no dialect's field names: those are in
`blueprints/chat/<dialect>.py` and `providers/<type>/wire.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Dialect = Literal["openai", "anthropic", "native"]
JsonObject = dict[str, Any]


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


@dataclass(slots=True)
class ToolResult:
    """What a tool answered; `content` is text or image blocks."""

    tool_use_id: str
    content: list[Block]
    is_error: bool = False


@dataclass(slots=True)
class Thinking:
    """A model's reasoning. `signature` is only valid at its `issuer` (a provider id)."""

    text: str
    signature: str = ""
    issuer: str = ""


Block = Text | Image | Media | ToolUse | ToolResult | Thinking


@dataclass(slots=True)
class Message:
    """One turn: a role and its blocks in order."""

    role: Role
    blocks: list[Block]
    name: str = ""


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
    policy: JsonObject = field(default_factory=dict)
    """What the caller set of the policy table, by row name; checked by `domain/policy.py`."""
    not_forwarded: tuple[str, ...] = ()
    """Top-level fields that cannot be honoured; told in a response header."""


@dataclass(slots=True)
class Usage:
    """Tokens of one answer, in disjoint buckets where they cost differently.

    `input` is everything the model read, `cache_read` and `cache_write` are parts of it; `output` is everything
    it wrote, `reasoning` a part of it. `estimated`: counted by us, the provider gave nothing usable.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False


@dataclass(slots=True)
class Reply:
    """A whole answer. `raw` is the provider's JSON in `dialect`, passed on where the caller speaks the same."""

    raw: JsonObject
    dialect: Dialect
    usage: Usage | None
    """None: the provider gave none, or nothing believable."""
    text_bytes: int
    """UTF-8 size of everything the model wrote (text, reasoning, tool arguments): for our own count."""
    finish_reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Chunk:
    """One event of a streamed answer.

    `payload` is the JSON text of the event in the provider's dialect, ready to be forwarded. `text_bytes` counts
    what the model wrote in it; a chunk is *content* if that is not 0 or a tool call starts in it. `usage` is
    cumulative: the last one counts.
    """

    payload: bytes
    text_bytes: int = 0
    is_content: bool = False
    finish_reason: str | None = None
    usage: Usage | None = None
    choice_count: int = 1
    """0: the event carries usage only."""
