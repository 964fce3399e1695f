"""The catalog: which providers and models there are. Immutable values, swapped as one snapshot."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tokenhub.domain.money import Price

PROVIDER_TYPES = ("openai", "anthropic", "vllm", "demo")
"""The types that exist; `providers/registry.py` builds a client for each (a test holds both together)."""

MAX_WEIGHT = 100

CAPABILITIES = ("tools", "vision", "json_schema", "streaming")
"""What a model may or may not be able to do, as far as a request can need it."""

CAPABILITY_BITS = {name: 1 << bit for bit, name in enumerate((*CAPABILITIES, "choices"))}
"""What a target can do, a bit each: what its model can, and whether its provider gives more than one choice."""
ONE_CHOICE_TYPES = frozenset({"anthropic"})
"""Provider types whose protocol has one answer to a request."""

Column = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]

OPERATOR = "operator"
"""Source of a price that the operator gave."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One upstream account. Its key is not here: clients get it from the state, sealed."""

    id: str
    type: str
    base_url: str = ""
    enabled: bool = True
    credential: str = "none"
    """Where its key comes from: "none", "sealed" (given as such) or "env:NAME" (resolved by the master)."""
    endpoints: tuple[str, ...] = ()
    """Further URLs that serve the same models, beside `base_url`; only type vllm takes them."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model as callers name it."""

    id: str
    provider_id: str
    upstream_name: str
    """What the provider calls it; by default the id."""
    weight: int = 50
    """Quality as the operator sees it, 0..100, higher is better."""
    max_context_tokens: int | None = None
    """None: not known, so nothing is refused for its length."""
    max_output_tokens: int | None = None
    price: Price | None = None
    """None: not known. Free is a price of zeros."""
    enabled: bool = True
    family: str = ""
    """Models of equal family at different providers are the same model."""
    capabilities: frozenset[str] | None = None
    """Which of CAPABILITIES it has; None: not known, so nothing is refused for want of one."""
    price_source: str = ""
    """Who says what it costs: OPERATOR, or name, version and date of the catalogue; "" where nobody does."""
    known_as: str = ""
    """The known model ("vendor:id") that what the operator left open was filled in from; "" where there is none."""


Complete = Callable[[Model, Provider], Model]
"""Lays what is publicly known of a model under what the operator said: `KnownModels.complete`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A model at its provider: what an attempt is sent to."""

    provider: Provider
    model: Model
    output_cap: int | None = field(init=False)
    """The most tokens one answer can have as far as the model is known; None: unbounded."""
    is_offered: bool = field(init=False)
    """Whether model and provider are enabled."""

    def __post_init__(self) -> None:
        # Read for every target of every request: worked out once, when the catalog is loaded.
        known = [n for n in (self.model.max_output_tokens, self.model.max_context_tokens) if n]
        object.__setattr__(self, "output_cap", min(known) if known else None)
        object.__setattr__(self, "is_offered", self.model.enabled and self.provider.enabled)


