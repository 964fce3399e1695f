"""Routing before anything is sent: what a request would lead to, and the models as the engine sees them now.

A simulation asks the same desk and map room as a request does and stops at the gate: it reserves nothing, calls
nobody and leaves no record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenhub.domain import hints, selection
from tokenhub.domain.catalog import CAPABILITIES, Catalog, Provider, Target
from tokenhub.domain.chat import ChatCommand, Image, Tool
from tokenhub.domain.eligibility import Candidate, Prepared, Rejection
from tokenhub.domain.hints import Hint
from tokenhub.domain.itinerary import Attempt, Itinerary
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.observed import Observation, Observations
from tokenhub.domain.ports import Providers, Snapshot, State
from tokenhub.domain.tokens import LATIN_CHARS_PER_TOKEN, has_images
from tokenhub.errors import Forbidden, NoEligibleModel, ProviderTransient, TokenHubError, Unavailable
from tokenhub.services import rules
from tokenhub.services.dispatch import spend_limit

ANYBODY = ApiKey("", "anybody", "", ("chat",), 0, True, 0)
"""A caller without limits."""
SEED = "simulation"
MAX_TOKENS = 1_000_000_000


def needs(value: Any) -> tuple[str, ...]:
    """What a model must be able to do."""
    if not isinstance(value, list) or not all(isinstance(name, str) and name in CAPABILITIES for name in value):
        raise ValueError(f"must be an array of: {', '.join(CAPABILITIES)}")
    return tuple(value)


RULES: dict[str, rules.Rule] = {
    "token_count": rules.whole(1, MAX_TOKENS),
    "needs": needs,
    "key_id": rules.label,
    "seed": rules.label,
}
"""How the fields of a Question are read, beside its command."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to simulate: a command as a door would make it, and what it leaves open."""

    command: ChatCommand
    token_count: int | None = None
    """Input tokens, where the command's messages do not tell."""
    needs: tuple[str, ...] = ()
    """What of CAPABILITIES it needs beyond what is in it."""
    key_id: str = ""
    """As whom; "" is a caller without limits."""
    seed: str = SEED
    """Breaks ties; a request has its decision id instead."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What would happen. Without an itinerary nothing is eligible; without attempts `refusal` says why."""

    prepared: Prepared
    hint: Hint
    itinerary: Itinerary | None
    attempts: list[Attempt]
    """The first one, and what would follow if every one failed for a while."""
    rejections: Sequence[Rejection] = ()
    refusal: TokenHubError | None = None

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All of them, in their order."""
        return self.itinerary.candidates if self.itinerary else ()

    @property
    def set_aside(self) -> tuple[str, ...]:
        """As the itinerary has it."""
        return self.itinerary.set_aside if self.itinerary else ()

    @property
    def clamped(self) -> Mapping[str, tuple[int, int]]:
        """As the itinerary has it."""
        return self.itinerary.clamped if self.itinerary else {}


@dataclass(frozen=True, slots=True)
class SeenModel:
    """A model as the engine sees it; `why_not` is "" where it is ready to be asked."""

    target: Target
    why_not: str
    observed: Observation | None
    """None: it was not asked yet."""
    error_rate: float
    """Of late, 0..1."""


@dataclass(frozen=True, slots=True)
class SeenProvider:
    """A provider as the engine sees it; `why_not` is "" where it is ready to be asked."""

    provider: Provider
    why_not: str


class RoutingService:
    """Answers what the routing of this worker would do. Reads its memory, and the state for a key."""

    def __init__(self, snapshot: Snapshot, providers: Providers, state: State) -> None:
        self._snapshot = snapshot
        self._providers = providers
        self._state = state

    # what there is ------------------------------------------------------

    def models(self, limit: int, offset: int) -> tuple[list[SeenModel], int]:
        """A page of models by id, with what the catalogue filled in, and how many there are."""
        targets = self._catalog().targets
        seen = {entry.provider.id: entry.why_not for entry in self.providers()}
        page = targets[offset : offset + limit]
        observed = self._snapshot.observed
        return [_seen(target, seen[target.provider.id], observed) for target in page], len(targets)

    def providers(self) -> list[SeenProvider]:
        """All providers, by id."""
        ready = self._providers.ready()
        found = sorted(self._catalog().providers.values(), key=lambda provider: provider.id)
        return [SeenProvider(provider, _why_not_ready(provider, provider.id in ready)) for provider in found]

    # what would happen --------------------------------------------------

    def simulate(self, question: Question) -> Simulation:
        """Walk as far as the gate. Raises InvalidRequest for a policy value or key that no request could have."""
        catalog = self._catalog()
        key = self._key(question.key_id)
        prepared = _prepare(question, key, self._snapshot)
        hint = hints.resolve(question.command.model, catalog)
        try:
            itinerary = selection.select(
                prepared, catalog, self._providers.ready(), question.seed, self._snapshot.observed
            )
        except NoEligibleModel as error:
            return Simulation(prepared, hint, None, [], error.rejections, error)
        except Forbidden as error:
            return Simulation(prepared, hint, None, [], (), error)
        attempts, refusal = self._attempts(itinerary, key)
        return Simulation(prepared, hint, itinerary, attempts, itinerary.rejections, refusal)

    def _attempts(self, itinerary: Itinerary, key: ApiKey) -> tuple[list[Attempt], TokenHubError | None]:
        attempt = itinerary.first()
        budget = key.monthly_budget_nanousd
        if attempt is not None and budget is not None:
            left = budget - self._state.spend([key.id])[key.id]
            if attempt.candidate.bound_nanousd > left:
                attempt = itinerary.affordable(left)
            if attempt is None:
                return [], spend_limit(left)
        attempts = []
        while attempt is not None:
            attempts.append(attempt)
            attempt = itinerary.after(ProviderTransient("supposed to fail"))
        return attempts, None

    def _catalog(self) -> Catalog:
        catalog = self._snapshot.catalog
        if catalog.epoch < 0:
            raise Unavailable("the catalog is not loaded yet", code="starting")
        return catalog

    def _key(self, key_id: str) -> ApiKey:
        key = self._state.key(key_id) if key_id else ANYBODY
        if key is None:
            raise rules.invalid({"key_id": [f"there is no key {key_id[: rules.MAX_NAME]!r}"]})
        return key


def _prepare(question: Question, key: ApiKey, snapshot: Snapshot) -> Prepared:
    command = question.command
    if question.token_count is not None:
        command = replace(command, body_bytes=question.token_count * LATIN_CHARS_PER_TOKEN)
    prepared = selection.prepare(_with_needs(command, question.needs), key, snapshot.defaults)
    if question.token_count is None:
        return prepared
    return replace(prepared, input_tokens=question.token_count)


def _with_needs(command: ChatCommand, needs: tuple[str, ...]) -> ChatCommand:
    """The command with something in it that needs each of these."""
    command = replace(command, messages=list(command.messages), tools=list(command.tools))
    if "tools" in needs and not command.tools:
        command.tools.append(Tool("any"))
    if "vision" in needs and not has_images(command):
        last = command.messages[-1]
        command.messages[-1] = replace(last, blocks=[*last.blocks, Image("https://image.invalid/")])
    if "json_schema" in needs and command.parameters.output_schema is None:
        command.parameters = replace(command.parameters, output_schema={"type": "object"})
    command.stream = command.stream or "streaming" in needs
    return command


def _seen(target: Target, provider_why_not: str, observed: Observations) -> SeenModel:
    model = target.model
    why_not = provider_why_not if model.enabled else "the model is disabled"
    row = observed.rows.get((model.id, target.provider.id))
    position = observed.facts.positions.get(model.id)
    if row is None or position is None:
        return SeenModel(target, why_not, None, 0.0)
    return SeenModel(target, why_not, row, float(observed.errors[position]))


def _why_not_ready(provider: Provider, is_ready: bool) -> str:
    if not provider.enabled:
        return "the provider is disabled"
    return "" if is_ready else "the provider has no usable credential"
