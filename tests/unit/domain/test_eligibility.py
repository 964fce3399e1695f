"""What is eligible, and that every rejection has its reason; the reasons one by one are in test_checks.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Message, Text
from tokenhub.domain.checks import CHECKS, Prepared
from tokenhub.domain.eligibility import CALLER_REASONS, WISHES, Eligible, Rejection, Rejections, eligible
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.observed import Observation, Observations
from tokenhub.domain.policy import DEFAULTS, Level, Policy, Setting, merge

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
NO_LIMITS = Policy(
    {**DEFAULTS.settings, "max_budget_usd": Setting(None, "default"), "max_latency_ms": Setting(0, "default")}
)
PREPARED = Prepared(ChatCommand("openai", {}, 100, [Message("user", [Text("x")])]), KEY, NO_LIMITS, 100, 100)
PRICE, DEAR = Price(1_000_000, 1_000_000), Price(10**9, 10**9)
PROVIDERS = [Provider("p", "openai"), Provider("q", "openai", enabled=False)]


def model(model_id: str, **fields: object) -> Model:
    return Model(model_id, "p", model_id, **{"price": PRICE, **fields})  # type: ignore[arg-type]


def found(
    *models: Model,
    prepared: Prepared = PREPARED,
    slow: dict[str, float] | None = None,
    spared: tuple[str, ...] = (),
) -> Eligible:
    facts = Catalog.build(1, PROVIDERS, models).facts
    rows = {(model_id, "p"): Observation(latency_ms=ms) for model_id, ms in (slow or {}).items()}
    return eligible(prepared, facts, Observations(facts, rows), frozenset("p"), spared)


def left(of: Eligible) -> list[str]:
    models = [target.model.id for target in of.needs.facts.targets]
    return models if isinstance(of.positions, slice) else [models[position] for position in of.positions]


def reasons(of: Eligible) -> dict[str, str]:
    return {rejection.model_id: rejection.reason for rejection in of.rejections}


def asking(level: Level, **policy: object) -> Prepared:
    return replace(PREPARED, policy=merge(NO_LIMITS, level, policy))


def test_nothing_is_looked_at_where_nothing_can_fail() -> None:
    of = found(model("a"), model("b"))
    assert of.positions == slice(None) and of.count == 2 and not of.rejections and of.rejections.left is None


def test_a_rejection_is_named_by_the_first_reason() -> None:
    of = found(
        model("a", enabled=False, weight=1), model("b", weight=1), model("c"), prepared=asking("request", min_weight=50)
    )
    assert reasons(of) == {"a": "disabled", "b": "weight_below_minimum"} and left(of) == ["c"]
    assert of.rejections.reasons == {"disabled", "weight_below_minimum"}


def test_rejections_are_a_sequence_in_the_order_of_the_catalog() -> None:
    of = found(*(model(f"m{i}", enabled=i % 2 == 0) for i in range(10)))
    rejected = of.rejections
    assert len(rejected) == 5 and [r.model_id for r in rejected] == ["m1", "m3", "m5", "m7", "m9"]
    assert rejected[0] == Rejection("m1", "p", "disabled", "the model or its provider is disabled") == rejected[:1][0]
    assert rejected[-1].model_id == "m9" and rejected + [rejected[0]] == [*rejected, rejected[0]]
    with pytest.raises(IndexError):
        rejected[5]


def test_no_rejection_has_no_reason() -> None:
    assert Rejections(Catalog().facts).reasons == set() and list(Rejections(Catalog().facts)) == []


@pytest.mark.parametrize("level", ["request", "header", "key"])
def test_what_the_caller_or_the_key_demands_is_hard(level: Level) -> None:
    values = {"max_budget_usd": "0.000001" if level == "header" else 0.000001}
    of = found(model("a", price=DEAR), prepared=asking(level, **values))
    assert of.count == 0 and reasons(of) == {"a": "budget_exceeded"} and of.set_aside == ()


@pytest.mark.parametrize("level", ["server", "admin"])
def test_what_the_server_wishes_is_set_aside_where_it_would_leave_nothing(level: Level) -> None:
    budget = "0.000001" if level == "server" else 0.000001
    latency = "1000" if level == "server" else 1000
    both = asking(level, max_budget_usd=budget, max_latency_ms=latency)
    of = found(model("a", price=DEAR), model("b", price=DEAR), prepared=both, slow={"a": 2000.0, "b": 3000.0})
    assert of.count == 2 and of.set_aside == ("max_budget_usd", "max_latency_ms") and not of.rejections
    of = found(model("a", price=DEAR), model("b"), prepared=both, slow={"a": 2000.0, "b": 3000.0})
    assert reasons(of) == {"a": "default_budget"} and of.set_aside == ("max_latency_ms",)


def test_a_wish_alone_is_not_set_aside_for_what_others_rejected() -> None:
    of = found(model("a", enabled=False), prepared=asking("server", max_budget_usd="0.000001"))
    assert of.count == 0 and of.set_aside == ()


def test_a_wish_spares_the_model_that_the_caller_named() -> None:
    of = found(model("a", price=DEAR), model("b"), prepared=asking("server", max_budget_usd="0.000001"), spared=("a",))
    assert not of.rejections and not of.set_aside
    of = found(model("a", price=DEAR), model("b"), prepared=asking("request", max_budget_usd=0.000001), spared=("a",))
    assert reasons(of) == {"a": "budget_exceeded"}


def test_the_ceiling_of_a_key_stays_hard_where_a_wish_is_set_aside() -> None:
    settings = {**NO_LIMITS.settings, "max_budget_usd": Setting(1_000, "server", 100_000)}
    prepared = replace(PREPARED, policy=Policy(settings))
    of = found(model("a", price=Price(100_000_000, 0)), model("b", price=DEAR), prepared=prepared)
    assert reasons(of) == {"b": "budget_exceeded"} and of.count == 1 and of.set_aside == ("max_budget_usd",)


def test_a_weight_above_the_best_asks_for_the_best() -> None:
    of = found(
        model("a", weight=8),
        model("b", weight=5),
        model("c", weight=99, enabled=False),
        prepared=asking("request", min_weight=80),
    )
    assert left(of) == ["a"] and of.clamped == {"min_weight": (80, 8)}
    assert "weight 5 is below 8" in of.rejections[0].detail
    assert found(model("a", weight=8), prepared=asking("request", min_weight=8)).clamped == {}


def test_the_best_weight_is_the_best_that_the_key_may_use() -> None:
    prepared = replace(asking("request", min_weight=80), key=replace(KEY, allowed_models=("b", "gone")))
    of = found(model("a", weight=90), model("b", weight=5), prepared=prepared)
    assert left(of) == ["b"] and of.clamped == {"min_weight": (80, 5)} and reasons(of) == {"a": "not_allowed"}


def test_what_is_found_is_found_by_its_number() -> None:
    of = found(model("a"), model("b", enabled=False), model("c"))
    assert of.find(("c", "b", "gone", "a")) == [1, 0] and of.find(("z",)) == []
    assert found(model("a"), model("b")).find(("b",)) == [1]


def test_no_catalog_has_nothing_to_offer() -> None:
    assert found().count == 0 and found(prepared=asking("server", max_budget_usd="1")).set_aside == ()


def test_every_wish_is_checked_as_its_demand_is() -> None:
    assert {check.reason for _, check in WISHES.values()} < {check.reason for check in CHECKS}
    assert CALLER_REASONS < {check.reason for check in CHECKS}
    assert not {reason for reason, _ in WISHES.values()} & CALLER_REASONS


MODELS = st.builds(
    lambda number, provider, enabled, context, output, price, weight, has: Model(
        f"m{number}",
        provider,
        f"m{number}",
        enabled=enabled,
        max_context_tokens=context,
        max_output_tokens=output,
        price=price,
        weight=weight,
        capabilities=has,
    ),
    st.integers(0, 30),
    st.sampled_from("pq"),
    st.booleans(),
    st.sampled_from([None, 50, 10_000]),
    st.sampled_from([None, 20]),
    st.sampled_from([None, PRICE, DEAR]),
    st.integers(0, 100),
    st.sampled_from([None, frozenset(), frozenset({"streaming"})]),
)


@given(
    st.lists(MODELS, max_size=8, unique_by=lambda m: m.id),
    st.sets(st.sampled_from("pq")),
    st.sampled_from([None, 10**12]),
    st.sampled_from([None, 100]),
    st.sampled_from([0, 50]),
    st.sampled_from([0, 0.001]),
    st.sampled_from([None, 30]),
    st.booleans(),
)
def test_skipping_checks_that_none_can_fail_changes_no_verdict(
    models: list[Model],
    ready: set[str],
    budget: int | None,
    input_bound: int | None,
    min_weight: int,
    max_budget_usd: float,
    cap: int | None,
    stream: bool,
) -> None:
    heavy = Model("zz-heavy", "p", "h", weight=100, enabled=True)  # So that no weight is clamped.
    prepared = replace(
        PREPARED,
        key=replace(KEY, monthly_budget_nanousd=budget),
        input_bound=input_bound,
        command=replace(PREPARED.command, max_output_tokens=cap, stream=stream),
        policy=merge(NO_LIMITS, "request", {"min_weight": min_weight, "max_budget_usd": max_budget_usd}),
    )

    def verdicts(of: list[Model]) -> list[Rejection]:
        facts = Catalog.build(1, PROVIDERS, [*of, heavy]).facts
        return [r for r in eligible(prepared, facts, Observations(facts), ready).rejections if r.model_id != heavy.id]

    alone = [verdicts([one]) for one in sorted(models, key=lambda m: m.id)]
    assert verdicts(models) == [rejection for rejections in alone for rejection in rejections]
