from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from tests.unit.providers.conftest import a_command, a_target
from tokenhub.domain.chat import ChatCommand, Message, Text, Usage
from tokenhub.errors import ContextOverflow, ProviderFatal, ProviderRateLimited, ProviderTransient
from tokenhub.providers.openai.wire import (
    ChunkReader,
    encode,
    read_reply,
    read_usage,
    request_payload,
    require_no_error,
)

TARGET = a_target()


def completion(message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "gpt-4o-2024", "choices": [choice], **fields}


def reply(raw: Any):
    return read_reply(raw if isinstance(raw, bytes) else orjson.dumps(raw), TARGET)


def chunk_json(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return orjson.dumps({"id": "c", "model": "gpt-4o-2024", "choices": choices, **fields})


# ---------------------------------------------------------------- request


def test_the_callers_own_body_passes_but_for_the_model() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]}
    command = a_command(temperature=0.5, unheard_of={"a": [1]}, stream=True, stream_options={"include_usage": True})
    command.raw["messages"].append(turn)
    before = json.dumps(command.raw)
    payload = request_payload(command, TARGET, stream=False)
    assert payload == {
        "model": "gpt-4o-2024",
        "messages": command.raw["messages"],
        "temperature": 0.5,
        "unheard_of": {"a": [1]},
    }
    assert payload["messages"][1]["content"] is None
    assert json.dumps(command.raw) == before


def test_a_stream_always_asks_for_usage_and_keeps_other_options() -> None:
    for options in ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": False}):
        payload = request_payload(a_command(stream_options=options), TARGET, stream=True)
        assert payload["stream"] is True
        assert payload["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert request_payload(a_command(stream_options=None), TARGET, stream=True)["stream_options"] == {
        "include_usage": True
    }


def test_what_is_said_not_to_be_forwarded_is_not() -> None:
    command = a_command(store=True)
    command.not_forwarded = ("store",)
    assert "store" not in request_payload(command, TARGET, stream=False)


def test_another_dialect_is_written_from_its_blocks() -> None:
    command = ChatCommand("anthropic", {"system": "x"}, 9, [Message("user", [Text("hi")])], max_output_tokens=7)
    assert request_payload(command, TARGET, stream=False) == {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 7,
        "model": "gpt-4o-2024",
    }


def test_a_request_too_deep_to_write_is_the_callers_fault() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(ProviderFatal) as caught:
        encode({"metadata": deep})
    assert caught.value.blame == "caller"


# ---------------------------------------------------------------- whole answer


