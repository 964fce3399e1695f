"""Scores are monotone in each objective and do not depend on the unit of money."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain import scoring
from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.eligibility import Candidate
from tokenhub.domain.policy import MODES
from tokenhub.domain.scoring import PROFILES

PROVIDER = Provider("p", "openai")


def candidates(rows: list[tuple[int | None, int]]) -> list[Candidate]:
    return [
        Candidate(Target(PROVIDER, Model(f"m{i}", "p", f"m{i}", weight=weight)), cost, 0)
        for i, (cost, weight) in enumerate(rows)
    ]


def score(of: list[Candidate], mode: str) -> list[Candidate]:
    scoring.score(of, mode)
    return of


ROWS = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 100)), min_size=2, max_size=8)


def test_every_mode_has_a_profile() -> None:
    assert set(PROFILES) == set(MODES)


@pytest.mark.parametrize("mode", MODES)
@given(rows=ROWS)
def test_at_equal_weight_the_cheaper_is_never_worse(mode: str, rows: list[tuple[int, int]]) -> None:
    scored = score(candidates([(cost, 50) for cost, _ in rows]), mode)
    for one in scored:
        for other in scored:
            if (one.estimate_nanousd or 0) < (other.estimate_nanousd or 0):
                assert one.score <= other.score


@pytest.mark.parametrize("mode", MODES)
@given(rows=ROWS)
def test_at_equal_cost_the_heavier_is_never_worse(mode: str, rows: list[tuple[int, int]]) -> None:
    scored = score(candidates([(7, weight) for _, weight in rows]), mode)
    for one in scored:
        for other in scored:
            if one.target.model.weight > other.target.model.weight:
                assert one.score <= other.score


@given(rows=ROWS, scale=st.integers(1, 1000))
def test_scaling_all_costs_changes_no_score(rows: list[tuple[int, int]], scale: int) -> None:
    plain = score(candidates(list(rows)), "normal")
    scaled = score(candidates([(cost * scale, weight) for cost, weight in rows]), "normal")
    assert [c.score for c in scaled] == pytest.approx([c.score for c in plain])


def test_an_unknown_cost_counts_as_the_dearest() -> None:
    unknown, cheap, dear = score(candidates([(None, 50), (1, 50), (9, 50)]), "cheap")
    assert unknown.score == dear.score > cheap.score


def test_nothing_scores_nothing() -> None:
    assert score([], "normal") == []
