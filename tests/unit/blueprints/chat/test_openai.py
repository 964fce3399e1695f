"""OpenAI's dialect in and out, without HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from blueprints.chat import openai
from tokenhub.domain.chat import ChatCommand, Chunk, Image, Media, Text, Thinking, ToolResult, ToolUse, Usage
from tokenhub.errors import InvalidRequest, ProviderTransient

USER = {"role": "user", "content": "hi"}


def load(**fields: Any) -> ChatCommand:
    body = {"messages": [USER], **fields}
    return openai.load(body, len(orjson.dumps(body)))


def test_unknown_fields_stay_in_the_raw_body() -> None:
    command = load(model="m", reasoning_effort="high", brand_new={"a": [1]})
    assert command.raw["brand_new"] == {"a": [1]} and command.raw["reasoning_effort"] == "high"
    assert command.model == "m" and not command.stream


def test_what_routing_needs_is_read() -> None:
    command = load(stream=True, stream_options={"include_usage": True}, n=3, max_tokens=9, max_completion_tokens=7)
    assert command.stream and command.include_usage and command.choices == 3 and command.max_output_tokens == 7


def test_our_own_field_is_policy_and_is_not_forwarded() -> None:
    command = load(tokenhub={"mode": "cheap"})
    assert command.policy == {"mode": "cheap"} and "tokenhub" not in command.raw


def test_a_field_that_cannot_be_honoured_is_told() -> None:
    assert load(stream_options={"include_usage": True}).not_forwarded == ("stream_options",)
    assert load(stream=True, stream_options={"include_usage": True}).not_forwarded == ()


def test_messages_become_ordered_blocks() -> None:
    messages = [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    system, user, assistant, tool = load(messages=messages).messages
    assert system.role == "system" and system.blocks == [Text("be brief")]
    assert user.blocks[:2] == [Text("look"), Image("data:image/png;base64,AAAA", "low")]
    assert isinstance(user.blocks[2], Media) and user.blocks[2].kind == "input_audio"
    assert assistant.blocks == [Thinking("hm"), ToolUse("c1", "f", '{"a":1}')]
    assert tool.role == "tool" and tool.blocks == [ToolResult("c1", [Text("42")])]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
        ({"model": 5}, "model"),
        ({"model": "a\r\nb"}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": 10**12}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"n": True}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"tokenhub": "cheap"}, "tokenhub"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("name", list(openai.FIELDS))
def test_null_counts_as_absent(name: str) -> None:
    load(**{name: None})


class Stream:
    """A chat stream that has been settled when it ends."""

    def __init__(self, chunks: list[Chunk], error: Exception | None = None) -> None:
        self.usage: Usage | None = None
        self.closed = 0
        self._chunks = self._read(chunks, error)

    def _read(self, chunks: list[Chunk], error: Exception | None) -> Iterator[Chunk]:
        yield from chunks
        self.usage = Usage(3, 4)
        if error:
            raise error

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def close(self) -> None:
        self.closed += 1


class Line:
    """A line that counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def events(stream: Stream, include_usage: bool) -> list[Any]:
    lines = list(openai._Events(stream, include_usage, Line()))  # type: ignore[arg-type]
    assert all(line.startswith(b"data: ") and line.endswith(b"\n\n") and line.count(b"\n") == 2 for line in lines)
    data = [line[6:-2] for line in lines]
    return [d.decode() if d == b"[DONE]" else orjson.loads(d) for d in data]


def chunk(content: str, **fields: Any) -> Chunk:
    body = {"id": "c", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": content}}]}
    usage = fields.pop("usage_json", "absent")
    if usage != "absent":
        body["usage"] = usage
    return Chunk(orjson.dumps(body), len(content), True, **fields)


USAGE_ONLY = Chunk(b'{"id":"c","choices":[],"usage":{"prompt_tokens":3}}', choice_count=0, usage=Usage(3, 4))


def test_without_being_asked_no_usage_is_sent() -> None:
    sent = events(Stream([chunk("a", usage_json=None), chunk("b", usage_json=None), USAGE_ONLY]), False)
    assert [e if e == "[DONE]" else e["choices"][0]["delta"]["content"] for e in sent] == ["a", "b", "[DONE]"]
    assert all("usage" not in e for e in sent[:-1])


def test_usage_is_one_last_event_and_null_before() -> None:
    reported = Usage(3, 4)
    growing = [chunk("a", usage_json={"prompt_tokens": 3}, usage=reported), chunk("b")]
    sent = events(Stream([*growing, USAGE_ONLY]), True)
    assert [e["usage"] for e in sent[:-2]] == [None, None]
    assert sent[-2]["choices"] == [] and sent[-2]["usage"]["total_tokens"] == 7
    assert {name: sent[-2][name] for name in ("id", "created", "model")} == {"id": "c", "created": 1, "model": "m"}
    assert sent[-1] == "[DONE]"


def test_text_that_looks_like_a_usage_field_is_left_alone() -> None:
    text = ',"usage":null} "usage": {'
    assert events(Stream([chunk(text)]), False)[0]["choices"][0]["delta"]["content"] == text
    assert events(Stream([chunk(text)]), True)[0]["choices"][0]["delta"]["content"] == text


def test_a_break_is_an_error_event_and_no_end_mark() -> None:
    sent = events(Stream([chunk("a")], ProviderTransient("cut", code="connection_lost")), True)
    assert sent[-1]["error"]["code"] == "connection_lost" and sent[-1]["error"]["type"] == "server_error"
    assert "[DONE]" not in sent


def test_closing_the_response_closes_the_stream() -> None:
    stream = Stream([chunk("a")])
    response = openai._Events(stream, False, Line())  # type: ignore[arg-type]
    next(iter(response))
    response.close()
    assert stream.closed == 1


def test_header_values_are_always_safe() -> None:
    assert openai.header_value("meta/llama-3") == "meta/llama-3"
    for text in ("a\r\nb: c", "ü\u2028", "模型"):
        value = openai.header_value(text)
        assert "\r" not in value and "\n" not in value
        value.encode("latin-1")
