from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.providers.conftest import a_target
from tokenhub.domain.chat import Chunk, Usage
from tokenhub.errors import ProviderRateLimited, ProviderTransient
from tokenhub.providers.openai.chunks import ChunkReader, Mould

TARGET = a_target()
GOOD = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def chunk_json(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return orjson.dumps({"id": "c", "model": "gpt-4o-2024", "choices": choices, **fields})


def read(reader: ChunkReader, payload: bytes) -> Chunk:
    chunk = reader.read(payload)
    assert chunk is not None
    return chunk


def test_a_chunk_is_forwarded_as_it_came_but_for_the_model() -> None:
    payload = b'{"id":"c", "model":"gpt-4o-2024","choices":[{"delta":{"content":"h\\u00e9"}}],"x":  1.50}'
    chunk = read(ChunkReader(TARGET), payload)
    assert chunk.payload == payload.replace(b"gpt-4o-2024", b"gpt-4o")
    assert (chunk.text_bytes, chunk.is_content, chunk.finish_reason, chunk.choice_count) == (3, True, None, 1)
    spaced = payload.replace(b'"model":', b'"model": ')
    assert read(ChunkReader(TARGET), spaced).payload == chunk.payload
    assert read(ChunkReader(a_target(model="gpt-4o-2024")), payload).payload is payload


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
    got = read(ChunkReader(TARGET), payload).payload
    before = json.loads(payload, parse_constant=lambda _: None)
    assert b"\n" not in got and orjson.loads(got) == {**before, "model": "gpt-4o"}


def test_one_reader_follows_a_model_name_that_changes() -> None:
    reader = ChunkReader(TARGET)
    for name in ("", "a", "b", "a"):
        payload = orjson.dumps({"model": name, "choices": []})
        assert orjson.loads(read(reader, payload).payload)["model"] == "gpt-4o"


def test_content_is_text_or_the_start_of_a_tool_call_and_nothing_else() -> None:
    reader = ChunkReader(TARGET)
    assert not read(reader, chunk_json({"role": "assistant", "content": ""})).is_content
    assert not read(reader, chunk_json({}, "stop")).is_content
    assert read(reader, chunk_json({"reasoning_content": "hm"})).is_content
    assert read(reader, chunk_json({"refusal": "no"})).text_bytes == 2
    call = read(
        reader, chunk_json({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "", "arguments": ""}}]})
    )
    assert call.is_content and call.text_bytes == 0
    more = read(reader, chunk_json({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}))
    assert more.text_bytes == 4


def test_finish_and_usage_are_read_from_whichever_chunk_has_them() -> None:
    reader = ChunkReader(TARGET)
    assert read(reader, chunk_json({}, "tool_calls")).finish_reason == "tool_use"
    assert read(reader, chunk_json({"content": "x"}, usage=None)).usage is None
    assert read(reader, chunk_json({"content": "x"}, usage=GOOD)).usage == Usage(input=10, output=4)
    last = read(reader, orjson.dumps({"model": "gpt-4o-2024", "choices": [], "usage": GOOD}))
    assert last.choice_count == 0 and last.usage == Usage(input=10, output=4)
    assert read(reader, b'{"usage": {"prompt_tokens": "many"}}').usage is None


def test_a_surrogate_pair_split_over_two_chunks_survives() -> None:
    reader = ChunkReader(TARGET)
    halves = [b'{"model":"m","choices":[{"delta":{"content":"%s"}}]}' % half for half in (b"\\ud83d", b"\\ude00")]
    got = [json.loads(read(reader, half).payload)["choices"][0]["delta"]["content"] for half in halves]
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
        read(ChunkReader(TARGET), payload)
    assert caught.value.code == "bad_response"


def test_an_error_in_a_stream_is_what_it_says() -> None:
    with pytest.raises(ProviderRateLimited):
        read(ChunkReader(TARGET), b'{"error":{"message":"slow down","code":429}}')


def test_the_end_of_a_stream_is_seen_and_is_no_chunk() -> None:
    reader = ChunkReader(TARGET)
    assert reader.read(b"[DONE]") is None and reader.has_ended
    assert reader.last() is None


