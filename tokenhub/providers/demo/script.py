"""What the demo models say. Pure: a command in, words or a tool call out."""

from __future__ import annotations

import re
from typing import Any

import orjson

from tokenhub.domain.chat import Block, ChatCommand, JsonObject, Message, Text, ToolResult, ToolUse

QUOTED_CHARS = 200
MAX_SCHEMA_DEPTH = 8
MAX_SAMPLE_NODES = 500

_ABOUT = (
    "TokenHub is an LLM gateway: one address for your application, many models behind it. For every request it decides "
    "which model of which provider answers, keeps the promise when that provider fails, accounts for every cent, and "
    "can explain each decision afterwards."
)
_NEXT_STEP = (
    "I am a demo model and make this up without a network. Add a provider with your own key and I am gone: the same "
    "request is then answered by a real model."
)
_GREETING = "Hello! Your request came in, was routed, streamed and accounted for: TokenHub works."
_TOPICS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"tokenhub|gateway|router|proxy|who are you|what are you", re.IGNORECASE), _ABOUT),
    (re.compile(r"^\W*(hi|hello|hey|hallo|good (morning|evening))\b", re.IGNORECASE), _GREETING),
    (
        re.compile(r"price|cost|cheap|budget|money", re.IGNORECASE),
        "Each model has a price for what it reads and writes. TokenHub reserves the most a request can cost before it "
        "is sent and settles what it did cost after, in billionths of a dollar, so a budget is never overspent.",
    ),
    (
        re.compile(r"fail|error|down|outage|reliab", re.IGNORECASE),
        "Ask for the model demo-flaky a few times: it refuses every other request on average, and you will see another "
        "model step in. The receipt of each answer lists every attempt.",
    ),
)


def answer_text(command: ChatCommand, *, is_brief: bool = False) -> str:
    """The answer to a conversation: a topic that the last turn touches, or its echo."""
    turn = command.messages[-1] if command.messages else Message("user", [])
    said = " ".join(_plain(turn.blocks).split())
    if any(isinstance(block, ToolResult) for block in turn.blocks) or turn.role == "tool":
        return f"The tool answered: {said[:QUOTED_CHARS]}"
    for pattern, text in _TOPICS:
        if pattern.search(said):
            return text if is_brief else f"{text} {_NEXT_STEP}"
    quoted = said[:QUOTED_CHARS] + ("…" if len(said) > QUOTED_CHARS else "")
    heard = f"You said: “{quoted}”." if quoted else "You said nothing that I can read."
    return heard if is_brief else f"{heard} {_NEXT_STEP}"


def _plain(blocks: list[Block]) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, Text):
            parts.append(block.text)
        elif isinstance(block, ToolResult):
            parts.append(_plain(block.content))
    return " ".join(parts)


def forced_call(raw: JsonObject) -> ToolUse | None:
    """The tool call that the request insists on, with arguments that fit its schema; None where it leaves a choice."""
    choice = raw.get("tool_choice")
    functions = [tool["function"] for tool in _objects(raw.get("tools")) if isinstance(tool.get("function"), dict)]
    if isinstance(choice, dict):
        wanted = choice.get("function")
        name = wanted.get("name") if isinstance(wanted, dict) else None
        functions = [function for function in functions if function.get("name") == name]
    elif choice != "required":
        return None
    if not functions:
        return None
    function = functions[0]
    arguments = sample(function.get("parameters"))
    return ToolUse(
        "call_demo", str(function.get("name") or ""), _json(arguments if isinstance(arguments, dict) else {})
    )


def shaped(raw: JsonObject, text: str) -> str:
    """The text in the form of `response_format`: as it is, as `{"answer": ...}`, or as something its schema allows."""
    wanted = raw.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return _json({"answer": text})
    if kind == "json_schema" and isinstance(wanted, dict):
        holder = wanted.get("json_schema")
        return _json(sample(holder.get("schema") if isinstance(holder, dict) else None, text))
    return text


def sample(schema: Any, text: str = "demo") -> Any:
    """A small value that fits the common part of JSON Schema; strings are `text`."""
    root = schema if isinstance(schema, dict) else {}
    return _Sampler(root, text).value(root, 0)


class _Sampler:
    """Makes one value; counts what it makes, as a schema of some lines can describe a value of gigabytes."""

    def __init__(self, root: JsonObject, text: str) -> None:
        self._root = root
        self._text = text
        self._left = MAX_SAMPLE_NODES

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > MAX_SCHEMA_DEPTH or self._left < 0:
            return None
        if isinstance(schema.get("$ref"), str):
            definitions = self._root.get("$defs") or self._root.get("definitions")
            name = schema["$ref"].rpartition("/")[2]
            return self.value(definitions.get(name) if isinstance(definitions, dict) else None, depth + 1)
        for name in ("const", "default"):
            if name in schema:
                return schema[name]
        for name in ("enum", "anyOf", "oneOf", "allOf"):
            options = schema.get(name)
            if isinstance(options, list) and options:
                return options[0] if name == "enum" else self.value(options[0], depth + 1)
        return self._of_type(schema, depth)

    def _of_type(self, schema: JsonObject, depth: int) -> Any:
        kinds = schema.get("type", "object")
        kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
        if kind == "object":
            properties = schema.get("properties")
            named = properties.items() if isinstance(properties, dict) else ()
            return {name: self.value(part, depth + 1) for name, part in named}
        if kind == "array":
            least = schema.get("minItems", 1)
            count = min(least, 8) if type(least) is int and least >= 0 else 1
            return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
        if kind in ("integer", "number"):
            least = schema.get("minimum", 1)
            return least if type(least) in (int, float) else 1
        return {"string": self._text, "boolean": True}.get(str(kind))


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested deeper than orjson writes
        return "{}"


def _objects(value: Any) -> list[JsonObject]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
