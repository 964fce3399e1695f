"""What a request counts against."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.observed import HALF_LIFE_MS, Observation
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


def catalog(*model_ids: str) -> Catalog:
    return Catalog.build(1, [Provider("p", "openai")], [Model(name, "p", name) for name in model_ids])


def test_what_was_observed_is_of_the_catalog_that_is_believed() -> None:
    live = Live(Belief(catalog("a", "b")))
    assert live.observed.facts is live.catalog.facts
    live.observe({("b", "p"): Observation(latency_ms=7.0)}, 1000)
    assert live.observed.latency_ms.tolist()[1] == 7
    live.swap(Belief(catalog("b", "c")))
    assert live.observed.facts is live.catalog.facts and live.observed.latency_ms.tolist()[0] == 7


def test_rows_are_laid_over_those_that_are_there() -> None:
    live = Live(Belief(catalog("a", "b")))
    live.observe({("a", "p"): Observation(latency_ms=1.0)}, 1000)
    live.observe({("b", "p"): Observation(latency_ms=2.0)}, 2000)
    assert live.observed.latency_ms.tolist() == [1, 2]


def test_without_news_only_failures_change_as_time_passes() -> None:
    live = Live(Belief(catalog("a")))
    live.observe({("a", "p"): Observation(latency_ms=1.0)}, 1000)
    before = live.observed
    live.observe({}, 2000)
    assert live.observed is before
    live.observe({("a", "p"): Observation(calls=4, failures=4, seen_at_ms=2000)}, 2000)
    failing = live.observed.errors[0]
    live.observe({}, 2000 + HALF_LIFE_MS)
    assert 0 < live.observed.errors[0] < failing
    live.observe({}, 2000 + 30 * HALF_LIFE_MS)
    assert not live.observed.is_fading