def test_an_empty_finish_reason_does_not_end_an_answer() -> None:
    assert read(ChunkReader(TARGET), chunk_json({"content": "a"}, "")).finish_reason is None


# ---------------------------------------------------------------- moulds


def parsed_only(payload: bytes) -> Chunk:
    """What a reader makes of an event that has seen no other."""
    return read(ChunkReader(TARGET), payload)


def written(delta: dict[str, Any], spaced: bool = False) -> bytes:
    body = {
        "id": "c",
        "model": "gpt-4o-2024",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}],
        "usage": None,
    }
    return json.dumps(body, ensure_ascii=False).encode() if spaced else orjson.dumps(body)


def call(arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}


DELTAS = {
    "content": lambda text: {"content": text},
    "reasoning": lambda text: {"content": None, "reasoning_content": text},
    "arguments": call,
}


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("kind", DELTAS)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_an_event_known_by_its_mould_is_read_as_if_it_were_parsed(kind: str, spaced: bool, texts: list[str]) -> None:
    reader = ChunkReader(TARGET)
    for text in ["plain", *texts]:
        payload = written(DELTAS[kind](text), spaced)
        assert reader.read(payload) == parsed_only(payload)


def test_the_events_of_a_stream_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, parsed = ChunkReader(TARGET), []
    whole = reader._read_whole
    monkeypatch.setattr(reader, "_read_whole", lambda payload: parsed.append(payload) or whole(payload))
    for text in ("a", "b", 'with "quotes" and\nlines', "é"):
        read(reader, written({"content": text}))
    assert len(parsed) == 1


EVENT = written({"content": "word"})


@pytest.mark.parametrize(
    "payload",
    [
        EVENT.replace(b'"word"', b'"word","refusal":"no"'),
        EVENT.replace(b'"word"', b"null"),
        EVENT.replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
        EVENT.replace(b'"usage":null', b'"usage":{"prompt_tokens":1,"completion_tokens":2}'),
        EVENT.replace(b'"model":"gpt-4o-2024"', b'"model":"other"'),
        EVENT.replace(b"word", b"\\ud83d"),
    ],
)
def test_an_event_of_another_form_is_parsed(payload: bytes) -> None:
    reader = ChunkReader(TARGET)
    read(reader, EVENT)
    assert read(reader, payload) == parsed_only(payload)


@pytest.mark.parametrize(
    "payload",
    [
        EVENT.replace(b"word", b"wo\nrd"),
        EVENT.replace(b"word", b"\xff"),
        EVENT.replace(b"word", b"\\"),
        EVENT.replace(b'"word"', b'"'),
        EVENT.replace(b'"word"', b'"wo"rd"'),
    ],
)
def test_what_is_no_json_is_none_in_a_mould_either(payload: bytes) -> None:
    reader = ChunkReader(TARGET)
    read(reader, EVENT)
    with pytest.raises(ProviderTransient):
        reader.read(payload)


def test_a_text_that_is_written_in_two_places_gives_no_mould() -> None:
    decoy = b'{"x":{"content":"word"},"model":"m","choices":[{"delta":{"content":"word"}}]}'
    assert Mould.of(decoy, Chunk(decoy), "content", "word") is None
    elsewhere = b'{"x":{"content":"word"},"model":"m","choices":[{"delta":{"content" :"word"}}]}'
    assert Mould.of(elsewhere, Chunk(elsewhere), "content", "word") is None


def test_a_server_whose_events_differ_everywhere_is_not_moulded_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    of = Mould.of
    monkeypatch.setattr(Mould, "of", lambda *given: made.append(given[3]) or of(*given))
    reader = ChunkReader(TARGET)
    for number in range(50):
        read(reader, chunk_json({"content": "word"}, obfuscation=str(number)))
    assert len(made) == 4
    reader, made[:] = ChunkReader(TARGET), []
    for number in range(20):
        for text in ("a", "b"):
            read(reader, chunk_json({"content": text}, created=number))
    assert len(made) == 20
