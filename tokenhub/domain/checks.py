"""The reasons not to try a target, as a table: what a request needs against what the targets are.

Each is worked out for all targets at once, and only where any of them can fail it. How they are applied is in
`eligibility.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from tokenhub.domain.catalog import CAPABILITY_BITS, Column, Facts, Flags, Target
from tokenhub.domain.chat import ChatCommand
from tokenhub.domain.cost import output_bound
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import usd_text
from tokenhub.domain.observed import Observations
from tokenhub.domain.policy import Policy
from tokenhub.domain.tokens import has_images

CONTEXT_HEADROOM = 1.15
"""Estimates run low on code and on rare scripts; an estimate within 15 % of the context does not fit."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command with everything merged and measured, ready to be routed. Plain values, can be carried."""

    command: ChatCommand
    key: ApiKey
    policy: Policy
    input_tokens: int
    """Estimated."""
    input_bound: int | None
    """The most the provider can count; None: nothing bounds it."""


@dataclass(slots=True)
class Needs:
    """What a request asks of a target, worked out once for all of them."""

    prepared: Prepared
    facts: Facts
    observed: Observations
    ready: Set[str]
    estimates: Column
    """What each target would probably cost."""
    capabilities: int = 0
    min_weight: int = 0
    budget_nanousd: int = 0
    """The limit that is looked at; 0: none."""
    latency_ms: int = 0
    """As above."""

    def demand(self, limit_of: Callable[[str], Any], best_weight: int) -> None:
        """Take the limits that it has by the names of the policy's rows; None or 0 is none."""
        self.min_weight = min(limit_of("min_weight") or 0, best_weight)
        self.budget_nanousd = limit_of("max_budget_usd") or 0
        self.latency_ms = limit_of("max_latency_ms") or 0

    @property
    def allowed(self) -> tuple[str, ...]:
        """The models that the key may use; empty: all."""
        return self.prepared.key.allowed_models

    @property
    def is_budgeted(self) -> bool:
        """Whether the key has a budget to keep."""
        return self.prepared.key.monthly_budget_nanousd is not None

    @property
    def context_tokens(self) -> float:
        """Room that the input needs, where our estimates are as good as their headroom."""
        return self.prepared.input_tokens * CONTEXT_HEADROOM


@dataclass(frozen=True, slots=True)
class Check:
    """One reason not to try a target. `applies` tells whether any target can fail it for this request: for an ordinary
    request none can. `fails` then tells which do, and `detail` what is wrong with one of them."""

    reason: str
    applies: Callable[[Needs], bool]
    fails: Callable[[Needs], Flags]
    detail: Callable[[Needs, Target, int], str]


def _context_is_short(needs: Needs) -> bool:
    return needs.context_tokens * needs.observed.most_ratio >= needs.facts.least_context_tokens + 1


def _too_long(needs: Needs) -> Flags:
    longest: Flags = np.floor(needs.context_tokens * needs.observed.token_ratios) > needs.facts.contexts
    return longest


def _how_long(needs: Needs, target: Target, position: int) -> str:
    tokens = round(needs.prepared.input_tokens * needs.observed.token_ratios[position])
    return f"about {tokens} tokens do not fit {target.model.max_context_tokens}"


def _what_is_missing(needs: Needs, target: Target, position: int) -> str:
    missing = needs.capabilities & ~int(needs.facts.capabilities[position])
    return f"it has no {', '.join(name for name, bit in CAPABILITY_BITS.items() if missing & bit)}"


def _may_be_unbounded(needs: Needs) -> bool:
    is_endless = needs.facts.has_endless and needs.prepared.command.max_output_tokens is None
    return needs.is_budgeted and (needs.prepared.input_bound is None or is_endless)


def _unbounded(needs: Needs) -> Flags:
    cap = needs.prepared.command.max_output_tokens
    if needs.prepared.input_bound is None:
        return np.ones(len(needs.facts.targets), np.bool_)
    return np.array([output_bound(target, cap) is None for target in needs.facts.targets], np.bool_)


