"""How the top level of a body is read by a table."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.chat import fields
from tokenhub.domain.chat import ChatCommand
from tokenhub.errors import InvalidRequest

TABLE = {
    **fields.SHARED,
    "temperature": (fields.is_number, "a number", fields.parameter("temperature")),
    "odd": (fields.is_bool, "true or false", fields.own),
}


def read(**body: Any) -> ChatCommand:
    command = ChatCommand("openai", body, 0, [])
    fields.read_fields(command, TABLE)
    return command


def test_fields_are_checked_put_and_their_owner_is_named() -> None:
    command = read(model=" m ", temperature=1, odd=True, new=1, gone=None, messages=[], tokenhub={"mode": "cheap"})
    assert command.model == "m" and command.parameters.temperature == 1 and command.policy == {"mode": "cheap"}
    assert command.own_fields == ("odd", "new")


@pytest.mark.parametrize(("name", "value"), [("temperature", "x"), ("odd", 1), ("stream", "x"), ("model", 1)])
def test_a_wrong_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} must be") as caught:
        read(**{name: value})
    assert caught.value.param == name


@pytest.mark.parametrize(
    ("accepts", "good", "bad"),
    [
        (fields.is_bool, [True], [1, "true"]),
        (fields.is_text, ["", "x"], [1, []]),
        (fields.is_object, [{}], [[], "x"]),
        (fields.is_list_of_objects, [[], [{}]], [{}, [1]]),
        (fields.is_list_of_texts, [[], ["x"]], ["x", [1]]),
        (fields.is_number, [0, 1.5, -2], [True, "1", float("nan"), float("inf")]),
        (fields.is_number_within(0, 1), [0, 1, 0.5], [1.01, -0.1, True, float("nan")]),
        (fields.is_int(1, 9), [1, 9], [0, 10, 1.0, True]),
        (fields.is_any_int, [-5, 0], [1.0, True, "1"]),
        (fields.is_model_name, ["", "a/b-c.d:e"], ["a\nb", "x" * 257, 1]),
    ],
)
def test_what_a_value_may_be(accepts: fields.Accepts, good: list[Any], bad: list[Any]) -> None:
    assert all(accepts(value) for value in good) and not any(accepts(value) for value in bad)
