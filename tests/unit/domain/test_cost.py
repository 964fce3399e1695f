"""Bound >= settled for any usage within it; buckets are priced once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.chat import Usage
from tokenhub.domain.cost import bound_nanousd, output_bound, settle_nanousd
from tokenhub.domain.money import Price

PROVIDER = Provider("p", "openai")
PRICES = st.builds(
    Price,
    st.integers(0, 10**11),
    st.integers(0, 10**11),
    st.none() | st.integers(0, 10**11),
    st.none() | st.integers(0, 10**11),
)


@given(PRICES, st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_what_is_settled_never_exceeds_the_bound(
    price: Price, input_tokens: int, output_tokens: int, part: float, read: float, write: float
) -> None:
    used = int(input_tokens * part)
    cache_read = int(used * read)
    usage = Usage(used, int(output_tokens * part), cache_read, int((used - cache_read) * write))
    assert settle_nanousd(price, usage) <= bound_nanousd(price, input_tokens, output_tokens)


def test_cached_tokens_are_priced_once_at_their_own_price() -> None:
    price = Price(input=1_000_000, output=0, cache_read=100_000, cache_write=1_250_000)
    assert settle_nanousd(price, Usage(input=100, cache_read=40, cache_write=20)) == 40 + 4 + 25


def test_what_is_kept_for_an_hour_costs_what_that_costs() -> None:
    price = Price(input=1_000_000, output=0, cache_write=1_250_000, cache_write_1h=2_000_000)
    usage = Usage(input=100, cache_write=30, cache_write_1h=20)
    assert settle_nanousd(price, usage) == 70 + 12.5 + 40 + 0.5
    assert settle_nanousd(replace(price, cache_write_1h=None), usage) == 70 + 37.5 + 0.5


def test_cached_tokens_without_a_price_of_their_own_cost_as_input() -> None:
    assert settle_nanousd(Price(1_000_000, 0), Usage(input=100, cache_read=40)) == 100


def test_an_unknown_price_settles_at_zero() -> None:
    assert settle_nanousd(None, Usage(10, 10)) == 0


def test_a_long_request_costs_what_its_tier_says() -> None:
    price = Price(1_000_000, 2_000_000, tiers=((100, Price(3_000_000, 5_000_000)),))
    assert [settle_nanousd(price, Usage(n, 1)) for n in (100, 101)] == [102, 308]


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.floats(0, 1))
def test_a_bound_covers_the_tier_that_a_request_may_reach(input_tokens: int, output_tokens: int, part: float) -> None:
    price = Price(
        1_000_000, 2_000_000, tiers=((1_000, Price(3_000_000, 5_000_000)), (2_000, Price(9_000_000, 9_000_000)))
    )
    usage = Usage(int(input_tokens * part), int(output_tokens * part))
    assert settle_nanousd(price, usage) <= bound_nanousd(price, input_tokens, output_tokens)


def test_the_output_bound_is_the_smallest_that_is_known() -> None:
    target = Target(PROVIDER, Model("m", "p", "m", max_context_tokens=100, max_output_tokens=50))
    assert [output_bound(target, cap) for cap in (None, 20, 60)] == [50, 20, 50]
    endless = Target(PROVIDER, Model("m", "p", "m"))
    assert [output_bound(endless, cap) for cap in (None, 20)] == [None, 20]
