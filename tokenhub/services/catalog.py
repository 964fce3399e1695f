"""Providers and models for administrators. A provider's key goes in, sealed, and never comes out again.

What is written here is the operator's word: seeding (`seeding.py`) does not touch it afterwards. Each change moves
the catalog epoch, so that all workers read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tokenhub.domain.catalog import CAPABILITIES, MAX_WEIGHT, OPERATOR, PROVIDER_TYPES, Model, Provider
from tokenhub.domain.known_models import KnownModels
from tokenhub.domain.money import Price
from tokenhub.domain.ports import CatalogStore, State
from tokenhub.errors import Conflict, NotFound
from tokenhub.services import rules

MAX_TOKENS = 1_000_000_000
PRICES = ("input", "output", "cache_read", "cache_write")
BUILT_IN_TYPE = "demo"
REFERENCE = "env:"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_OUR_SECRETS = ("TOKENHUB_ADMIN_TOKEN", "TOKENHUB_VAULT_PASSWORD")

Seal = Callable[[str, str], bytes]
"""Seals a provider's key (the secret, the provider's id)."""


def api_key(value: Any) -> str:
    """A key, a reference to one, or "" for none."""
    text = rules.secret(value)
    if text.startswith("vault:"):
        raise ValueError("keys from the vault are not available yet; give the key itself, or env:NAME")
    if text.startswith(REFERENCE):
        name = text.removeprefix(REFERENCE)
        if not _VARIABLE.fullmatch(name) or name in _OUR_SECRETS:
            raise ValueError("a reference must be env: and the name of a variable that holds a provider's key")
    return text


def capabilities(value: Any) -> frozenset[str]:
    """What a model can do, as an array of names."""
    given = rules.array(value)
    if not all(isinstance(name, str) and name in CAPABILITIES for name in given):
        raise ValueError(f"must be null, or an array of: {', '.join(CAPABILITIES)}")
    return frozenset(given)


PROVIDER_RULES: dict[str, rules.Rule] = {
    "id": rules.identifier,
    "type": rules.one_of(*(kind for kind in PROVIDER_TYPES if kind != BUILT_IN_TYPE)),
    "base_url": rules.base_url,
    "endpoints": rules.plain_urls,
    "enabled": rules.flag,
    "api_key": api_key,
}
MODEL_RULES: dict[str, rules.Rule] = {
    "id": rules.identifier,
    "provider_id": rules.identifier,
    "upstream_name": rules.optional_label,
    "weight": rules.whole(0, MAX_WEIGHT),
    "max_context_tokens": rules.optional(rules.whole(1, MAX_TOKENS)),
    "max_output_tokens": rules.optional(rules.whole(1, MAX_TOKENS)),
    **{f"{kind}_per_1k": rules.price_per_1k for kind in PRICES},
    "enabled": rules.flag,
    "family": rules.optional_label,
    "capabilities": rules.optional(capabilities),
}


class CatalogService:
    """Manages providers and models. Blocks on the database: for administration only."""

    def __init__(
        self,
        store: CatalogStore,
        state: State,
        seal: Seal,
        notify_master: Callable[[], None],
        known: KnownModels | None = None,
    ) -> None:
        """`notify_master`: asks the master to resolve key references, which only its environment can. `known`: what
        models are completed with, as routing has them."""
        self._store = store
        self._known = known or KnownModels()
        self._state = state
        self._seal = seal
        self._notify_master = notify_master

    # providers ----------------------------------------------------------

    def providers(self, limit: int, offset: int) -> tuple[list[Provider], int]:
        """A page of providers by id, and how many there are."""
        return self._store.providers(limit, offset)

    def provider(self, provider_id: str) -> Provider:
        """One provider. Raises NotFound."""
        provider = self._store.provider(provider_id)
        if provider is None:
            raise NotFound(f"there is no provider {provider_id[: rules.MAX_NAME]!r}")
        return provider

    def put_provider(self, values: Mapping[str, Any]) -> Provider:
        """Create a provider, or change the given fields of the one with this id. Raises InvalidRequest."""
        fields = rules.check(values, PROVIDER_RULES)
        if "id" not in fields:
            raise rules.invalid({"id": ["is required"]})
        return self._save_provider(self._store.provider(fields["id"]), fields)

    def patch_provider(self, provider_id: str, values: Mapping[str, Any]) -> Provider:
        """Change the given fields. Raises InvalidRequest, NotFound."""
        fields = rules.check(values, _without_id(PROVIDER_RULES))
        return self._save_provider(self.provider(provider_id), fields)

    def delete_provider(self, provider_id: str) -> None:
        """Delete a provider with its models and its key. Raises NotFound."""
        is_deleted = self._store.delete_provider(provider_id)
        self._state.drop_provider_key(provider_id)
        self._state.move_epoch()
        if not is_deleted:
            raise NotFound(f"there is no provider {provider_id[: rules.MAX_NAME]!r}")

    def _save_provider(self, known: Provider | None, fields: Mapping[str, Any]) -> Provider:
        provider = provider_from(known, fields)
        if provider.credential == "sealed" and fields.get("api_key"):
            # The key first: a row that says "sealed" without one would be a provider that cannot be called.
            self._state.put_provider_key(provider.id, self._seal(fields["api_key"], provider.id))
        self._store.save_provider(provider)
        is_stale = known is None or known.credential != provider.credential or provider.credential == "none"
        if provider.credential != "sealed" and is_stale:
            self._state.drop_provider_key(provider.id)
        self._state.move_epoch()
        if is_reference(fields.get("api_key")):
            self._notify_master()
        return provider

    # models -------------------------------------------------------------

    def models(self, limit: int, offset: int) -> tuple[list[Model], int]:
        """A page of models by id, complete, and how many there are."""
        given, total = self._store.models(limit, offset)
        providers = {name: self._store.provider(name) for name in {model.provider_id for model in given}}
        return [self._complete(model, providers[model.provider_id]) for model in given], total

    def model(self, model_id: str) -> Model:
        """One model: as the operator gave it, and what is known of it where that leaves something open. Raises
        NotFound."""
        model = self._given_model(model_id)
        return self._complete(model, self._store.provider(model.provider_id))

    def put_model(self, values: Mapping[str, Any]) -> Model:
        """Create a model, or change the given fields of the one with this id; gives it complete. Raises
        InvalidRequest."""
        fields = rules.check(values, MODEL_RULES)
        if "id" not in fields:
            raise rules.invalid({"id": ["is required"]})
        return self._save_model(self._store.model(fields["id"]), fields)

    def patch_model(self, model_id: str, values: Mapping[str, Any]) -> Model:
        """Change the given fields. Raises InvalidRequest, NotFound."""
        fields = rules.check(values, _without_id(MODEL_RULES))
        return self._save_model(self._given_model(model_id), fields)

    def delete_model(self, model_id: str) -> None:
        """Delete a model. Raises NotFound."""
        if not self._store.delete_model(model_id):
            raise NotFound(f"there is no model {model_id[: rules.MAX_NAME]!r}")
        self._state.move_epoch()

    def _save_model(self, known: Model | None, fields: Mapping[str, Any]) -> Model:
        model = model_from(known, fields)
        try:
            self._store.save_model(model)
        except Conflict as error:
            raise rules.invalid({"provider_id": [error.message + "; create it first"]}) from error
        self._state.move_epoch()
        return self._complete(model, self._store.provider(model.provider_id))

    def _given_model(self, model_id: str) -> Model:
        model = self._store.model(model_id)
        if model is None:
            raise NotFound(f"there is no model {model_id[: rules.MAX_NAME]!r}")
        return model

    def _complete(self, model: Model, provider: Provider | None) -> Model:
        return model if provider is None else self._known.complete(model, provider)


def provider_from(known: Provider | None, fields: Mapping[str, Any], where: str = "") -> Provider:
    """The provider that clean fields make of a known one (or of none). Raises InvalidRequest."""
    base = known or Provider(id=fields["id"], type="openai")
    named = {name: fields[name] for name in ("type", "base_url", "endpoints", "enabled") if name in fields}
    provider = replace(base, **named, credential=_credential(base.credential, fields.get("api_key")))
    if provider.type == BUILT_IN_TYPE and provider.base_url + (fields.get("api_key") or ""):
        raise rules.invalid({where + "type": ["the demo provider is built in and takes neither URL nor key"]})
    if provider.type != BUILT_IN_TYPE and not provider.base_url:
        raise rules.invalid({where + "base_url": [f"is required for providers of type {provider.type!r}"]})
    problems = _url_problems(provider)
    if problems:
        raise rules.invalid({where + name: [problem] for name, problem in problems.items()})
    return provider


def _url_problems(provider: Provider) -> dict[str, str]:
    """What only some types of providers take."""
    problems = {}
    if "?" in provider.base_url and provider.type != "openai":
        problems["base_url"] = "only providers of type openai take ?api-version=..."
    if provider.endpoints and provider.type != "vllm":
        problems["endpoints"] = "only providers of type vllm take further endpoints; [] removes them"
    elif provider.base_url in provider.endpoints:
        problems["endpoints"] = "must not repeat base_url, which is one of the endpoints anyway"
    return problems


def model_from(known: Model | None, fields: Mapping[str, Any], where: str = "") -> Model:
    """The model that clean fields make of a known one (or of none). Raises InvalidRequest."""
    if known is None and "provider_id" not in fields:
        raise rules.invalid({where + "provider_id": ["is required"]})
    base = known or Model(id=fields["id"], provider_id=fields["provider_id"], upstream_name=fields["id"])
    copied = ("provider_id", "weight", "max_context_tokens", "max_output_tokens", "enabled", "family", "capabilities")
    named = {name: fields[name] for name in copied if name in fields}
    upstream_name = fields.get("upstream_name", base.upstream_name) or base.id
    price = _price(base.price, fields, where)
    source = OPERATOR if price else ""
    return replace(base, **named, upstream_name=upstream_name, price=price, price_source=source)


def is_reference(given: str | None) -> bool:
    """Whether a key is a reference that the master resolves."""
    return given is not None and given.startswith(REFERENCE)


def _without_id(named: Mapping[str, rules.Rule]) -> dict[str, rules.Rule]:
    return {name: rule for name, rule in named.items() if name != "id"}


def _credential(known: str, given: str | None) -> str:
    if given is None:
        return known
    if not given:
        return "none"
    return given if is_reference(given) else "sealed"


def _price(known: Price | None, fields: Mapping[str, Any], where: str) -> Price | None:
    prices: dict[str, int | None] = {kind: getattr(known, kind, None) for kind in PRICES}
    for kind in PRICES:
        if f"{kind}_per_1k" in fields:
            per_1k = fields[f"{kind}_per_1k"]
            prices[kind] = None if per_1k is None else per_1k * 1000
    missing = [kind for kind in ("input", "output") if prices[kind] is None]
    if not missing:
        return Price(**prices)  # type: ignore[arg-type]
    if len(missing) == 1:
        problem = "give both prices, or null for both where they are not known"
        raise rules.invalid({f"{where}{missing[0]}_per_1k": [problem]})
    given = [kind for kind in PRICES if fields.get(f"{kind}_per_1k") is not None]
    if given:
        raise rules.invalid({f"{where}{given[0]}_per_1k": ["needs input_per_1k and output_per_1k beside it"]})
    return None
