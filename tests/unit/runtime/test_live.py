"""What a request counts against."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenhub.domain.keys import ApiKey
from tokenhub.domain.ports import Rate
from tokenhub.runtime.live import Belief, Live

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
ADDRESS = Rate("address:::1", 60, 120)


@pytest.mark.parametrize(
    ("rps", "rates"),
    [(0, (ADDRESS, Rate("key:key_1", 60, 120))), (-1, (ADDRESS,)), (5, (ADDRESS, Rate("key:key_1", 5, 10)))],
)
def test_a_request_counts_against_its_address_and_its_key(rps: int, rates: tuple[Rate, ...]) -> None:
    assert Live(Belief()).rates("::1", replace(KEY, rate_limit_rps=rps)) == rates


def test_without_a_key_only_the_address_counts() -> None:
    assert Live(Belief()).rates("::1", None) == (ADDRESS,)


def test_a_swap_replaces_everything_at_once() -> None:
    live = Live(Belief())
    assert live.catalog.epoch == -1
    live.swap(Belief(rate_limit_rps=1, rate_limit_burst=2))
    assert live.rates("::1", None) == (Rate("address:::1", 1, 2),)
