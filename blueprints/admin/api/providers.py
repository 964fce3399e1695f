"""/admin/v1/providers: the upstream accounts. Keys go in and are never shown again."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields

from blueprints.admin.api.resource import Done, Paging, Resource, Strict, answer
from blueprints.services import services
from tokenhub.domain.catalog import Provider as DomainProvider
from tokenhub.domain.chat import JsonObject

resource = Resource("providers", __name__, "Upstream accounts")


class ProviderChanges(Strict):
    """What can be set of a provider; the rules of each field are in `services/catalog.py`."""

    type = fields.String()
    base_url = fields.String()
    endpoints = fields.Raw(
        allow_none=True,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "description": "Type vllm: further URLs that serve the same models; asked in turn with base_url",
        },
    )
    enabled = fields.Raw(metadata={"type": "boolean"})
    api_key = fields.String(metadata={"description": 'The key, or "env:NAME"; "" removes it; absent: unchanged'})


class NewProvider(ProviderChanges):
    """A provider to create, or to change where the id exists."""

    id = fields.String(required=True)


class Provider(Strict):
    """A provider without its key."""

    id = fields.String()
    type = fields.String()
    enabled = fields.Boolean()
    base_url = fields.String()
    endpoints = fields.List(fields.String())
    cred_store = fields.String(metadata={"description": '"none", "sealed" or "env:NAME"'})


class ProviderPage(Strict):
    """A page of providers, by id."""

    items = fields.List(fields.Nested(Provider))
    total = fields.Integer()
    limit = fields.Integer()
    offset = fields.Integer()


class ChangedProvider(Done):
    """A provider as it is now."""

    provider = fields.Nested(Provider)


class PutProvider(ChangedProvider):
    """A provider as it is now, and where its key is."""

    cred_store = fields.String()


@resource.serves("GET", "", gives=ProviderPage, query=Paging)
def list_providers(paging: dict[str, int]) -> Response:
    """List providers."""
    found, total = services().catalog.providers(**paging)
    return answer({"items": [present(provider) for provider in found], "total": total, **paging})


@resource.serves("POST", "", gives=PutProvider, takes=NewProvider)
def put_provider(values: dict[str, Any]) -> Response:
    """Create a provider, or change the given fields of the one with this id."""
    provider = services().catalog.put_provider(values)
    return answer({"ok": True, "cred_store": provider.credential, "provider": present(provider)})


@resource.serves("GET", "/<path:provider_id>", gives=Provider)
def get_provider(provider_id: str) -> Response:
    """Show a provider."""
    return answer(present(services().catalog.provider(provider_id)))


@resource.serves("PATCH", "/<path:provider_id>", gives=ChangedProvider, takes=ProviderChanges)
def change_provider(values: dict[str, Any], provider_id: str) -> Response:
    """Change the given fields of a provider."""
    return answer({"ok": True, "provider": present(services().catalog.patch_provider(provider_id, values))})


@resource.serves("DELETE", "/<path:provider_id>", gives=Done)
def delete_provider(provider_id: str) -> Response:
    """Delete a provider with its models and its key."""
    services().catalog.delete_provider(provider_id)
    return answer({"ok": True})


def present(provider: DomainProvider) -> JsonObject:
    """A provider as JSON."""
    return {
        "id": provider.id,
        "type": provider.type,
        "enabled": provider.enabled,
        "base_url": provider.base_url,
        "endpoints": list(provider.endpoints),
        "cred_store": provider.credential,
    }
