"""Which targets may answer a request at all; every one that may not is named with its reason.

What a caller or key demands is hard. What only the server's defaults prefer is set aside where nothing else is left.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import ChatCommand
from tokenhub.domain.cost import bound_nanousd, estimate_nanousd, output_bound
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.policy import Policy

CONTEXT_HEADROOM = 1.15
"""Estimates run low on code and on rare scripts; an estimate within 15 % of the context does not fit."""

CALLER_REASONS = frozenset(
    {
        "not_allowed",
        "weight_below_minimum",
        "context_overflow",
        "budget_exceeded",
        "price_unknown",
        "cost_unbounded",
    }
)
"""Reasons that the caller's own limits are behind; the others are the server's (health, configuration)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command with everything merged and measured, ready to be routed. Plain values, can be carried."""

    command: ChatCommand
    key: ApiKey
    policy: Policy
    input_tokens: int
    """Estimated."""
    output_tokens: int
    """Expected, over all choices."""
    input_bound: int | None
    """The most the provider can count; None: nothing bounds it."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a model is not tried."""

    model_id: str
    provider_id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target that may answer."""

    target: Target
    estimate_nanousd: int | None
    bound_nanousd: int
    """What is reserved for an attempt; 0 where the price is not known (budgeted keys never come here)."""
    score: float = 0.0
    """Lower is better."""


def _demands_price(prepared: Prepared) -> bool:
    return prepared.key.monthly_budget_nanousd is not None or prepared.policy.set_by("max_budget_usd") == "request"


def _static_reason(target: Target, prepared: Prepared, ready: Set[str]) -> tuple[str, str] | None:
    model, provider = target.model, target.provider
    if not model.enabled:
        return "disabled", "the model is disabled"
    if not provider.enabled:
        return "provider_disabled", f"provider {provider.id} is disabled"
    if not prepared.key.allows(model.id):
        return "not_allowed", "this key may not use the model"
    if model.weight < prepared.policy["min_weight"]:
        return "weight_below_minimum", f"weight {model.weight} is below {prepared.policy['min_weight']}"
    context = model.max_context_tokens
    if context and int(prepared.input_tokens * CONTEXT_HEADROOM) > context:
        return "context_overflow", f"about {prepared.input_tokens} tokens do not fit {context}"
    if provider.id not in ready:
        return "provider_not_ready", f"provider {provider.id} has no usable credential or client"
    return None


def _priced(target: Target, prepared: Prepared) -> Candidate | tuple[str, str]:
    model = target.model
    if model.price is None:
        if _demands_price(prepared):
            return "price_unknown", "the model has no price and a budget applies"
        return Candidate(target, None, 0)
    cap = output_bound(model, prepared.command.max_output_tokens)
    if cap is None or prepared.input_bound is None:
        if prepared.key.monthly_budget_nanousd is not None:
            return "cost_unbounded", "set max_tokens, or the model's max_context_tokens, and send no files by reference"
        bound = 0
    else:
        bound = bound_nanousd(model.price, prepared.input_bound, cap * prepared.command.choices)
    estimate = estimate_nanousd(model.price, prepared.input_tokens, prepared.output_tokens)
    limit = prepared.policy["max_budget_usd"]
    if limit and prepared.policy.set_by("max_budget_usd") == "request" and (estimate or 0) > limit:
        return "budget_exceeded", f"about {estimate} nano-USD is more than {limit}"
    return Candidate(target, estimate, bound)


def eligible(
    targets: tuple[Target, ...], prepared: Prepared, ready: Set[str]
) -> tuple[list[Candidate], list[Rejection]]:
    """Split targets into candidates and rejections, keeping their order. `ready`: provider ids with a usable client."""
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for target in targets:
        verdict = _static_reason(target, prepared, ready) or _priced(target, prepared)
        if isinstance(verdict, Candidate):
            candidates.append(verdict)
        else:
            rejections.append(Rejection(target.model.id, target.provider.id, *verdict))
    return _prefer_default_budget(candidates, rejections, prepared)


def _prefer_default_budget(
    candidates: list[Candidate], rejections: list[Rejection], prepared: Prepared
) -> tuple[list[Candidate], list[Rejection]]:
    limit = prepared.policy["max_budget_usd"]
    if not limit or prepared.policy.set_by("max_budget_usd") == "request":
        return candidates, rejections
    fits: Callable[[Candidate], bool] = lambda c: (c.estimate_nanousd or 0) <= limit  # noqa: E731
    named = prepared.command.model
    kept = [c for c in candidates if fits(c) or c.target.model.id == named]
    if not kept:
        return candidates, rejections
    dropped = [c for c in candidates if c not in kept]
    return kept, rejections + [
        Rejection(c.target.model.id, c.target.provider.id, "default_budget", "dearer than the server's default")
        for c in dropped
    ]
