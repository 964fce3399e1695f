"""How a door reads the top level of a body: a table of fields, each with what it takes and where that goes.

The tables themselves, and everything that knows a dialect's words, are in the doors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tokenhub.domain.chat import ChatCommand, JsonObject
from tokenhub.errors import InvalidRequest

MAX_OUTPUT_TOKENS = 100_000_000

Accepts = Callable[[Any], bool]
Put = Callable[[ChatCommand, Any], bool]
"""Says in the inner language what a value means. False where that cannot be said: only a provider of the body's own
dialect understands the field."""
Field = tuple[Accepts, str, Put]
"""Which values are taken, how an error message names them, and what they mean."""


def own(command: ChatCommand, value: Any) -> bool:
    """A field that only its dialect has."""
    return False


def structural(command: ChatCommand, value: Any) -> bool:
    """A field that the door reads by itself."""
    return True


def parameter(name: str) -> Put:
    """A field that is the parameter of this name."""

    def put(command: ChatCommand, value: Any) -> bool:
        setattr(command.parameters, name, value)
        return True

    return put


_UNKNOWN: Field = (lambda value: True, "anything", own)


def read_fields(command: ChatCommand, fields: Mapping[str, Field]) -> None:
    """Check the top level of the command's body and fill the command in. Null counts as absent, and fields that are
    not in the table are the dialect's own. Raises InvalidRequest naming the field."""
    own_fields: list[str] = []
    for name, value in command.raw.items():
        if value is None:
            continue
        accepts, words, put = fields.get(name, _UNKNOWN)
        if not accepts(value):
            raise InvalidRequest(f"{name} must be {words}", param=name)
        if not put(command, value):
            own_fields.append(name)
    if own_fields:
        command.own_fields = tuple(own_fields)


# ---------------------------------------------------------------- what a value may be


def is_bool(value: Any) -> bool:
    """true or false."""
    return isinstance(value, bool)


def is_text(value: Any) -> bool:
    """Text."""
    return isinstance(value, str)


def is_object(value: Any) -> bool:
    """A JSON object."""
    return isinstance(value, dict)


def is_list_of_objects(value: Any) -> bool:
    """A list of JSON objects, maybe empty."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def is_list_of_texts(value: Any) -> bool:
    """A list of texts, maybe empty."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def is_number(value: Any) -> bool:
    """A finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_number_within(low: float, high: float) -> Accepts:
    """A number from `low` to `high`."""
    return lambda value: is_number(value) and low <= value <= high


def is_int(low: int, high: int) -> Accepts:
    """A whole number from `low` to `high`."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_any_int(value: Any) -> bool:
    """A whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


# ---------------------------------------------------------------- fields that every dialect has


def is_model_name(value: Any) -> bool:
    """A name that may be shown and logged."""
    return isinstance(value, str) and len(value) <= 256 and value.isprintable()


def _put_model(command: ChatCommand, value: Any) -> bool:
    command.model = value.strip()
    return True


def _put_stream(command: ChatCommand, value: Any) -> bool:
    command.stream = value
    return True


def _put_policy(command: ChatCommand, value: JsonObject) -> bool:
    command.policy = value
    return True


SHARED: Mapping[str, Field] = {
    "model": (is_model_name, "a model name", _put_model),
    "messages": (lambda value: True, "a list", structural),
    "stream": (is_bool, "true or false", _put_stream),
    "tokenhub": (is_object, "an object", _put_policy),
}
"""`tokenhub` is ours: the policy of the request. It is taken out of the body before that is sent on."""
