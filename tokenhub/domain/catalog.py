"""The catalog: which providers and models there are. Immutable values, swapped as one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tokenhub.domain.money import Price

PROVIDER_TYPES = ("openai", "demo")
"""The types that exist; `providers/registry.py` builds a client for each (a test holds both together)."""

MAX_WEIGHT = 100

CAPABILITIES = ("tools", "vision", "json_schema", "streaming")
"""What a model may or may not be able to do, as far as a request can need it."""

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
    """What holds for all targets of a catalog: lets a request skip the checks that none of them can fail."""

    __slots__ = ("has_disabled", "has_endless", "has_unpriced", "least_context_tokens", "provider_ids")

    def __init__(self, targets: tuple[Target, ...]) -> None:
        contexts = [t.model.max_context_tokens for t in targets if t.model.max_context_tokens]
        self.least_context_tokens: int | None = min(contexts) if contexts else None
        self.provider_ids = frozenset(target.provider.id for target in targets)
        self.has_disabled = any(not target.is_offered for target in targets)
        self.has_unpriced = any(target.model.price is None for target in targets)
        self.has_endless = any(target.output_cap is None for target in targets)


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
    ) -> Catalog:
        """Index providers and models; a model without its provider has no target. The demo provider is left out,
        with its models, as soon as another provider exists."""
        known = {provider.id: provider for provider in providers}
        if any(provider.type != "demo" for provider in known.values()):
            known = {key: provider for key, provider in known.items() if provider.type != "demo"}
        offered = {model.id: model for model in models if model.provider_id in known}
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
