"""Scores are monotone in each objective; neither the unit of an objective nor the order of the input matters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain import scoring
from tokenhub.domain.policy import MODES
from tokenhub.domain.scoring import ERROR_SPREAD, PROFILES

AMOUNTS = st.floats(0, 1e9).map(lambda value: round(value, 3))
KNOWN = st.tuples(AMOUNTS, AMOUNTS, st.floats(0, 1).map(lambda rate: round(rate, 6)), st.integers(0, 100))
OR_NOT = st.one_of(AMOUNTS, st.just(math.nan))
ANY = st.tuples(OR_NOT, OR_NOT, st.floats(0, 1).map(lambda rate: round(rate, 6)), st.integers(0, 100))
OBJECTIVES = {"cost": 0, "latency": 1, "errors": 2, "weight": 3}
ALL_MODES = st.sampled_from(MODES)


def scores(mode: str, rows: list[tuple[float, float, float, float]]) -> list[float]:
    costs, latencies, errors, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    total = scoring.costs(mode, costs) + scoring.standing(mode, latencies, errors, weights).total
    return [float(score) for score in total]


def test_every_mode_has_a_profile_whose_shares_are_a_whole() -> None:
    assert set(PROFILES) == set(MODES)
    for profile in PROFILES.values():
        assert math.isclose(profile.cost + profile.latency + profile.errors + profile.weight, 1)


def test_the_best_in_everything_gets_the_least_and_the_worst_the_most() -> None:
    best, worst = scores("normal", [(1, 10, 0.0, 90), (9, 90, 0.5, 10)])
    assert (best, worst) == (-0.25, 0.75)


def test_each_mode_weighs_as_its_profile_says() -> None:
    assert scores("cheap", [(0, 5, 0, 50), (8, 5, 0, 50), (4, 5, 0, 50)]) == pytest.approx([0, 0.7, 0.35])
    assert scores("planning", [(5, 5, 0, 0), (5, 5, 0, 100), (5, 5, 0, 50)]) == pytest.approx([0, -0.6, -0.3])
    assert scores("high_confidence", [(5, 0, 0, 5), (5, 8, 0, 5)]) == pytest.approx([0, 0.1])
    assert scores("adversarial", [(5, 5, 0.0, 5), (5, 5, 0.9, 5)]) == pytest.approx([0, 0.2])


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(mode=ALL_MODES, rows=st.lists(KNOWN, min_size=2, max_size=8))
def test_what_is_better_in_one_objective_and_equal_in_the_others_is_never_worse(
    objective: str, mode: str, rows: list[tuple[float, float, float, float]]
) -> None:
    column = OBJECTIVES[objective]
    even = [tuple(row[i] if i == column else 7 for i in range(4)) for row in rows]
    found = scores(mode, even)  # type: ignore[arg-type]
    sign = -1 if objective == "weight" else 1
    for row, score in zip(even, found, strict=True):
        for other_row, other in zip(even, found, strict=True):
            if sign * row[column] < sign * other_row[column]:
                assert score <= other


@pytest.mark.parametrize("objective", OBJECTIVES)
@given(mode=ALL_MODES, rows=st.lists(ANY, min_size=2, max_size=8), better=st.floats(0.1, 0.9))
def test_getting_better_in_one_objective_never_costs_a_place(
    objective: str, mode: str, rows: list[tuple[float, float, float, float]], better: float
) -> None:
    column, first = OBJECTIVES[objective], rows[0]
    if math.isnan(first[column]):
        return
    improved = min(100, first[3] / better) if objective == "weight" else first[column] * better
    changed = [tuple(improved if i == column else value for i, value in enumerate(first)), *rows[1:]]
    before, after = scores(mode, rows), scores(mode, changed)  # type: ignore[arg-type]
    for other in range(1, len(rows)):
        assert after[0] - after[other] <= before[0] - before[other] + 1e-9


@pytest.mark.parametrize("objective", ["cost", "latency"])
@given(mode=ALL_MODES, rows=st.lists(ANY, min_size=1, max_size=8), scale=st.floats(1e-3, 1e3))
def test_another_unit_changes_no_score(
    objective: str, mode: str, rows: list[tuple[float, float, float, float]], scale: float
) -> None:
    column = OBJECTIVES[objective]
    scaled = [tuple(value * scale if i == column else value for i, value in enumerate(row)) for row in rows]
    assert scores(mode, scaled) == pytest.approx(scores(mode, rows), abs=1e-6)  # type: ignore[arg-type]


@given(mode=ALL_MODES, rows=st.lists(ANY, min_size=1, max_size=8), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_no_score(mode: str, rows: list[tuple[float, ...]], shuffle: object) -> None:
    places = list(range(len(rows)))
    shuffle.shuffle(places)  # type: ignore[attr-defined]
    moved = scores(mode, [rows[place] for place in places])  # type: ignore[misc]
    assert moved == pytest.approx([scores(mode, rows)[place] for place in places], abs=1e-9)  # type: ignore[arg-type]


@given(mode=ALL_MODES, rows=st.lists(ANY, min_size=1, max_size=8))
def test_a_score_is_a_number_between_all_of_the_good_and_all_of_the_bad(
    mode: str, rows: list[tuple[float, float, float, float]]
) -> None:
    profile = PROFILES[mode]
    assert all(-profile.weight <= score <= 1 - profile.weight + 1e-9 for score in scores(mode, rows))


def test_an_unknown_cost_counts_as_the_dearest() -> None:
    unknown, cheap, dear = scores("cheap", [(math.nan, 5, 0, 50), (1, 5, 0, 50), (9, 5, 0, 50)])
    assert unknown == dear > cheap


def test_an_unknown_latency_counts_as_the_mean_of_the_known_ones() -> None:
    unknown, fast, slow = scores("normal", [(1, math.nan, 0, 50), (1, 100, 0, 50), (1, 300, 0, 50)])
    assert unknown == pytest.approx((fast + slow) / 2) and fast < slow


def test_where_nothing_is_known_nothing_counts() -> None:
    assert scores("normal", [(math.nan, math.nan, 0, 50)] * 3) == [0, 0, 0]


def test_latencies_that_hardly_differ_hardly_count() -> None:
    fast, slow = scores("normal", [(1, 100, 0, 50), (1, 101, 0, 50)])
    assert 0 < slow - fast < 0.03
    fast, slow = scores("normal", [(1, 100, 0, 50), (1, 112, 0, 50)])
    assert slow - fast == 0.25


def test_one_failure_in_a_thousand_does_not_decide() -> None:
    lucky, unlucky = scores("normal", [(1, 5, 0.0, 50), (1, 5, 0.001, 50)])
    assert 0 < unlucky - lucky < 0.01
    well, ill = scores("normal", [(1, 5, 0.0, 50), (1, 5, ERROR_SPREAD, 50)])
    assert ill - well == 0.25
