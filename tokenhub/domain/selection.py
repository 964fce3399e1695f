"""Room 3, the map room: a prepared command over a catalog becomes an itinerary (filter, score, order)."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import islice

from tokenhub.domain import eligibility, hints, ranking, tokens
from tokenhub.domain.catalog import Catalog
from tokenhub.domain.chat import ChatCommand
from tokenhub.domain.eligibility import Prepared, Rejection, Rejections
from tokenhub.domain.hints import Hint
from tokenhub.domain.itinerary import Itinerary
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.observed import Observations
from tokenhub.domain.policy import Policy, resolve
from tokenhub.errors import NoEligibleModel

NAMED_IN_MESSAGE = 20
"""How many models the message of a refusal lists with their reasons."""


def prepare(command: ChatCommand, key: ApiKey, defaults: Policy) -> Prepared:
    """Room 2, the desk: merge the policy and measure the command. Raises InvalidRequest for a bad policy value."""
    return Prepared(
        command=command,
        key=key,
        policy=resolve(defaults, key.terms, command.policy_headers, command.policy),
        input_tokens=tokens.estimate_command(command),
        input_bound=tokens.bound_input(command),
    )


def select(
    prepared: Prepared, catalog: Catalog, ready: Set[str], seed: str, observed: Observations | None = None
) -> Itinerary:
    """Order every eligible target: the named models first, then by score, ties broken by the seed. Changes nothing.

    The same input gives the same order on every worker. `ready`: providers with a usable client. `observed`: of this
    catalog; of another one, or None, it counts for nothing. Raises Forbidden where the key may not use the model it
    names, NoEligibleModel where nothing is left to try.
    """
    facts, policy = catalog.facts, prepared.policy
    if observed is None or observed.facts is not facts:
        observed = Observations(facts)
    hint = hints.resolve(prepared.command.model, catalog)
    hints.require_allowed(hint, prepared.key)
    fallback = policy["fallback"]
    if not isinstance(fallback, str):
        fallback = hints.resolve_all(fallback, catalog)
    found = eligibility.eligible(prepared, facts, observed, ready, _spared(hint, fallback, catalog))
    ranked = ranking.rank(found, policy["mode"], hint.model_ids, seed) if found.count else ()
    itinerary = Itinerary(ranked, found.rejections, hint, fallback, found.set_aside, found.clamped)
    if itinerary.is_empty:
        raise _nothing_eligible(itinerary.deciding, is_named=fallback != "any" and bool(hint.model_ids))
    return itinerary


def _spared(hint: Hint, fallback: str | tuple[str, ...], catalog: Catalog) -> Sequence[str]:
    """Models that the server's wishes do not keep from a caller who asked for them, and for hardly any others."""
    if isinstance(fallback, tuple):
        return (*hint.model_ids, *fallback)
    if fallback == "same_model" and hint.family:
        return [model.id for model in catalog.models.values() if model.family == hint.family]
    return hint.model_ids


def _nothing_eligible(rejections: Sequence[Rejection], *, is_named: bool) -> NoEligibleModel:
    if not rejections:
        return NoEligibleModel(
            "no model is registered: add a provider and a model first", rejections=(), blame="server"
        )
    listed = "; ".join(f"{r.model_id}: {r.reason}" for r in islice(rejections, NAMED_IN_MESSAGE))
    # A disabled model is simply not offered: it says nothing about blame, unless the caller wants nothing else.
    found = rejections.reasons if isinstance(rejections, Rejections) else {r.reason for r in rejections}
    reasons = found - {"disabled"}
    is_callers = reasons <= eligibility.CALLER_REASONS and bool(reasons or is_named)
    return NoEligibleModel(
        f"no model can take this request ({listed})",
        rejections=rejections,
        blame="caller" if is_callers else "server",
    )
