"""/admin/v1/aliases: other names that callers may ask for. Names may contain slashes, in the path too."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields

from blueprints.admin.api.resource import Done, Paging, Resource, Strict, answer
from blueprints.services import services
from tokenhub.domain.chat import JsonObject
from tokenhub.services.aliases import Alias as ServiceAlias

TARGETS = {"type": "array", "items": {"type": "string"}, "description": "Ids of models, in the order to try: 1 to 32"}

resource = Resource("aliases", __name__, "Other names for models")


class AliasChanges(Strict):
    """What can be set of an alias; the rules of each field are in `services/aliases.py`."""

    targets = fields.Raw(metadata=TARGETS)


class NewAlias(AliasChanges):
    """An alias to create, or to change where the name exists."""

    name = fields.String(required=True)
    targets = fields.Raw(required=True, metadata=TARGETS)


class Alias(Strict):
    """An alias."""

    name = fields.String()
    targets = fields.List(fields.String())


class AliasPage(Strict):
    """A page of aliases, by name."""

    items = fields.List(fields.Nested(Alias))
    total = fields.Integer()
    limit = fields.Integer()
    offset = fields.Integer()


class ChangedAlias(Done):
    """An alias as it is now."""

    alias = fields.Nested(Alias)


@resource.serves("GET", "", gives=AliasPage, query=Paging)
def list_aliases(paging: dict[str, int]) -> Response:
    """List aliases."""
    found, total = services().aliases.page(**paging)
    return answer({"items": [present(alias) for alias in found], "total": total, **paging})


@resource.serves("POST", "", gives=ChangedAlias, takes=NewAlias)
def put_alias(values: dict[str, Any]) -> Response:
    """Create an alias, or replace the targets of the one with this name."""
    return answer({"ok": True, "alias": present(services().aliases.put(values))})


@resource.serves("GET", "/<path:name>", gives=Alias)
def get_alias(name: str) -> Response:
    """Show an alias."""
    return answer(present(services().aliases.get(name)))


@resource.serves("PATCH", "/<path:name>", gives=ChangedAlias, takes=AliasChanges)
def change_alias(values: dict[str, Any], name: str) -> Response:
    """Replace the targets of an alias."""
    return answer({"ok": True, "alias": present(services().aliases.patch(name, values))})


@resource.serves("DELETE", "/<path:name>", gives=Done)
def delete_alias(name: str) -> Response:
    """Delete an alias."""
    services().aliases.delete(name)
    return answer({"ok": True})


def present(alias: ServiceAlias) -> JsonObject:
    """An alias as JSON."""
    return {"name": alias.name, "targets": alias.targets}
