"""TokenHub's own body, in both forms, becomes the same command."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.chat import native
from tokenhub.errors import FeatureUnavailable, InvalidRequest

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
