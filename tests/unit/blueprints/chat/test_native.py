"""TokenHub's own body, in both forms, becomes the same command."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.chat import native
from tests.fakes.answers import FakeStream, receipt
from tests.grammar import check_openai_completion, check_openai_stream, parse_events
from tokenhub.domain.chat import Chunk, Reply, Text, TextDelta, Usage
from tokenhub.errors import FeatureUnavailable, InvalidRequest
from tokenhub.services.chat import ChatResult

MESSAGES = [{"role": "user", "content": "hi"}]
INNER: dict[str, Any] = {
    "messages": MESSAGES,
    "model_hint": "gpt-4o",
    "stream": True,
    "parameters": {"temperature": 0.7, "max_tokens": 5},
}


def test_both_bodies_mean_the_same() -> None:
    wrapped = native.load({"request": INNER, "policy": {"mode": "cheap"}}, 10)
    flat = native.load({**INNER, "policy": {"mode": "cheap"}}, 10)
    assert wrapped == flat
    assert flat.model == "gpt-4o" and flat.stream and flat.max_output_tokens == 5 and flat.policy == {"mode": "cheap"}
    assert flat.raw["temperature"] == 0.7 and flat.dialect == "native"


def test_fields_without_effect_are_told() -> None:
    command = native.load({"request": {"messages": MESSAGES, "id": "x", "meta": {}}, "capabilities": {}}, 10)
    assert set(command.not_forwarded) == {"id", "meta", "capabilities"}


@pytest.mark.parametrize("name", native.NOT_BUILT)
def test_what_is_not_built_is_refused_and_not_ignored(name: str) -> None:
    with pytest.raises(FeatureUnavailable, match=name):
        native.load({"messages": MESSAGES, name: {"type": "object"}}, 10)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"request": []},
        {"request": {"messages": []}},
        {"messages": MESSAGES, "policy": []},
        {"messages": MESSAGES, "temperature": 1},
        {"messages": MESSAGES, "parameters": {"model": "x"}},
        {"messages": MESSAGES, "parameters": "x"},
        {"messages": MESSAGES, "model_hint": 5},
    ],
)
def test_a_bad_body_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        native.load(body, 10)


def test_an_answer_is_wrapped_and_has_openai_s_shape_whoever_gave_it(hub: Any) -> None:
    hub.answer = ChatResult(Reply({}, "anthropic", Usage(3, 4), 1, [Text("hello")]), receipt(cost_nanousd=5))
    told = hub.post("/v1/chat", {"messages": MESSAGES}).json
    check_openai_completion(told["response"])
    assert told["negotiated_model"] == "m" and told["routing_reason"] == "best_score"
    assert told["estimated_cost_usd"] == 5e-9 and told["decision_id"].startswith("dec_")


def test_a_stream_has_openai_s_events(hub: Any) -> None:
    chunks = [Chunk(b"", deltas=(TextDelta("hello"),)), Chunk(b"", finish_reason="stop")]
    hub.answer = FakeStream(chunks, dialect="anthropic")
    check_openai_stream(parse_events(hub.post("/v1/chat", {"messages": MESSAGES, "stream": True}).data))
