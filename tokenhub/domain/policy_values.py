"""How values of the policy table are read, shown, and brought down to a ceiling. Which row uses what is in `policy.py`.

A reader takes a value from outside and gives the inner one, or raises ValueError saying what is accepted. Readers of
JSON are strict about types; those whose name ends in `_text` take what headers and settings hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tokenhub.domain.money import nanousd, usd

Reader = Callable[[Any], Any]

MODES = ("cheap", "normal", "high_confidence", "planning", "adversarial")
COMING_MODES = ("thompson",)
"""Promised by the README and not built yet."""
FALLBACKS = ("none", "same_model", "any")
"""From the narrowest to the widest; a list of models is as wide as the last."""
MAX_BUDGET_USD = 100
MAX_FALLBACKS = 32
MAX_MODEL_NAME = 256
MAX_DIGITS = 12

WORDS_OF_FALLBACK = ", ".join(reversed(FALLBACKS))


# ---------------------------------------------------------------- readers


def mode(value: Any) -> str:
    """A mode's name."""
    if value in COMING_MODES:
        raise ValueError(f"mode {value!r} is not available yet")
    if not isinstance(value, str) or value not in MODES:
        raise ValueError(f"must be one of {', '.join(MODES)}")
    return value


def budget(value: Any) -> int | None:
    """USD as nano-dollars; None (given as 0) is no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number between 0 and {MAX_BUDGET_USD}")
    return budget_text(str(value))


def budget_text(text: str) -> int | None:
    """As `budget`, from a plain decimal."""
    try:
        amount = nanousd(text)
    except ValueError:
        amount = -1
    if not 0 <= amount <= nanousd(MAX_BUDGET_USD):
        raise ValueError(f"must be between 0 and {MAX_BUDGET_USD}")
    # Less than half a nano-dollar is still a limit, and 0 would be none.
    return amount or (1 if float(text) > 0 else None)


def integer(low: int, high: int) -> Reader:
    """A reader of integers within bounds; JSON may write them as 5.0."""

    def read(value: Any) -> int:
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be an integer between {low} and {high}")
        return value

    return read


def integer_text(low: int, high: int) -> Reader:
    """As `integer`, from plain digits."""
    read = integer(low, high)

    def read_text(text: str) -> int:
        is_plain = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
        return int(read(int(text) if is_plain else None))

    return read_text


def fallback(value: Any) -> str | tuple[str, ...]:
    """One of FALLBACKS, or models to try in order."""
    if isinstance(value, str) and value in FALLBACKS:
        return value
    if isinstance(value, list) and 0 < len(value) <= MAX_FALLBACKS and all(map(_is_model_name, value)):
        return tuple(dict.fromkeys(value))
    raise ValueError(f"must be one of {WORDS_OF_FALLBACK}, or a list of 1 to {MAX_FALLBACKS} model names")


def fallback_text(text: str) -> str | tuple[str, ...]:
    """As `fallback`, with a list written as names with commas between them."""
    if text in FALLBACKS:
        return text
    return fallback([name.strip() for name in text.split(",") if name.strip()])


def _is_model_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_MODEL_NAME and value.isprintable()


# ---------------------------------------------------------------- back to JSON


def as_it_is(value: Any) -> Any:
    """A value whose inner form is its JSON."""
    return value


def budget_json(amount_nanousd: int | None) -> float:
    """USD; 0 is no limit."""
    return usd(amount_nanousd or 0)


def fallback_json(value: str | tuple[str, ...]) -> str | list[str]:
    """The word, or the names."""
    return value if isinstance(value, str) else list(value)


# ---------------------------------------------------------------- ceilings


def limit(read: Reader) -> Reader:
    """A reader of ceilings of numbers: as `read`, but 0 would bound nothing."""

    def read_limit(value: Any) -> Any:
        found = read(value)
        if not found:
            raise ValueError("must be more than 0; leave it out for no ceiling")
        return found

    return read_limit


def modes(value: Any) -> tuple[str, ...]:
    """The modes that are allowed: an array, or the only one."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not given:
        raise ValueError(f"must be an array of modes: {', '.join(MODES)}")
    return tuple(dict.fromkeys(map(mode, given)))


def widest_fallback(value: Any) -> str:
    """One of FALLBACKS."""
    if not isinstance(value, str) or value not in FALLBACKS:
        raise ValueError(f"must be one of {WORDS_OF_FALLBACK}")
    return value


def at_most(value: int | None, ceiling: int) -> int:
    """The smaller of both; no limit is more than any."""
    return min(value, ceiling) if value else ceiling


def at_least(value: int, floor: int) -> int:
    """The greater of both."""
    return max(value, floor)


def one_of(value: str, allowed: Sequence[str]) -> str:
    """The value where it is allowed, else the first that is."""
    return value if value in allowed else allowed[0]


def no_wider(value: str | tuple[str, ...], widest: str) -> str | tuple[str, ...]:
    """The value where it is not wider than `widest`, else that."""
    width = FALLBACKS.index(value if isinstance(value, str) else FALLBACKS[-1])
    return value if width <= FALLBACKS.index(widest) else widest
