"""Room 3, the map room: a prepared command over a catalog becomes an itinerary (filter, score, order)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from operator import attrgetter
from zlib import crc32

from tokenhub.domain import cost, eligibility, scoring, tokens
from tokenhub.domain.catalog import Catalog, Model
from tokenhub.domain.chat import ChatCommand
from tokenhub.domain.eligibility import Candidate, Prepared, Rejection
from tokenhub.domain.itinerary import Itinerary
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.policy import Policy, merge
from tokenhub.errors import Forbidden, NoEligibleModel

_score = attrgetter("score")

AUTO = frozenset({"", "auto", "*"})
"""Model names that leave the choice to TokenHub."""


def prepare(command: ChatCommand, key: ApiKey, defaults: Policy) -> Prepared:
    """Room 2, the desk: merge the policy and measure the command. Raises InvalidRequest for a bad policy value."""
    expected = min(command.max_output_tokens or cost.EXPECTED_OUTPUT_TOKENS, cost.EXPECTED_OUTPUT_TOKENS)
    return Prepared(
        command=command,
        key=key,
        policy=merge(defaults, "request", command.policy),
        input_tokens=tokens.estimate_messages(command.messages),
        output_tokens=expected * command.choices,
        input_bound=tokens.bound_input(command),
    )


def named_model(name: str, models: Mapping[str, Model]) -> Model | None:
    """The registered model a caller names, if it is one; `vendor/model` may be given for `model`."""
    if name in AUTO:
        return None
    found = models.get(name)
    if found is None and "/" in name:
        found = models.get(name.split("/", 1)[1])
    return found


def select(prepared: Prepared, catalog: Catalog, ready: Set[str], seed: str) -> Itinerary:
    """Order every eligible target: the named model first, then by score, ties broken by the seed.

    The same input gives the same order on every worker. Raises Forbidden where the key may not use the model it
    names, NoEligibleModel where nothing is left.
    """
    named = named_model(prepared.command.model, catalog.models)
    if named is not None:
        if not prepared.key.allows(named.id):
            raise Forbidden(f"this key may not use model {named.id!r}", code="model_not_allowed")
        if named.id != prepared.command.model:
            prepared = replace(prepared, command=replace(prepared.command, model=named.id))
    candidates, rejections = eligibility.eligible(catalog, prepared, ready)
    if not candidates:
        raise _nothing_eligible(rejections)
    scoring.score(candidates, prepared.policy["mode"])
    _order(candidates, named.id if named else None, seed)
    is_hinted = named is not None and candidates[0].target.model.id == named.id
    return Itinerary(candidates, rejections, hinted=is_hinted)


def _order(candidates: list[Candidate], named_id: str | None, seed: str) -> None:
    """Sort: the named model, then by score. Equal scores are spread by the seed, the same way on every worker."""
    candidates.sort(key=_score)
    scores = [candidate.score for candidate in candidates]
    if len(set(scores)) < len(scores):
        candidates.sort(key=lambda c: (c.score, crc32(f"{seed}{c.target.model.id}".encode())))
    for index, candidate in enumerate(candidates):
        if candidate.target.model.id == named_id:
            candidates.insert(0, candidates.pop(index))
            break


def _nothing_eligible(rejections: list[Rejection]) -> NoEligibleModel:
    if not rejections:
        return NoEligibleModel(
            "no model is registered: add a provider and a model first", rejections=(), blame="server"
        )
    listed = "; ".join(f"{r.model_id}: {r.reason}" for r in rejections[:20])
    blame = "caller" if all(r.reason in eligibility.CALLER_REASONS for r in rejections if _counts(r)) else "server"
    return NoEligibleModel(
        f"no model can take this request ({listed})",
        rejections=tuple(rejections),
        blame=blame if any(_counts(r) for r in rejections) else "server",  # type: ignore[arg-type]
    )


def _counts(rejection: Rejection) -> bool:
    """Whether a rejection says something about blame: a disabled model is simply not offered."""
    return rejection.reason != "disabled"
