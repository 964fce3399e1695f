"""Reasons and blame; what is chosen end to end is in test_selection.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Message, Text
from tokenhub.domain.eligibility import CALLER_REASONS, CONTEXT_HEADROOM, Prepared, eligible
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.policy import DEFAULTS, merge

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
PREPARED = Prepared(ChatCommand("openai", {}, 100, [Message("user", [Text("x")])]), KEY, DEFAULTS, 100, 512, 100)
PRICE = Price(1_000_000, 1_000_000)


def catalog(**fields: object) -> Catalog:
    return Catalog.build(1, [Provider("p", "openai")], [Model("m", "p", "m", price=PRICE, **fields)])  # type: ignore[arg-type]


def reason(of: Catalog, prepared: Prepared, ready: frozenset[str] = frozenset("p")) -> str:
    candidates, rejections = eligible(of, prepared, ready)
    return rejections[0].reason if rejections else f"ok {len(candidates)}"


FITS = int(100 * CONTEXT_HEADROOM)


@pytest.mark.parametrize(
    ("context", "verdict"), [(100, "context_overflow"), (FITS - 1, "context_overflow"), (FITS, "ok 1"), (None, "ok 1")]
)
def test_an_estimate_needs_headroom(context: int | None, verdict: str) -> None:
    assert reason(catalog(max_context_tokens=context), PREPARED) == verdict


def test_a_bound_of_zero_is_kept_where_nobody_budgets() -> None:
    candidates, _ = eligible(catalog(), replace(PREPARED, input_bound=None), frozenset("p"))
    assert candidates[0].bound_nanousd == 0


def test_an_unready_provider_is_not_the_callers_doing() -> None:
    assert reason(catalog(), PREPARED, frozenset()) == "provider_not_ready"
    assert "provider_not_ready" not in CALLER_REASONS


MODELS = st.builds(
    lambda number, provider, enabled, context, output, price, weight: Model(
        f"m{number}",
        provider,
        f"m{number}",
        enabled=enabled,
        max_context_tokens=context,
        max_output_tokens=output,
        price=price,
        weight=weight,
    ),
    st.integers(0, 30),
    st.sampled_from("pq"),
    st.booleans(),
    st.sampled_from([None, 50, 10_000]),
    st.sampled_from([None, 20]),
    st.sampled_from([None, PRICE]),
    st.integers(0, 100),
)


@given(
    st.lists(MODELS, max_size=8, unique_by=lambda m: m.id),
    st.sets(st.sampled_from("pq")),
    st.sampled_from([None, 10**12]),
    st.sampled_from([None, 100]),
    st.sampled_from([0, 50]),
    st.sampled_from([None, 30]),
)
def test_skipping_checks_that_none_can_fail_changes_no_verdict(
    models: list[Model],
    ready: set[str],
    budget: int | None,
    input_bound: int | None,
    min_weight: int,
    cap: int | None,
) -> None:
    providers = [Provider("p", "openai"), Provider("q", "openai", enabled=False)]
    prepared = replace(
        PREPARED,
        key=replace(KEY, monthly_budget_nanousd=budget),
        input_bound=input_bound,
        command=replace(PREPARED.command, max_output_tokens=cap),
        policy=merge(DEFAULTS, "request", {"min_weight": min_weight}),
    )
    together = eligible(Catalog.build(1, providers, models), prepared, ready)
    alone = [
        eligible(Catalog.build(1, providers, [model]), prepared, ready) for model in sorted(models, key=lambda m: m.id)
    ]
    assert together[0] == [candidate for candidates, _ in alone for candidate in candidates]
    assert together[1] == [rejection for _, rejections in alone for rejection in rejections]
