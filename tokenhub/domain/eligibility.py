"""Which targets may answer a request at all; every one that may not is named with its reason.

What a caller or key demands is hard. What only the server's defaults prefer is set aside where nothing else is left.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from tokenhub.domain.catalog import Catalog, Facts, Target
from tokenhub.domain.chat import ChatCommand
from tokenhub.domain.cost import bound_nanousd, estimate_nanousd, output_bound
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import usd_text
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


@dataclass(slots=True)
class Candidate:
    """A target that may answer."""

    target: Target
    estimate_nanousd: int | None
    """None: the price is not known."""
    bound_nanousd: int
    """What is reserved for an attempt on a budgeted key; 0 for other keys, whose spend has no cap to keep."""
    score: float = 0.0
    """Lower is better."""


@dataclass(slots=True)
class _Needs:
    """What a request asks of a target, worked out once for all targets."""

    allowed: tuple[str, ...]
    min_weight: int
    context_tokens: int
    ready: Set[str]
    is_budgeted: bool
    needs_price: bool
    hard_limit_nanousd: int | None
    input_tokens: int
    output_tokens: int
    input_bound: int | None
    max_output_tokens: int | None
    choices: int

    @staticmethod
    def of(prepared: Prepared, ready: Set[str]) -> _Needs:
        policy, command = prepared.policy, prepared.command
        is_budgeted = prepared.key.monthly_budget_nanousd is not None
        hard_limit = policy["max_budget_usd"] if policy.set_by("max_budget_usd") == "request" else None
        return _Needs(
            allowed=prepared.key.allowed_models,
            min_weight=policy["min_weight"],
            context_tokens=int(prepared.input_tokens * CONTEXT_HEADROOM),
            ready=ready,
            is_budgeted=is_budgeted,
            needs_price=is_budgeted or hard_limit is not None,
            hard_limit_nanousd=hard_limit,
            input_tokens=prepared.input_tokens,
            output_tokens=prepared.output_tokens,
            input_bound=prepared.input_bound,
            max_output_tokens=command.max_output_tokens,
            choices=command.choices,
        )


def _not_offered(target: Target, needs: _Needs) -> str:
    return "" if target.is_offered else "the model or its provider is disabled"


def _unlisted(target: Target, needs: _Needs) -> str:
    return "" if target.model.id in needs.allowed else "this key may not use the model"


def _light(target: Target, needs: _Needs) -> str:
    weight = target.model.weight
    return f"weight {weight} is below {needs.min_weight}" if weight < needs.min_weight else ""


def _short(target: Target, needs: _Needs) -> str:
    context = target.model.max_context_tokens
    if context and needs.context_tokens > context:
        return f"about {needs.input_tokens} tokens do not fit {context}"
    return ""


def _not_ready(target: Target, needs: _Needs) -> str:
    return "" if target.provider.id in needs.ready else f"provider {target.provider.id} has no usable credential"


def _unpriced(target: Target, needs: _Needs) -> str:
    return "it has no price and a budget applies" if target.model.price is None else ""


def _unbounded(target: Target, needs: _Needs) -> str:
    if needs.input_bound is None or output_bound(target, needs.max_output_tokens) is None:
        return "set max_tokens, or the model's max_context_tokens, and send no files by reference"
    return ""


@dataclass(frozen=True, slots=True)
class Check:
    """One reason not to try a target. `why` gives the detail, "" if the target passes; `applies` tells whether any
    target of this catalog can fail it for this request: for an ordinary request none can."""

    reason: str
    why: Callable[[Target, _Needs], str]
    applies: Callable[[_Needs, Facts], bool]


def _may_be_short(needs: _Needs, facts: Facts) -> bool:
    return facts.least_context_tokens is not None and needs.context_tokens > facts.least_context_tokens


def _may_be_unbounded(needs: _Needs, facts: Facts) -> bool:
    return needs.is_budgeted and (needs.input_bound is None or (facts.has_endless and needs.max_output_tokens is None))


CHECKS = (
    Check("disabled", _not_offered, lambda needs, facts: facts.has_disabled),
    Check("not_allowed", _unlisted, lambda needs, facts: bool(needs.allowed)),
    Check("weight_below_minimum", _light, lambda needs, facts: needs.min_weight > 0),
    Check("context_overflow", _short, _may_be_short),
    Check("provider_not_ready", _not_ready, lambda needs, facts: not facts.provider_ids <= needs.ready),
    Check("price_unknown", _unpriced, lambda needs, facts: needs.needs_price and facts.has_unpriced),
    Check("cost_unbounded", _unbounded, _may_be_unbounded),
)
"""In the order in which a rejection is named."""


def eligible(catalog: Catalog, prepared: Prepared, ready: Set[str]) -> tuple[list[Candidate], list[Rejection]]:
    """Split targets into candidates and rejections, keeping their order. `ready`: providers with a usable client."""
    needs = _Needs.of(prepared, ready)
    checks = [(check.reason, check.why) for check in CHECKS if check.applies(needs, catalog.facts)]
    candidates: list[Candidate] = []
    rejections: list[Rejection] = []
    for target in catalog.targets:
        for reason, why in checks:
            if detail := why(target, needs):
                rejections.append(Rejection(target.model.id, target.provider.id, reason, detail))
                break
        else:
            candidates.append(_candidate(target, needs))
    limit = prepared.policy["max_budget_usd"]
    if limit:
        candidates = _within(limit, candidates, rejections, prepared)
    return candidates, rejections


def _candidate(target: Target, needs: _Needs) -> Candidate:
    price = target.model.price
    if price is None:
        return Candidate(target, None, 0)
    estimate = estimate_nanousd(price, needs.input_tokens, needs.output_tokens)
    if not needs.is_budgeted or needs.input_bound is None:
        return Candidate(target, estimate, 0)
    output_tokens = (output_bound(target, needs.max_output_tokens) or 0) * needs.choices
    return Candidate(target, estimate, bound_nanousd(price, needs.input_bound, output_tokens))


def _within(
    limit_nanousd: int, candidates: list[Candidate], rejections: list[Rejection], prepared: Prepared
) -> list[Candidate]:
    """Drop what is dearer than the limit. One that only the server's defaults set spares the named model, and is set
    aside where it would leave nothing."""
    is_hard = prepared.policy.set_by("max_budget_usd") == "request"
    named = "" if is_hard else prepared.command.model
    kept: list[Candidate] = []
    dear: list[Candidate] = []
    for candidate in candidates:
        fits = (candidate.estimate_nanousd or 0) <= limit_nanousd or candidate.target.model.id == named
        (kept if fits else dear).append(candidate)
    if not kept and not is_hard:
        return candidates
    reason = "budget_exceeded" if is_hard else "default_budget"
    rejections += [
        Rejection(
            c.target.model.id,
            c.target.provider.id,
            reason,
            f"about {usd_text(c.estimate_nanousd or 0)} USD is more than {usd_text(limit_nanousd)}",
        )
        for c in dear
    ]
    return kept
