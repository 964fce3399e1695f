"""/admin/v1/engine/models: the models as the routing engine of this worker sees them now."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response
from marshmallow import fields

from blueprints.admin.api import models
from blueprints.admin.api.resource import Paging, Resource, Strict, answer
from blueprints.services import services
from tokenhub.domain.chat import JsonObject
from tokenhub.services.routing import SeenModel, SeenProvider

resource = Resource("engine", __name__, "The routing engine as it is now")


class Observed(Strict):
    """What experience says; null where there is none yet."""

    samples = fields.Integer(metadata={"description": "Successful answers"})
    latency_ms = fields.Float(allow_none=True)
    ttft_ms = fields.Float(allow_none=True, metadata={"description": "To the first content of a stream"})
    error_rate = fields.Float(metadata={"description": "0 to 1; what was long ago counts less"})
    output_tokens = fields.Float(allow_none=True, metadata={"description": "Usual length of an answer"})
    token_ratio = fields.Float(metadata={"description": "What our token estimates are multiplied with"})


class EngineModel(models.Model):
    """A model as it is routed, and whether it is ready."""

    ready = fields.Boolean(metadata={"description": "Whether it can be asked"})
    why_not = fields.String(metadata={"description": "Empty where it is ready"})
    observed = fields.Nested(Observed, allow_none=True)


class Adapter(Strict):
    """A provider as the engine reaches it."""

    id = fields.String()
    type = fields.String()
    hosts = fields.List(fields.String())
    ready = fields.Boolean()
    why_not = fields.String()


class EnginePage(Strict):
    """A page of models, by id, and all providers."""

    models = fields.List(fields.Nested(EngineModel))
    total = fields.Integer()
    limit = fields.Integer()
    offset = fields.Integer()
    adapters = fields.List(fields.String(), metadata={"description": "Ids of the providers that are ready"})
    adapter_info = fields.List(fields.Nested(Adapter))


@resource.serves("GET", "/models", gives=EnginePage, query=Paging)
def list_engine_models(paging: dict[str, int]) -> Response:
    """List models as the engine sees them."""
    routing = services().routing
    found, total = routing.models(**paging)
    providers = routing.providers()
    return answer(
        {
            "models": [present(seen) for seen in found],
            "total": total,
            **paging,
            "adapters": [seen.provider.id for seen in providers if not seen.why_not],
            "adapter_info": [_adapter(seen) for seen in providers],
        }
    )


def present(seen: SeenModel) -> JsonObject:
    """A model as JSON."""
    return {
        **models.present(seen.target.model),
        "ready": not seen.why_not,
        "why_not": seen.why_not,
        "observed": _observed(seen),
    }


def _observed(seen: SeenModel) -> JsonObject | None:
    row = seen.observed
    if row is None:
        return None
    return {
        "samples": row.samples,
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "error_rate": round(seen.error_rate, 4),
        "output_tokens": row.output_tokens,
        "token_ratio": round(row.token_ratio, 4),
    }


def _adapter(seen: SeenProvider) -> JsonObject:
    provider = seen.provider
    urls = [url for url in (provider.base_url, *provider.endpoints) if url]
    return {
        "id": provider.id,
        "type": provider.type,
        "hosts": [urlsplit(url).netloc for url in urls],
        "ready": not seen.why_not,
        "why_not": seen.why_not,
    }
