"""Money is exact: integers in, integers out, rounded up once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.money import MAX_USD, NANO_PER_USD, Price, nanousd, price_tokens, usd_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.05", 50_000_000),
        (0.0025, 2_500_000),
        (1, NANO_PER_USD),
        ("1e-7", 100),
        ("0", 0),
        (2.5e-9, 3),
        (0.001 + 0.0002, 1_200_000),
    ],
)
def test_dollars_become_nano_dollars(text: str | float, expected: int) -> None:
    assert nanousd(text) == expected


@pytest.mark.parametrize(
    "bad",
    [
        "nan",
        "inf",
        "-1",
        "+1",
        "1_0",
        "٣",
        "0x10",
        "1e309",
        "",
        " 1",
        "1 ",
        "1.",
        ".5",
        True,
        float("nan"),
        10**13,
        "-0",
    ],
)
def test_anything_but_a_plain_amount_is_refused(bad: object) -> None:
    with pytest.raises(ValueError):
        nanousd(bad)  # type: ignore[arg-type]


def test_more_than_the_largest_amount_is_refused() -> None:
    assert nanousd(MAX_USD) == MAX_USD * NANO_PER_USD
    with pytest.raises(ValueError):
        nanousd(MAX_USD + 1)


@given(st.integers(min_value=0, max_value=10**15))
def test_text_of_an_amount_reads_back_exactly(amount: int) -> None:
    assert Decimal(usd_text(amount)) * NANO_PER_USD == amount


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**11)), max_size=5))
def test_tokens_are_priced_exactly_and_rounded_up_once(parts: list[tuple[int, int]]) -> None:
    exact = sum((Fraction(tokens * price, 1_000_000) for tokens, price in parts), Fraction(0))
    cost = price_tokens(*parts)
    assert 0 <= cost - exact < 1


@given(st.lists(st.integers(0, 10**5), min_size=1, max_size=50), st.integers(0, 10**10))
def test_many_small_requests_never_cost_less_than_their_sum(tokens: list[int], price: int) -> None:
    together = price_tokens((sum(tokens), price))
    apart = sum(price_tokens((n, price)) for n in tokens)
    assert together <= apart < together + len(tokens) + 1


def test_price_per_thousand_tokens_is_scaled_to_a_million() -> None:
    assert Price.per_1k_usd(0.0025, 0.01) == Price(input=2_500_000_000, output=10_000_000_000)


def test_a_bound_uses_the_dearest_input_price() -> None:
    assert Price(input=10, output=0, cache_write=13, cache_read=1).dearest_input == 13


def test_a_bound_counts_with_cache_entries_kept_for_an_hour() -> None:
    assert Price(input=10, output=0, cache_write=13, cache_write_1h=20).dearest_input == 20


def test_a_long_input_has_the_price_of_its_tier_for_all_its_tokens() -> None:
    long, longer = Price(20, 30), Price(40, 60)
    price = Price(10, 20, tiers=((100, long), (200, longer)))
    assert [price.at(tokens) for tokens in (0, 100, 101, 200, 201, 10**9)] == [price, price, long, long, longer, longer]
    assert Price(1, 1).at(10**9) == Price(1, 1)
