"""Money: integer nano-dollars (1 USD = 10^9), and prices in nano-dollars per million tokens.

Nothing here is a float: sums are exact, and rounding happens once, upwards, where a cost is made from tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE_UNIT = 1_000_000
MAX_USD = 1_000_000_000
"""Largest amount taken from outside; keeps every sum far inside 64 bits."""

_PLAIN_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,2})?", re.ASCII)


def nanousd(usd: int | float | str | Decimal) -> int:
    """Turn dollars from outside into nano-dollars, rounding half a nano-dollar up.

    Takes plain non-negative decimal notation only. Raises ValueError for anything else (signs, NaN, infinity,
    underscores, non-ASCII digits) and for more than MAX_USD.
    """
    if isinstance(usd, bool):
        raise ValueError("an amount in USD must be a number")
    text = str(usd)
    if not _PLAIN_NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a non-negative amount in USD")
    amount = Decimal(text)
    if amount > MAX_USD:
        raise ValueError(f"{text[:40]} USD is more than {MAX_USD}")
    return int((amount * NANO_PER_USD).to_integral_value(rounding="ROUND_HALF_UP"))


def usd_text(amount_nanousd: int) -> str:
    """Write nano-dollars as an exact plain decimal, such as "0.00000125"."""
    sign = "-" if amount_nanousd < 0 else ""
    whole, nano = divmod(abs(amount_nanousd), NANO_PER_USD)
    return f"{sign}{whole}.{nano:09d}".rstrip("0").rstrip(".")


def usd(amount_nanousd: int) -> float:
    """Nano-dollars as a JSON number in USD, for display; never compute with it."""
    return amount_nanousd / NANO_PER_USD


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in nano-dollars per million tokens. A price not known is None as a whole, never 0."""

    input: int
    output: int
    cache_read: int | None = None
    """None: as `input`."""
    cache_write: int | None = None
    """None: as `input`."""
    cache_write_1h: int | None = None
    """Of cache entries kept for an hour; None: as `cache_write`."""
    tiers: tuple[tuple[int, Price], ...] = ()
    """(tokens, price): what all tokens of a request cost whose input has more than so many. Ascending, dearer each."""
    dearest_input: int = field(init=False)
    """The highest price an input token can have here, in a request that no tier applies to; a bound must use it."""

    def __post_init__(self) -> None:
        prices = (self.input, self.cache_read or 0, self.cache_write or 0, self.cache_write_1h or 0)
        object.__setattr__(self, "dearest_input", max(prices))

    def at(self, input_tokens: int) -> Price:
        """The price that applies to a request with so much input."""
        price = self
        for above, dearer in self.tiers:
            if input_tokens > above:
                price = dearer
        return price

    @staticmethod
    def per_1k_usd(input_usd: int | float | str | Decimal, output_usd: int | float | str | Decimal) -> Price:
        """Build from the README's unit, USD per 1,000 tokens."""
        return Price(input=nanousd(input_usd) * 1000, output=nanousd(output_usd) * 1000)


def price_tokens(*parts: tuple[int, int]) -> int:
    """Cost in nano-dollars of (tokens, price) pairs, rounded up once over their sum."""
    total = 0
    for tokens, price in parts:
        total += tokens * price
    return -(-total // TOKENS_PER_PRICE_UNIT)
