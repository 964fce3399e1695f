"""The SDKs as callers: one errand, put in each SDK's own words, and one report of what the SDK gave back.

`openai_sdk.py` runs here and, under the older major of the SDK, in a process of its own (`older.py`): so everything in
an errand and a report is plain JSON, and nothing of the other SDK, of pytest or of the product is imported beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

JsonObject = dict[str, Any]

MORE = "and then?"
RESULTS = ("sunny ☀", "rain")
"""What tools answer, in the order of their calls."""
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string"}, "number": {"type": "integer"}},
    "required": ["city", "unit", "number"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Errand:
    """One conversation of one or two turns."""

    model: str
    text: str = "hello"
    system: str = ""
    picture: str = ""
    """A PNG in base64."""
    tools: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    """None: the SDK's caller gives none, or what the SDK insists on."""
    thinks: bool = False
    has_schema: bool = False
    """Whether the answer must fit SCHEMA."""
    stream: bool = False
    """With the SDK's own helper, which puts the answer together."""
    then: str = ""
    """The second turn: "results" for the tools' answers, "more" for another question, "" for none."""
    then_model: str = ""
    """The model of the second turn, where it is another one."""


@dataclass
class Turn:
    """One answer as the SDK's caller has it."""

    id: str
    model: str
    text: str
    finish: str | None
    stop: str | None
    usage: dict[str, int]
    """prompt, completion, cached, cache_write and reasoning tokens, as an upstream's ledger counts them."""
    calls: list[tuple[str, str, JsonObject]] = field(default_factory=list)
    """(id, name, arguments)"""
    thinking: str = ""
    seals: list[str] = field(default_factory=list)
    """Signatures of reasoning, and reasoning that is not shown."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Failure:
    """The SDK's exception."""

    kind: str
    """The class's name."""
    status: int | None
    type: str | None
    code: str | None
    message: str
    request_id: str | None
    headers: dict[str, str]


@dataclass
class Report:
    """What came of an errand: the turns that were answered, and the failure that ended it."""

    turns: list[Turn] = field(default_factory=list)
    failure: Failure | None = None


class Sdk(Protocol):
    """A caller."""

    def run(self, errand: Errand) -> Report:
        """Do it; never raises what the SDK raises for an answer."""


def headers_of(given: Any) -> dict[str, str]:
    """A response's headers with lower-case names."""
    return {str(name).lower(): str(value) for name, value in given.items()}
