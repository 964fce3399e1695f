"""The inner language: what its values can say of themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tokenhub.domain.chat import UNPARSED, ToolUse


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"city": "Rom", "n": [1, null]}', {"city": "Rom", "n": [1, None]}),
        ("", {}),
        (" \n", {}),
        ("{}", {}),
        ('{"a": 1', {UNPARSED: '{"a": 1'}),
        ("[1]", {UNPARSED: "[1]"}),
        ("null", {UNPARSED: "null"}),
        ('{"a": NaN}', {UNPARSED: '{"a": NaN}'}),
    ],
)
def test_the_arguments_of_a_call_are_an_object_and_nothing_of_them_is_lost(
    arguments: str, expected: dict[str, Any]
) -> None:
    assert ToolUse("id", "name", arguments).input() == expected
