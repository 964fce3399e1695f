from __future__ import annotations

from tokenhub.domain.catalog import Catalog
from tokenhub.providers.demo.catalog import MANNERS, MODELS, PROVIDER


def test_the_models_differ_in_price_speed_and_reliability_and_are_all_usable() -> None:
    catalog = Catalog.build(1, [PROVIDER], MODELS)
    assert len(catalog.targets) == len(MODELS) >= 3
    prices = [model.price for model in MODELS]
    assert None not in prices and len({price.output for price in prices if price}) == len(MODELS)
    assert len({model.weight for model in MODELS}) == len(MODELS)
    assert {model.upstream_name for model in MODELS} == set(MANNERS)
    assert len({manner.between_words_s for manner in MANNERS.values()}) == len(MANNERS)
    assert [name for name, manner in MANNERS.items() if manner.failures_in_ten] == ["demo-flaky"]
    assert all(model.max_context_tokens and model.max_output_tokens for model in MODELS)
    assert PROVIDER.credential == "none"