def _how_dear(needs: Needs, target: Target, position: int) -> str:
    estimate = int(needs.estimates[position])
    return f"about {usd_text(estimate)} USD is more than {usd_text(needs.budget_nanousd)}"


def _how_slow(needs: Needs, target: Target, position: int) -> str:
    predicted_ms = needs.observed.predicted_ms(needs.prepared.command.max_output_tokens)[position]
    return f"about {predicted_ms:.0f} ms is more than {needs.latency_ms}"


def _is_over_budget(needs: Needs) -> bool:
    command, limit = needs.prepared.command, needs.budget_nanousd
    return (
        0 < limit < needs.observed.most_nanousd(needs.prepared.input_tokens, command.max_output_tokens, command.choices)
    )


def _dear(needs: Needs) -> Flags:
    dear: Flags = needs.estimates > needs.budget_nanousd
    return dear


def _slow(needs: Needs) -> Flags:
    slow: Flags = needs.observed.predicted_ms(needs.prepared.command.max_output_tokens) > needs.latency_ms
    return slow


CHECKS = (
    Check(
        "disabled",
        lambda needs: needs.facts.has_disabled,
        lambda needs: ~needs.facts.offered,
        lambda needs, target, position: "the model or its provider is disabled",
    ),
    Check(
        "not_allowed",
        lambda needs: bool(needs.allowed),
        lambda needs: ~needs.facts.of_models(needs.allowed),
        lambda needs, target, position: "this key may not use the model",
    ),
    Check(
        "weight_below_minimum",
        lambda needs: needs.min_weight > 0,
        lambda needs: needs.facts.weights < needs.min_weight,
        lambda needs, target, position: f"weight {target.model.weight} is below {needs.min_weight}",
    ),
    Check("context_overflow", _context_is_short, _too_long, _how_long),
    Check(
        "capability_missing",
        lambda needs: needs.capabilities & ~needs.facts.shared_capabilities != 0,
        lambda needs: needs.facts.capabilities & needs.capabilities != needs.capabilities,
        _what_is_missing,
    ),
    Check(
        "provider_not_ready",
        lambda needs: not needs.facts.provider_ids <= needs.ready,
        lambda needs: ~needs.facts.of_providers(needs.ready),
        lambda needs, target, position: f"provider {target.provider.id} has no usable credential",
    ),
    Check(
        "price_unknown",
        lambda needs: needs.facts.has_unpriced and (needs.is_budgeted or needs.budget_nanousd > 0),
        lambda needs: np.isnan(needs.facts.input_prices),
        lambda needs, target, position: "it has no price and a budget applies",
    ),
    Check(
        "cost_unbounded",
        _may_be_unbounded,
        _unbounded,
        lambda *_: "set max_tokens, or the model's max_context_tokens, and send no files by reference",
    ),
    Check("budget_exceeded", _is_over_budget, _dear, _how_dear),
    Check("latency_exceeded", lambda needs: 0 < needs.latency_ms < needs.observed.slowest_ms, _slow, _how_slow),
)
"""In the order in which a rejection is named."""


def needed_capabilities(command: ChatCommand, facts: Facts) -> int:
    """Bits of CAPABILITY_BITS that a target needs; one that all targets have anyhow may be left out."""
    needed = CAPABILITY_BITS["streaming"] if command.stream else 0
    if command.tools:
        needed |= CAPABILITY_BITS["tools"]
    if command.parameters.output_schema is not None:
        needed |= CAPABILITY_BITS["json_schema"]
    if command.choices > 1:
        needed |= CAPABILITY_BITS["choices"]
    if not facts.shared_capabilities & CAPABILITY_BITS["vision"] and has_images(command):
        needed |= CAPABILITY_BITS["vision"]
    return needed
