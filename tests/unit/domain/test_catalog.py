"""The snapshot: indexed, ordered, immutable."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tokenhub.domain.catalog import CAPABILITY_BITS, PROVIDER_TYPES, Catalog, Model, Provider
from tokenhub.domain.money import Price
from tokenhub.providers.registry import TYPES


def test_targets_are_ordered_by_model_and_need_their_provider() -> None:
    of = Catalog.build(
        3, [Provider("p", "openai")], [Model("b", "p", "b"), Model("a", "p", "a"), Model("x", "gone", "x")]
    )
    assert [t.model.id for t in of.targets] == ["a", "b"] and "x" not in of.models and of.epoch == 3


def test_a_snapshot_cannot_be_changed() -> None:
    of = Catalog.build(1, [Provider("p", "openai")], [])
    with pytest.raises(TypeError):
        of.providers["q"] = Provider("q", "openai")  # type: ignore[index]


def test_nothing_loaded_yet_is_told_apart_from_an_empty_catalog() -> None:
    assert Catalog().epoch == -1 and Catalog.build(0, [], []).epoch == 0


def test_models_are_completed_with_their_provider() -> None:
    def complete(model: Model, provider: Provider) -> Model:
        return replace(model, family=f"{model.id} at {provider.id}", max_context_tokens=9)

    models = [Model("a", "p", "a"), Model("x", "gone", "x")]
    of = Catalog.build(1, [Provider("p", "openai")], models, complete=complete)
    assert of.models["a"].family == of.targets[0].model.family == "a at p" and list(of.models) == ["a"]
    assert of.targets[0].output_cap == of.facts.least_context_tokens == 9


def test_the_facts_are_columns_in_the_order_of_the_targets() -> None:
    providers = [Provider("p", "openai"), Provider("q", "anthropic", enabled=False)]
    models = [
        Model(
            "b", "q", "b", weight=70, price=Price(2_000_000, 3_000_000), max_context_tokens=50, capabilities=frozenset()
        ),
        Model("a", "p", "a", weight=40, max_output_tokens=9),
    ]
    facts = Catalog.build(1, providers, models).facts
    assert facts.positions == {"a": 0, "b": 1} and facts.weights.tolist() == [40, 70]
    assert facts.contexts.tolist() == [math.inf, 50] and facts.output_caps.tolist() == [9, 50]
    assert math.isnan(facts.input_prices[0]) and (facts.input_prices[1], facts.output_prices[1]) == (2, 3)
    assert facts.offered.tolist() == [True, False] and facts.best_weight == 40
    assert facts.of_providers({"q"}).tolist() == [False, True]
    assert facts.of_models(["gone", "a"]).tolist() == [True, False] and facts.of_models([]).tolist() == [False, False]
    assert facts.capabilities.tolist() == [sum(CAPABILITY_BITS.values()), 0] and facts.shared_capabilities == 0
    assert (facts.has_disabled, facts.has_unpriced, facts.has_endless) == (True, True, False)


def test_the_dearest_price_is_that_of_a_tier() -> None:
    tiered = Price(1_000_000, 2_000_000, tiers=((100, Price(5_000_000, 6_000_000)),))
    models = [Model("a", "p", "a", price=Price(3_000_000, 1_000_000)), Model("b", "p", "b", price=tiered)]
    facts = Catalog.build(1, [Provider("p", "openai")], models).facts
    assert (facts.tiered, facts.least_tier_tokens, facts.dearest_input, facts.dearest_output) == ([1], 100, 5, 6)
    assert Catalog.build(1, [Provider("p", "openai")], models[:1]).facts.least_tier_tokens == math.inf


def test_ties_are_broken_the_same_way_in_every_catalog() -> None:
    provider, models = Provider("p", "openai"), [Model(name, "p", name) for name in "abc"]
    few, all_of_them = Catalog.build(1, [provider], models[1:]).facts, Catalog.build(1, [provider], models).facts
    assert few.tie_keys.tolist() == all_of_them.tie_keys.tolist()[1:] and len({*all_of_them.tie_keys.tolist()}) == 3


def test_an_empty_catalog_has_facts_too() -> None:
    facts = Catalog().facts
    assert len(facts.weights) == 0 and facts.best_weight == 0 and facts.least_context_tokens == math.inf


def test_every_type_has_a_client() -> None:
    assert set(PROVIDER_TYPES) == set(TYPES)
