"""The order of candidates, and that looking at one makes it whole."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Message, Text
from tokenhub.domain.checks import Prepared
from tokenhub.domain.cost import bound_nanousd
from tokenhub.domain.eligibility import eligible
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.observed import Observation, Observations
from tokenhub.domain.policy import DEFAULTS
from tokenhub.domain.ranking import NOTICEABLE_MS, PAGE, STANDINGS_KEPT, Ranking, listed, rank

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
COMMAND = ChatCommand("openai", {}, 100, [Message("user", [Text("x")])], max_output_tokens=100)
PREPARED = Prepared(COMMAND, KEY, DEFAULTS, 100, 100)


def models(count: int, **fields: object) -> list[Model]:
    return [
        Model(f"m{i:03}", "p", f"m{i}", **{"price": Price(1_000_000 * (i % 7 + 1), 10**6), **fields})  # type: ignore[arg-type]
        for i in range(count)
    ]


def ranked(
    of: list[Model],
    *,
    mode: str = "normal",
    named: tuple[str, ...] = (),
    seed: str = "s",
    prepared: Prepared = PREPARED,
    rows: dict[str, Observation] | None = None,
) -> Ranking:
    facts = Catalog.build(1, [Provider("p", "openai")], of).facts
    observed = Observations(facts, {(name, "p"): row for name, row in (rows or {}).items()}, 1000)
    return rank(eligible(prepared, facts, observed, frozenset("p")), mode, named, seed)


def order(of: Ranking) -> list[str]:
    return [candidate.target.model.id for candidate in of]


@pytest.mark.parametrize("count", [1, 2, PAGE, PAGE + 1, 3 * PAGE])
def test_all_are_there_once_the_best_first(count: int) -> None:
    ranking = ranked(models(count))
    assert len(ranking) == count and sorted(order(ranking)) == [f"m{i:03}" for i in range(count)]
    scores = [candidate.score for candidate in ranking]
    assert scores == sorted(scores)


def test_a_candidate_is_made_once_and_found_by_every_kind_of_index() -> None:
    ranking = ranked(models(25))
    assert ranking[3] is ranking[3] is ranking[:5][3] and ranking[-1] is ranking[24] is list(ranking)[24]
    assert ranking[20:30] == [ranking[i] for i in range(20, 25)] and ranking[30:] == []
    with pytest.raises(IndexError):
        ranking[25]


def test_a_candidate_tells_what_it_costs_and_why_it_is_where_it_is() -> None:
    rows = {"m000": Observation(latency_ms=300.4), "m001": Observation(latency_ms=100.0)}
    first, second = ranked(
        models(2), rows=rows, prepared=replace(PREPARED, command=replace(COMMAND, max_output_tokens=None))
    )
    # One is dearer, the other slower: a quarter of the score each. Ties are broken by the seed.
    by_id = {candidate.target.model.id: candidate for candidate in (first, second)}
    assert by_id["m000"].parts == (0, 0.25, 0, 0) and by_id["m001"].parts == (0.25, 0, 0, 0)
    assert (by_id["m000"].score, by_id["m000"].predicted_ms, by_id["m000"].estimate_nanousd) == (0.25, 300, 100 + 512)
    assert by_id["m001"].estimate_nanousd == 200 + 512


def test_nobody_is_faster_than_can_be_noticed() -> None:
    rows = {"m000": Observation(latency_ms=1.0), "m001": Observation(latency_ms=NOTICEABLE_MS), "m002": Observation()}
    assert {candidate.parts[1] for candidate in ranked(models(3), rows=rows)} == {0}


def test_the_parts_are_the_score() -> None:
    rows = {f"m{i:03}": Observation(latency_ms=100.0 + i, calls=5, failures=i % 3, seen_at_ms=1000) for i in range(20)}
    heavy = [replace(model, weight=i * 5) for i, model in enumerate(models(20))]
    for candidate in ranked(heavy, rows=rows):
        assert math.isclose(sum(candidate.parts), candidate.score, abs_tol=0.0003)
        assert str(candidate.parts[3]) != "-0.0"


def test_only_a_budgeted_key_has_a_bound() -> None:
    budgeted = replace(PREPARED, key=replace(KEY, monthly_budget_nanousd=10**9))
    assert ranked(models(1))[0].bound_nanousd == 0
    assert ranked(models(1), prepared=budgeted)[0].bound_nanousd == bound_nanousd(Price(10**6, 10**6), 100, 100)


def test_what_is_not_known_is_none() -> None:
    candidate = ranked(models(1, price=None))[0]
    assert candidate.estimate_nanousd is None and candidate.predicted_ms is None


def test_the_named_ones_come_first_in_their_order() -> None:
    of = models(30, enabled=True)
    of[5] = replace(of[5], enabled=False)
    ranking = ranked(of, named=("m029", "m005", "gone", "m006"))
    assert order(ranking)[:2] == ["m029", "m006"] and len(set(order(ranking))) == 29
    assert order(ranking)[2:] == [name for name in order(ranked(of)) if name not in ("m029", "m006")]


@given(st.permutations(range(12)), st.text(max_size=4))
def test_the_order_depends_on_the_seed_and_not_on_the_order_of_the_input(places: list[int], seed: str) -> None:
    of = models(12, price=Price(1, 1))
    assert order(ranked(of, seed=seed)) == order(ranked([of[place] for place in places], seed=seed))


def test_equal_ones_are_spread_evenly_over_seeds() -> None:
    of = models(4, price=Price(1, 1))
    firsts = [order(ranked(of, seed=f"dec_{i}"))[0] for i in range(800)]
    assert all(150 < firsts.count(model.id) < 250 for model in of)


def test_a_receipt_lists_the_same_from_a_ranking_and_from_what_is_left_of_one() -> None:
    ranking = ranked(models(25), rows={"m003": Observation(latency_ms=5.0)})
    assert listed(ranking, 12) == listed(list(ranking), 12) == listed(ranking, 99)[:12]
    assert len(listed(ranking, 99)) == 25 and listed((), 5) == []
    assert set(listed(ranking, 1)[0]) == {
        "model", "provider", "score", "parts", "estimated_cost_nanousd", "predicted_latency_ms"
    }  # fmt: skip


def test_what_a_mode_holds_of_the_same_targets_is_worked_out_once_and_forgotten_in_time() -> None:
    facts = Catalog.build(1, [Provider("p", "openai")], models(STANDINGS_KEPT + 5)).facts
    observed = Observations(facts)
    for _ in range(2):
        rank(eligible(PREPARED, facts, observed, frozenset("p")), "normal", (), "s")
    assert len(observed.standings) == 1
    for model in facts.targets:
        only = replace(PREPARED, key=replace(KEY, allowed_models=(model.model.id,)))
        ranking = rank(eligible(only, facts, observed, frozenset("p")), "normal", (), "s")
        assert order(ranking) == [model.model.id]
    assert len(observed.standings) <= STANDINGS_KEPT
