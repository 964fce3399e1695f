"""What is learned from receipts, and what it makes of a catalog's targets."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.cost import EXPECTED_OUTPUT_TOKENS
from tokenhub.domain.money import Price
from tokenhub.domain.observed import (
    FIXED_SHARE,
    FORGOTTEN,
    HALF_LIFE_MS,
    LEAST_RATIO,
    MOST_RATIO,
    PRIOR_CALLS,
    Observation,
    Observations,
    learn,
    targets_in,
)

T = ("m", "p")
START_MS = 1_700_000_000_000
WISH = {"max_latency_ms": {"value": 20_000, "set_by": "default"}}


def attempt(outcome: str = "ok", **fields: Any) -> dict[str, Any]:
    blame = "" if outcome == "ok" else "target"
    return {"model": "m", "provider": "p", "outcome": outcome, "latency_ms": 100, "blame": blame, **fields}


def receipt(*attempts: dict[str, Any], at_ms: int = START_MS, output: int = 50, **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 120, "output_tokens": output, "estimated": False}
    tried = list(attempts or [attempt()])
    return {
        "created_at_ms": at_ms - 100,
        "latency_ms": 100,
        "ttft_ms": None,
        "attempts": tried,
        "usage": usage,
        "input_tokens_estimated": 100,
        "max_output_tokens": None,
        "choices": 1,
        "policy": WISH,
        **fields,
    }


def after(*receipts: dict[str, Any], known: Observation | None = None) -> Observation:
    return learn({T: known} if known else {}, receipts)[T]


def test_the_first_answer_is_taken_as_it_is_and_the_next_ones_by_a_tenth() -> None:
    row = after(receipt())
    assert (row.samples, row.latency_ms, row.output_tokens, row.token_ratio) == (1, 100.0, 50.0, 1.2)
    row = after(receipt(attempt(latency_ms=200), output=150), known=row)
    assert row.samples == 2 and row.latency_ms == pytest.approx(110) and row.output_tokens == pytest.approx(60)


def test_what_is_known_is_not_changed_in_place() -> None:
    known = after(receipt())
    kept = json.dumps([getattr(known, name) for name in Observation.__dataclass_fields__])
    assert after(receipt(attempt(latency_ms=900)), known=known).latency_ms != known.latency_ms
    assert kept == json.dumps([getattr(known, name) for name in Observation.__dataclass_fields__])


def test_only_the_latency_of_answers_counts() -> None:
    row = after(receipt(attempt("provider_unavailable", latency_ms=30_000), status="error"))
    assert row.latency_ms is None and row.samples == 0 and row.failures == 1


def test_the_first_token_is_counted_from_the_attempt_that_answered() -> None:
    failed = attempt("provider_unavailable", model="other", latency_ms=400)
    both = receipt(failed, attempt(latency_ms=600), latency_ms=1000, ttft_ms=450)
    assert learn({}, [both])[T].ttft_ms == 50 and learn({}, [both])["other", "p"].failures == 1
    assert after(receipt(ttft_ms=30)).ttft_ms == 30


@pytest.mark.parametrize(
    "failed",
    [
        receipt(attempt("provider_rejected", blame="caller")),
        receipt(attempt("client_closed_request", blame="")),
        receipt(attempt("server_stopping", blame="")),
        receipt(attempt("pending", blame="")),
        receipt(attempt("context_length_exceeded", blame="target")),
        receipt(attempt("total_timeout"), policy={"max_latency_ms": {"value": 5, "set_by": "request"}}),
        receipt(attempt("total_timeout"), policy={"max_latency_ms": {"value": 5, "set_by": "key_ceiling"}}),
        receipt(attempt("total_timeout"), policy={"max_latency_ms": {"value": 5, "set_by": "server", "ceiling": 9}}),
        receipt(attempt("headers_timeout"), policy={"max_latency_ms": {"value": 140, "set_by": "request"}}),
        receipt(),
    ],
    ids=lambda r: r["attempts"][0]["outcome"],
)
def test_what_is_not_the_targets_fault_is_no_failure(failed: dict[str, Any]) -> None:
    assert learn({}, [failed]).get(T, Observation()).failures == 0


@pytest.mark.parametrize(
    "failed",
    [
        receipt(attempt("provider_unavailable")),
        receipt(attempt("provider_auth_failed", blame="provider")),
        receipt(attempt("provider_rate_limited")),
        receipt(attempt("provider_budget_exceeded", blame="provider")),
        receipt(attempt("total_timeout")),
        receipt(attempt("first_token_timeout"), policy={"max_latency_ms": {"value": 5000, "set_by": "request"}}),
        receipt(
            attempt("chunk_timeout"),
            attempt(model="n"),
            policy={"max_latency_ms": {"value": 5, "set_by": "request"}},
        ),
    ],
    ids=lambda r: r["attempts"][0]["outcome"],
)
def test_what_is_its_fault_is_a_failure(failed: dict[str, Any]) -> None:
    assert after(failed).failures == 1


def test_receipts_without_attempts_or_of_dead_workers_teach_nothing() -> None:
    assert learn({}, [receipt() | {"attempts": [], "latency_ms": None}]) == {}
    assert targets_in([receipt(), receipt(attempt(model="n"))]) == {T, ("n", "p")}


def test_one_failure_of_one_call_is_no_verdict_and_many_are() -> None:
    assert after(receipt(attempt("x"))).error_rate(START_MS) == 1 / (1 + PRIOR_CALLS)
    assert after(*[receipt(attempt("x"))] * 50).error_rate(START_MS) > 0.9
    assert after(*[receipt(), receipt(attempt("x"))] * 50).error_rate(START_MS) == pytest.approx(0.5, abs=0.02)


def test_a_failure_is_forgotten_with_time_alone() -> None:
    row = after(*[receipt(attempt("x"))] * 10)
    rates = [row.error_rate(START_MS + n * HALF_LIFE_MS) for n in range(20)]
    assert rates == sorted(rates, reverse=True) and rates[1] == pytest.approx(5 / 8) and rates[-1] < FORGOTTEN
    assert row.error_rate(START_MS - 1000) == rates[0]


def test_after_a_half_life_a_call_counts_half() -> None:
    row = after(receipt(attempt("x")), receipt(at_ms=START_MS + HALF_LIFE_MS))
    assert (row.calls, row.failures, row.seen_at_ms) == (1.5, 0.5, START_MS + HALF_LIFE_MS)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10 * HALF_LIFE_MS)), min_size=1, max_size=8), st.randoms())
def test_receipts_that_come_in_another_order_say_the_same_of_failures(calls: list[Any], shuffle: Any) -> None:
    receipts = [receipt(attempt("x" if bad else "ok"), at_ms=START_MS + ms) for bad, ms in calls]
    one = after(*receipts)
    shuffle.shuffle(receipts)
    other = after(*receipts)
    assert (one.calls, one.failures, one.seen_at_ms) == pytest.approx((other.calls, other.failures, other.seen_at_ms))


def test_an_answer_that_the_cap_cut_only_tells_that_it_would_be_longer() -> None:
    assert after(receipt(output=10, max_output_tokens=10)).output_tokens is None
    assert after(receipt(output=9, max_output_tokens=10)).output_tokens == 9
    assert after(receipt(output=4000, max_output_tokens=4000)).output_tokens == 4000
    assert after(receipt(output=300, choices=3)).output_tokens == 100


def test_usage_that_we_made_up_teaches_nothing() -> None:
    guessed = receipt() | {"usage": {"input_tokens": 100, "output_tokens": 5, "estimated": True}}
    row = after(guessed)
    assert row.latency_ms == 100 and row.output_tokens is None and row.token_ratio == 1.0


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_the_ratio_stays_within_reason(counted: int, estimated: int) -> None:
    told = receipt(input_tokens_estimated=estimated)
    told["usage"]["input_tokens"] = counted
    assert after(told).token_ratio == min(max(counted / estimated, LEAST_RATIO), MOST_RATIO)


def test_a_large_request_says_more_of_the_ratio_than_a_small_one() -> None:
    small, large = receipt(input_tokens_estimated=5), receipt(input_tokens_estimated=10_000)
    small["usage"]["input_tokens"], large["usage"]["input_tokens"] = 50, 11_000
    assert after(*[small, large] * 10).token_ratio == pytest.approx(1.1, abs=0.02)


# ---------------------------------------------------------------- columns

PRICE = Price(1_000_000, 2_000_000)


def observations(rows: dict[str, Observation], now_ms: int = START_MS, **fields: Any) -> Observations:
    models = [Model(name, "p", name, **{"price": PRICE, **fields}) for name in ("a", "b")]
    facts = Catalog.build(1, [Provider("p", "openai")], models).facts
    return Observations(facts, {(name, "p"): row for name, row in rows.items()}, now_ms)


def test_of_what_was_never_tried_only_the_length_is_supposed() -> None:
    of = observations({})
    assert np.isnan(of.latency_ms).all() and of.errors.tolist() == [0, 0] and of.token_ratios.tolist() == [1, 1]
    assert of.output_tokens.tolist() == [EXPECTED_OUTPUT_TOKENS] * 2 and not of.is_fading and of.slowest_ms == 0


def test_rows_find_their_targets_and_others_are_passed_over() -> None:
    row = Observation(latency_ms=7.0, output_tokens=30.0, calls=1, failures=1, seen_at_ms=START_MS)
    of = observations({"b": row, "gone": Observation(latency_ms=9.0)})
    assert math.isnan(of.latency_ms[0]) and of.latency_ms[1] == of.slowest_ms == 7
    assert of.errors.tolist() == [0, 0.25] and of.is_fading and of.output_tokens[1] == 30
    elsewhere = Observations(of.facts, {("b", "q"): row})
    assert np.isnan(elsewhere.latency_ms).all()


def test_what_was_long_ago_is_forgotten_when_it_is_read() -> None:
    row = Observation(calls=1, failures=1, seen_at_ms=START_MS)
    assert not observations({"a": row}, START_MS + 20 * HALF_LIFE_MS).is_fading


def test_a_length_is_within_what_the_model_and_the_caller_allow() -> None:
    of = observations({"a": Observation(output_tokens=100.0)}, max_output_tokens=200)
    assert of.output_tokens.tolist() == [100, 200]
    assert of.estimates_nanousd(0, None, 1).tolist() == [200, 400]
    assert of.estimates_nanousd(0, 150, 2).tolist() == [400, 600]
    assert of.estimates_nanousd(0, 10, 1).tolist() == [20, 20]


def test_an_estimate_is_corrected_by_the_ratio() -> None:
    of = observations({"a": Observation(input_tokens=200.0, input_tokens_estimated=100.0)})
    assert of.estimates_nanousd(100, 1, 1).tolist() == [202, 102]


def test_a_long_request_is_estimated_at_the_price_of_its_tier() -> None:
    of = observations({}, price=Price(1_000_000, 2_000_000, tiers=((100, Price(3_000_000, 5_000_000)),)))
    assert of.estimates_nanousd(100, 1, 1).tolist() == [102, 102]
    assert of.estimates_nanousd(101, 1, 2).tolist() == [313, 313]


@given(
    st.integers(0, 10**6),
    st.none() | st.integers(1, 10**5),
    st.integers(1, 5),
    st.floats(0.1, 10),
    st.floats(0, 10_000),
    st.booleans(),
)
def test_no_estimate_is_above_the_most(
    tokens: int, cap: int | None, choices: int, ratio: float, length: float, tiered: bool
) -> None:
    row = Observation(input_tokens=ratio, input_tokens_estimated=1.0, output_tokens=length)
    tiers = ((1_000, Price(7_000_000, 9_000_000)),) if tiered else ()
    of = observations({"a": row}, price=Price(1_000_000, 2_000_000, tiers=tiers))
    assert max(of.estimates_nanousd(tokens, cap, choices)) <= of.most_nanousd(tokens, cap, choices) * (1 + 1e-9)


def test_the_time_of_an_answer_is_what_was_seen_and_less_for_a_short_one() -> None:
    rows = {
        "a": Observation(latency_ms=1000.0, ttft_ms=200.0, output_tokens=100.0),
        "b": Observation(latency_ms=1000.0),
    }
    of = observations(rows)
    assert of.predicted_ms(None).tolist() == [1000, 1000] == of.predicted_ms(512).tolist()
    short = of.predicted_ms(50).tolist()
    assert short[0] == 600 and short[1] == pytest.approx(1000 * (FIXED_SHARE + (1 - FIXED_SHARE) * 50 / 512))
    assert of.predicted_ms(50, np.array([0])).tolist() == [600]
