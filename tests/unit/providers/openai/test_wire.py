from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from tests.unit.providers.conftest import a_target
from tokenhub.domain.chat import Usage
from tokenhub.errors import ContextOverflow, ProviderRateLimited, ProviderTransient
from tokenhub.providers.openai.wire import read_reply, read_usage, require_no_error

TARGET = a_target()


def completion(message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "gpt-4o-2024", "choices": [choice], **fields}


def reply(raw: Any):
    return read_reply(raw if isinstance(raw, bytes) else orjson.dumps(raw), TARGET)


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
        ({"content": [{"type": "thinking", "thinking": [{"text": "ab"}, 7]}, {"type": "text", "text": "c"}]}, 3),
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
