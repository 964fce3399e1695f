from __future__ import annotations

import json
import time

import pytest

from tests.unit.providers.conftest import a_command
from tokenhub.domain.chat import Image, Message, Text, ToolResult
from tokenhub.providers.demo.script import answer_text, forced_call, sample, shaped


def test_the_answer_depends_on_what_was_said() -> None:
    assert "LLM gateway" in answer_text(a_command("What is TokenHub?"))
    assert answer_text(a_command("hello")).startswith("Hello!")
    assert "budget" in answer_text(a_command("what does it cost?"))
    assert "demo-flaky" in answer_text(a_command("what if one fails?"))
    assert "“Seven swans a-swimming”" in answer_text(a_command("Seven   swans\na-swimming"))
    assert len(answer_text(a_command("x" * 10_000), is_brief=True)) < 250
    assert len(answer_text(a_command("hello"), is_brief=True)) < len(answer_text(a_command("hello")))


def test_the_answer_takes_any_kind_of_turn() -> None:
    command = a_command()
    command.messages = []
    assert answer_text(command)
    command.messages = [Message("user", [Image("https://example.test/a.png")])]
    assert "nothing that I can read" in answer_text(command)
    command.messages = [Message("tool", [ToolResult("c", [Text("42 degrees")])])]
    assert answer_text(command) == "The tool answered: 42 degrees"


TOOLS = [
    {"type": "function", "function": {"name": "now"}},
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5}}},
        },
    },
]


def test_a_tool_is_called_only_if_the_request_insists() -> None:
    assert forced_call({"tools": TOOLS}) is None
    assert forced_call({"tools": TOOLS, "tool_choice": "auto"}) is None
    assert forced_call({"tool_choice": "required"}) is None
    first = forced_call({"tools": TOOLS, "tool_choice": "required"})
    assert first is not None and (first.name, first.arguments) == ("now", "{}")
    named = forced_call({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "add"}}})
    assert named is not None and (named.name, json.loads(named.arguments)) == ("add", {"a": 5})
    assert forced_call({"tools": TOOLS, "tool_choice": {"function": {"name": "other"}}}) is None
    assert forced_call({"tools": ["odd", {"function": 1}], "tool_choice": {"function": 2}}) is None


def test_json_is_given_where_json_is_asked_for() -> None:
    assert shaped({}, "text") == "text"
    assert shaped({"response_format": {"type": "text"}}, "text") == "text"
    assert json.loads(shaped({"response_format": {"type": "json_object"}}, 'a "b"')) == {"answer": 'a "b"'}
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(shaped({"response_format": wanted}, "text")) == {"a": "text"}
    assert json.loads(shaped({"response_format": {"type": "json_schema"}}, "text")) == {}


STEP = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"s": {"type": "string"}, "n": {"type": "number"}}}, {"s": "demo", "n": 1}),
        ({"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2}, ["x", "x"]),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, None),
        ({"type": ["integer", "null"], "minimum": 7}, 7),
        ({"type": "string", "default": "given"}, "given"),
        ({"$defs": {"Step": STEP}, "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}}}},
         {"steps": [{"text": "demo"}]}),
        ({"properties": {"kind": {"const": "plan"}}}, {"kind": "plan"}),
        ({"$ref": "#"}, None),
        (None, {}),
        ("odd", {}),
    ],
)  # fmt: skip
def test_a_sample_fits_its_schema(schema: object, value: object) -> None:
    assert sample(schema) == value


def test_a_schema_of_some_lines_cannot_ask_for_gigabytes() -> None:
    wide = {f"k{n}": {"$ref": "#/$defs/a"} for n in range(100)}
    started = time.monotonic()
    got = sample({"$defs": {"a": {"type": "object", "properties": wide}}, "$ref": "#/$defs/a"})
    assert time.monotonic() - started < 0.5 and len(json.dumps(got)) < 100_000
    deep: list = []
    for _ in range(300):
        deep = [deep]
    assert shaped({"response_format": {"type": "json_schema", "json_schema": {"schema": {"const": deep}}}}, "x") == "{}"
