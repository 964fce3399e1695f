"""Readers of policy values at their edges; what every row takes is in test_policy.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain import policy_values as values

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
OF_JSON = (values.mode, values.budget, values.integer(0, 100), values.fallback, values.modes, values.widest_fallback)
OF_TEXT = (values.mode, values.budget_text, values.integer_text(0, 100), values.fallback_text)


@given(JSON)
def test_whatever_comes_as_json_is_read_or_refused_in_words(value: Any) -> None:
    for read in OF_JSON:
        try:
            read(value)
        except ValueError as error:
            assert str(error)


@given(st.text())
def test_whatever_comes_as_text_is_read_or_refused_in_words(text: str) -> None:
    for read in OF_TEXT:
        try:
            read(text)
        except ValueError as error:
            assert str(error)


@given(st.integers(0, 100_000_000_000))
def test_a_budget_is_read_as_it_is_shown(amount_nanousd: int) -> None:
    assert (values.budget(values.budget_json(amount_nanousd)) or 0) == amount_nanousd


def test_a_list_of_models_keeps_its_order_and_a_word_in_it_is_a_model() -> None:
    assert values.fallback(["b", "a", "b"]) == ("b", "a")
    assert values.fallback(["none"]) == ("none",)
    assert values.fallback_text("none,a") == ("none", "a")
    assert values.fallback_json(("b", "a")) == ["b", "a"] and values.fallback_json("any") == "any"


@pytest.mark.parametrize(
    ("value", "widest", "kept"),
    [
        ("none", "same_model", "none"),
        ("any", "same_model", "same_model"),
        (("a",), "same_model", "same_model"),
        (("a",), "any", ("a",)),
        ("same_model", "none", "none"),
    ],
)
def test_a_fallback_is_only_made_narrower(value: Any, widest: str, kept: Any) -> None:
    assert values.no_wider(value, widest) == kept


def test_a_ceiling_of_modes_may_be_a_single_one() -> None:
    assert values.modes("cheap") == ("cheap",) == values.modes(["cheap", "cheap"])


def test_no_limit_is_more_than_any_limit() -> None:
    assert values.at_most(None, 5) == values.at_most(0, 5) == values.at_most(9, 5) == 5
    assert values.at_most(3, 5) == 3
