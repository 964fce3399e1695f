"""Reasons and blame; what is chosen end to end is in test_selection.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Message, Text
from tokenhub.domain.eligibility import CALLER_REASONS, CONTEXT_HEADROOM, Prepared, eligible
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.policy import DEFAULTS

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
PREPARED = Prepared(ChatCommand("openai", {}, 100, [Message("user", [Text("x")])]), KEY, DEFAULTS, 100, 512, 100)
PRICE = Price(1_000_000, 1_000_000)


def catalog(**fields: object) -> Catalog:
    return Catalog.build(1, [Provider("p", "openai")], [Model("m", "p", "m", price=PRICE, **fields)])  # type: ignore[arg-type]


def reason(of: Catalog, prepared: Prepared, ready: frozenset[str] = frozenset("p")) -> str:
    candidates, rejections = eligible(of.targets, prepared, ready)
    return rejections[0].reason if rejections else f"ok {len(candidates)}"


FITS = int(100 * CONTEXT_HEADROOM)


@pytest.mark.parametrize(
    ("context", "verdict"), [(100, "context_overflow"), (FITS - 1, "context_overflow"), (FITS, "ok 1"), (None, "ok 1")]
)
def test_an_estimate_needs_headroom(context: int | None, verdict: str) -> None:
    assert reason(catalog(max_context_tokens=context), PREPARED) == verdict


def test_a_bound_of_zero_is_kept_where_nobody_budgets() -> None:
    candidates, _ = eligible(catalog().targets, replace(PREPARED, input_bound=None), frozenset("p"))
    assert candidates[0].bound_nanousd == 0


def test_an_unready_provider_is_not_the_callers_doing() -> None:
    assert reason(catalog(), PREPARED, frozenset()) == "provider_not_ready"
    assert "provider_not_ready" not in CALLER_REASONS