def test_a_reply_names_our_model_and_keeps_the_rest() -> None:
    raw = completion(system_fingerprint="fp", usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    answer = reply(raw)
    assert answer.raw == {**raw, "model": "gpt-4o"}
    assert (answer.dialect, answer.usage) == ("openai", Usage(input=3, output=2))


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ({"content": "aé€😀"}, 10),
        ({"content": None, "refusal": "no"}, 2),
        ({"content": "a", "reasoning_content": "bc"}, 3),
        ({"content": [{"type": "text", "text": "abc"}, {"type": "other"}, 7]}, 3),
        ({"content": None, "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}, "odd"]}, 5),
        ({"content": None, "function_call": {"name": "add", "arguments": "{}"}}, 5),
        ({"content": None, "audio": {"data": "AAAA", "transcript": "four"}}, 4),
        ({"content": 7, "tool_calls": {}}, 0),
    ],
)
def test_everything_that_the_model_wrote_is_counted(message: dict[str, Any], size: int) -> None:
    assert reply(completion(message)).text_bytes == size


GOOD = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (GOOD, Usage(input=10, output=4)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        (
            {
                **GOOD,
                "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            Usage(input=10, output=4, cache_read=6, cache_write=3, reasoning=2),
        ),
        ({**GOOD, "prompt_cache_hit_tokens": 8}, Usage(input=10, output=4, cache_read=8)),
        (
            {**GOOD, "total_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 6}},
            Usage(input=10, output=10, reasoning=6),
        ),
        (
            {**GOOD, "prompt_tokens_details": {"cached_tokens": 99, "cache_write_tokens": 99}},
            Usage(input=10, output=4, cache_read=10),
        ),
        ({**GOOD, "prompt_tokens_details": {"cached_tokens": -1}}, Usage(input=10, output=4)),
        ({**GOOD, "prompt_tokens_details": "odd", "completion_tokens_details": []}, Usage(input=10, output=4)),
        (None, None),
        ({}, None),
        ([], None),
        ({"prompt_tokens": 10}, None),
        *(({**GOOD, "prompt_tokens": odd}, None) for odd in (-1, 10**9, 2**70, "10", True, 1.0, None, [1])),
        *(({**GOOD, "completion_tokens": odd}, None) for odd in (-1, 10**9, "10", False, 1.5)),
    ],
)
def test_usage_is_believed_only_if_it_can_be_true(usage: Any, expected: Usage | None) -> None:
    assert read_usage(usage) == expected


@pytest.mark.parametrize("odd", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_none_spoil_the_usage_and_not_the_answer(odd: bytes) -> None:
    body = orjson.dumps(completion(usage={"prompt_tokens": 777, "completion_tokens": 1})).replace(b"777", odd)
    answer = reply(body)
    assert answer.usage is None and answer.text_bytes == 2
    orjson.loads(orjson.dumps(answer.raw))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"[]",
        b'"text"',
        b"null",
        b'{"choices": [',
        b"\xff\xfe",
        b'{"choices": "\xff"}',
        b"{}",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": ["x"]}',
        b'{"choices": [{}]}',
        b'{"choices": [{"message": "x"}]}',
        b'{"choices": [{"message": {}}], "x": ' + b"[" * 300 + b"]" * 300 + b"}",
        b"[" * 100_000,
        b'{"id": ' + b"9" * 5000 + b', "choices": 1e',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_200_that_is_no_completion_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(ProviderTransient) as caught:
        reply(body)
    assert caught.value.code == "bad_response"


def test_an_error_inside_a_200_is_what_it_says() -> None:
    with pytest.raises(ContextOverflow):
        reply({"error": {"message": "too long", "code": "context_length_exceeded"}})
    with pytest.raises(ProviderRateLimited):
        reply({"object": "error", "message": "slow down", "code": 429})
    with pytest.raises(ProviderRateLimited):
        require_no_error(b'{"error": {"code": 429}}')
    assert reply(completion(error=None)).text_bytes == 2


def test_a_lone_surrogate_cannot_reach_what_is_written_again() -> None:
    body = json.dumps(completion({"role": "assistant", "content": "\ud83d!"})).encode()
    orjson.dumps(reply(body).raw)


# ---------------------------------------------------------------- stream


def test_a_chunk_is_forwarded_as_it_came_but_for_the_model() -> None:
    payload = b'{"id":"c", "model":"gpt-4o-2024","choices":[{"delta":{"content":"h\\u00e9"}}],"x":  1.50}'
    chunk = ChunkReader(TARGET).read(payload)
    assert chunk.payload == payload.replace(b"gpt-4o-2024", b"gpt-4o")
    assert (chunk.text_bytes, chunk.is_content, chunk.finish_reason, chunk.choice_count) == (3, True, None, 1)
    spaced = payload.replace(b'"model":', b'"model": ')
    assert ChunkReader(TARGET).read(spaced).payload == chunk.payload
    assert ChunkReader(a_target(model="gpt-4o-2024")).read(payload).payload is payload


@pytest.mark.parametrize(
    "payload",
    [
        b'{"model" : "gpt-4o-2024","choices":[]}',
        b'{"choices":[]}',
        b'{"model":null,"choices":[]}',
        b'{"model":"","choices":[]}',
        b'{"model":"gpt-\\u0034o-2024","choices":[]}',
        b'{"x":{"model":"gpt-4o-2024"},"model":"gpt-4o-2024","choices":[]}',
        b'{"model":"gpt-4o-2024","choices":[{"delta":{"content":"\\"model\\":\\"gpt-4o-2024\\""}}]}',
        b'{"choices":[{"delta":{"content":"\\"model\\":\\"gpt-4o-2024\\""}}],\n"model":"gpt-4o-2024"}',
        b'{"model":"gpt-4o-2024","choices":[],"usage":{"prompt_tokens":NaN}}',
    ],
)
def test_whatever_its_form_a_chunk_has_our_model_on_one_line_and_nothing_else_changed(payload: bytes) -> None:
    got = ChunkReader(TARGET).read(payload).payload
    before = json.loads(payload, parse_constant=lambda _: None)
    assert b"\n" not in got and orjson.loads(got) == {**before, "model": "gpt-4o"}


def test_one_reader_follows_a_model_name_that_changes() -> None:
    reader = ChunkReader(TARGET)
    for name in ("", "a", "b", "a"):
        payload = orjson.dumps({"model": name, "choices": []})
        assert orjson.loads(reader.read(payload).payload)["model"] == "gpt-4o"


def test_content_is_text_or_the_start_of_a_tool_call_and_nothing_else() -> None:
    reader = ChunkReader(TARGET)
    assert not reader.read(chunk_json({"role": "assistant", "content": ""})).is_content
    assert not reader.read(chunk_json({}, "stop")).is_content
    assert reader.read(chunk_json({"reasoning_content": "hm"})).is_content
    assert reader.read(chunk_json({"refusal": "no"})).text_bytes == 2
    call = reader.read(chunk_json({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "", "arguments": ""}}]}))
    assert call.is_content and call.text_bytes == 0
    more = reader.read(chunk_json({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}))
    assert more.text_bytes == 4


def test_finish_and_usage_are_read_from_whichever_chunk_has_them() -> None:
    reader = ChunkReader(TARGET)
    assert reader.read(chunk_json({}, "tool_calls")).finish_reason == "tool_use"
    assert reader.read(chunk_json({"content": "x"}, usage=None)).usage is None
    assert reader.read(chunk_json({"content": "x"}, usage=GOOD)).usage == Usage(input=10, output=4)
    last = reader.read(orjson.dumps({"model": "gpt-4o-2024", "choices": [], "usage": GOOD}))
    assert last.choice_count == 0 and last.usage == Usage(input=10, output=4)
    assert reader.read(b'{"usage": {"prompt_tokens": "many"}}').usage is None


def test_a_surrogate_pair_split_over_two_chunks_survives() -> None:
    reader = ChunkReader(TARGET)
    halves = [b'{"model":"m","choices":[{"delta":{"content":"%s"}}]}' % half for half in (b"\\ud83d", b"\\ude00")]
    got = [json.loads(reader.read(half).payload)["choices"][0]["delta"]["content"] for half in halves]
    assert "".join(got).encode("utf-16", "surrogatepass").decode("utf-16") == "😀"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"not json",
        b"[1]",
        b'{"choices":[',
        b"\xff",
        b'{"choices":"x"}',
        b'{"choices":[1]}',
        b'{"choices":[],"x":' + b"[" * 400 + b"]" * 400 + b"}",
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_a_chunk_that_is_none_is_a_bad_response(payload: bytes) -> None:
    with pytest.raises(ProviderTransient) as caught:
        ChunkReader(TARGET).read(payload)
    assert caught.value.code == "bad_response"


def test_an_error_in_a_stream_is_what_it_says() -> None:
    with pytest.raises(ProviderRateLimited):
        ChunkReader(TARGET).read(b'{"error":{"message":"slow down","code":429}}')
