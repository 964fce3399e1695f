"""/admin/v1/models: what callers can ask for. Ids may contain slashes, in the path too (raw or as %2F)."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields

from blueprints.admin.api.resource import Done, Paging, Resource, Strict, answer
from blueprints.services import services
from tokenhub.domain.catalog import CAPABILITIES
from tokenhub.domain.catalog import Model as DomainModel
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.money import NANO_PER_USD, Price

PER_1K = 1000 * NANO_PER_USD
"""Nano-dollars per million tokens, as USD per 1,000 tokens."""
AS_KNOWN = {"description": "null: as known, if it is"}
PRICE = {"type": "number", "description": "USD per 1,000 tokens; null: as known, if it is. Both or none"}
CACHE_PRICE = {"type": "number", "description": "USD per 1,000 tokens of the cache; null: as the input"}

resource = Resource("models", __name__, "Models that callers can ask for")


class ModelChanges(Strict):
    """What can be set of a model; the rules of each field are in `services/catalog.py`."""

    provider_id = fields.String()
    upstream_name = fields.String(allow_none=True, metadata={"description": "The provider's name of it; default: id"})
    weight = fields.Integer(strict=True, metadata={"description": "Quality, 0 to 100"})
    max_context_tokens = fields.Integer(strict=True, allow_none=True, metadata=AS_KNOWN)
    max_output_tokens = fields.Integer(strict=True, allow_none=True, metadata=AS_KNOWN)
    input_per_1k = fields.Raw(allow_none=True, metadata=PRICE)
    output_per_1k = fields.Raw(allow_none=True, metadata=PRICE)
    cache_read_per_1k = fields.Raw(allow_none=True, metadata=CACHE_PRICE)
    cache_write_per_1k = fields.Raw(allow_none=True, metadata=CACHE_PRICE)
    enabled = fields.Raw(metadata={"type": "boolean"})
    family = fields.String(allow_none=True, metadata={"description": "Models of equal family are the same model"})
    capabilities = fields.Raw(
        allow_none=True,
        metadata={
            "type": "array",
            "items": {"type": "string", "enum": list(CAPABILITIES)},
            "description": "What it can do; null: as known, and where nothing is known, it may be anything",
        },
    )


class NewModel(ModelChanges):
    """A model to create, or to change where the id exists."""

    id = fields.String(required=True)


class PriceTier(Strict):
    """What all tokens of a request cost whose input is longer than so much."""

    above_input_tokens = fields.Integer()
    input_per_1k = fields.Float(allow_none=True)
    output_per_1k = fields.Float(allow_none=True)
    cache_read_per_1k = fields.Float(allow_none=True)
    cache_write_per_1k = fields.Float(allow_none=True)


class Model(Strict):
    """A model as it is routed: what was given, completed with what is known of it."""

    id = fields.String()
    provider_id = fields.String()
    upstream_name = fields.String()
    weight = fields.Integer()
    max_context_tokens = fields.Integer(allow_none=True)
    max_output_tokens = fields.Integer(allow_none=True)
    input_per_1k = fields.Float(allow_none=True)
    output_per_1k = fields.Float(allow_none=True)
    cache_read_per_1k = fields.Float(allow_none=True)
    cache_write_per_1k = fields.Float(allow_none=True)
    price_tiers = fields.List(fields.Nested(PriceTier), metadata={"description": "Dearer prices of long inputs"})
    price_source = fields.String(
        metadata={"description": '"operator"; name, version and date of the price list; or "" where nobody says'}
    )
    enabled = fields.Boolean()
    family = fields.String()
    capabilities = fields.List(fields.String(), allow_none=True, metadata={"description": "null: not known"})
    known_as = fields.String(
        allow_none=True, metadata={"description": "The known model that fills in what was not given"}
    )


class ModelPage(Strict):
    """A page of models, by id."""

    items = fields.List(fields.Nested(Model))
    total = fields.Integer()
    limit = fields.Integer()
    offset = fields.Integer()


class ChangedModel(Done):
    """A model as it is now."""

    model = fields.Nested(Model)


@resource.serves("GET", "", gives=ModelPage, query=Paging)
def list_models(paging: dict[str, int]) -> Response:
    """List models."""
    found, total = services().catalog.models(**paging)
    return answer({"items": [present(model) for model in found], "total": total, **paging})


@resource.serves("POST", "", gives=ChangedModel, takes=NewModel)
def put_model(values: dict[str, Any]) -> Response:
    """Create a model, or change the given fields of the one with this id."""
    return answer({"ok": True, "model": present(services().catalog.put_model(values))})


@resource.serves("GET", "/<path:model_id>", gives=Model)
def get_model(model_id: str) -> Response:
    """Show a model."""
    return answer(present(services().catalog.model(model_id)))


@resource.serves("PATCH", "/<path:model_id>", gives=ChangedModel, takes=ModelChanges)
def change_model(values: dict[str, Any], model_id: str) -> Response:
    """Change the given fields of a model."""
    return answer({"ok": True, "model": present(services().catalog.patch_model(model_id, values))})


@resource.serves("DELETE", "/<path:model_id>", gives=Done)
def delete_model(model_id: str) -> Response:
    """Delete a model."""
    services().catalog.delete_model(model_id)
    return answer({"ok": True})


def present(model: DomainModel) -> JsonObject:
    """A model as JSON."""
    tiers = model.price.tiers if model.price else ()
    return {
        "id": model.id,
        "provider_id": model.provider_id,
        "upstream_name": model.upstream_name,
        "weight": model.weight,
        "max_context_tokens": model.max_context_tokens,
        "max_output_tokens": model.max_output_tokens,
        **_prices(model.price),
        "price_tiers": [{"above_input_tokens": above, **_prices(price)} for above, price in tiers],
        "price_source": model.price_source,
        "enabled": model.enabled,
        "family": model.family,
        "capabilities": None if model.capabilities is None else sorted(model.capabilities),
        "known_as": model.known_as or None,
    }


def _prices(price: Price | None) -> JsonObject:
    values = {kind: getattr(price, kind, None) for kind in ("input", "output", "cache_read", "cache_write")}
    return {f"{kind}_per_1k": None if value is None else value / PER_1K for kind, value in values.items()}
