"""What the demo provider offers: models of different price, speed and reliability. Values only.

Prices are made up and charged to budgets like real ones, so that routing and accounting can be seen at work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tokenhub.domain.catalog import Model, Provider
from tokenhub.domain.money import Price

PROVIDER = Provider(id="demo", type="demo", credential="none")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a demo model behaves."""

    first_word_s: float
    between_words_s: float
    failures_in_ten: int = 0
    is_brief: bool = False


def _model(name: str, weight: int, context: int, input_usd: str, output_usd: str) -> Model:
    price = Price.per_1k_usd(input_usd, output_usd)
    return Model(
        id=name,
        provider_id=PROVIDER.id,
        upstream_name=name,
        weight=weight,
        max_context_tokens=context,
        max_output_tokens=4_096,
        price=price,
        family=name,
    )


MODELS: tuple[Model, ...] = (
    _model("demo-smart", 90, 200_000, "0.003", "0.015"),
    _model("demo-fast", 70, 128_000, "0.0006", "0.0024"),
    _model("demo-cheap", 40, 32_768, "0.00005", "0.0002"),
    _model("demo-flaky", 30, 32_768, "0.0003", "0.0006"),
)

MANNERS: Mapping[str, Manner] = MappingProxyType(
    {
        "demo-smart": Manner(first_word_s=0.3, between_words_s=0.04),
        "demo-fast": Manner(first_word_s=0.05, between_words_s=0.008),
        "demo-cheap": Manner(first_word_s=0.15, between_words_s=0.03, is_brief=True),
        "demo-flaky": Manner(first_word_s=0.1, between_words_s=0.02, failures_in_ten=5),
    }
)
"""By upstream name; a model that an operator adds behaves like demo-fast."""