class Facts:
    """A catalog's targets as columns, made once when it is loaded: arrays in the order of the targets, and what holds
    for all of them, so that a request can skip the checks that none can fail. What is not known is NaN in a price and
    infinite in a limit."""

    def __init__(self, targets: tuple[Target, ...]) -> None:
        models = [target.model for target in targets]
        self.targets = targets
        self.positions: dict[str, int] = {model.id: position for position, model in enumerate(models)}
        self.weights = _column(model.weight for model in models)
        self.contexts = _column(model.max_context_tokens or math.inf for model in models)
        self.output_caps = _column(target.output_cap or math.inf for target in targets)
        self.input_prices = _column(model.price.input / 1e6 if model.price else math.nan for model in models)
        """Nano-dollars a token."""
        self.output_prices = _column(model.price.output / 1e6 if model.price else math.nan for model in models)
        self.offered = np.array([target.is_offered for target in targets], np.bool_)
        self.capabilities = np.array([_capability_bits(target) for target in targets], np.uint8)
        """Bits of CAPABILITY_BITS; those that are not known are taken for granted."""
        self.tie_keys = np.array([_tie_key(model.id) for model in models], np.uint64)
        """Numbers made of the ids, so that ties are broken the same way in whatever catalog the models are."""
        self._providers = list(dict.fromkeys(target.provider.id for target in targets))
        self._provider_of = np.array([self._providers.index(target.provider.id) for target in targets], np.intp)
        self.provider_ids = frozenset(self._providers)
        self.shared_capabilities = int(np.bitwise_and.reduce(self.capabilities))
        self.least_context_tokens = min(self.contexts.tolist(), default=math.inf)
        self.best_weight = max((target.model.weight for target in targets if target.is_offered), default=0)
        prices = [model.price for model in models if model.price]
        tiers = [tier for price in prices for tier in price.tiers]
        self.tiered = [position for position, model in enumerate(models) if model.price and model.price.tiers]
        """Where a long request has other prices than these columns say."""
        self.least_tier_tokens = min((above for above, _ in tiers), default=math.inf)
        prices += [price for _, price in tiers]
        self.dearest_input = max((price.input for price in prices), default=0) / 1e6
        self.dearest_output = max((price.output for price in prices), default=0) / 1e6
        self.has_disabled = not self.offered.all()
        self.has_unpriced = bool(np.isnan(self.input_prices).any())
        self.has_endless = bool(np.isinf(self.output_caps).any())

    def of_providers(self, provider_ids: Set[str]) -> Flags:
        """Which targets are at one of these providers."""
        are_these: Flags = np.array([provider_id in provider_ids for provider_id in self._providers], np.bool_)
        return are_these[self._provider_of]

    def of_models(self, model_ids: Iterable[str]) -> Flags:
        """Which targets are one of these models."""
        flags = np.zeros(len(self.targets), np.bool_)
        flags[[self.positions[model_id] for model_id in model_ids if model_id in self.positions]] = True
        return flags


def _column(values: Iterable[float]) -> Column:
    return np.fromiter(values, np.float64)


def _capability_bits(target: Target) -> int:
    has = target.model.capabilities
    bits = sum(bit for name, bit in CAPABILITY_BITS.items() if has is None or name in has)
    return (
        bits & ~CAPABILITY_BITS["choices"]
        if target.provider.type in ONE_CHOICE_TYPES
        else bits | CAPABILITY_BITS["choices"]
    )


def _tie_key(model_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(model_id.encode("utf-8", "replace"), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All providers and models at one epoch, enabled or not; model ids are unique."""

    epoch: int = -1
    """-1: nothing has been loaded yet."""
    providers: Mapping[str, Provider] = field(default_factory=lambda: MappingProxyType({}))
    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    targets: tuple[Target, ...] = ()
    """One per model whose provider exists, ordered by model id."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Other names -> model ids in the order to try; ids that are not there are passed over."""
    facts: Facts = field(default_factory=lambda: Facts(()))

    @staticmethod
    def build(
        epoch: int,
        providers: Iterable[Provider],
        models: Iterable[Model],
        aliases: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        complete: Complete = lambda model, provider: model,
    ) -> Catalog:
        """Index providers and models; a model without its provider has no target. The demo provider is left out,
        with its models, as soon as another provider exists. `complete` fills in what the operator left open."""
        known = {provider.id: provider for provider in providers}
        if any(provider.type != "demo" for provider in known.values()):
            known = {key: provider for key, provider in known.items() if provider.type != "demo"}
        offered = {
            model.id: complete(model, known[model.provider_id]) for model in models if model.provider_id in known
        }
        targets = tuple(
            Target(known[model.provider_id], model) for model in sorted(offered.values(), key=lambda m: m.id)
        )
        return Catalog(
            epoch,
            MappingProxyType(known),
            MappingProxyType(offered),
            targets,
            MappingProxyType(aliases),
            Facts(targets),
        )
