"""/admin/v1/apikeys: the keys that callers use. A secret is shown once, by the answer that makes it."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields

from blueprints.admin.api.resource import Done, Paging, Resource, Strict, answer
from blueprints.services import services
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import usd
from tokenhub.domain.receipt import timestamp
from tokenhub.services.keys import ListedKey

WARNING = "Store this key now: it is shown only once."

resource = Resource("apikeys", __name__, "API keys of callers")


class KeyChanges(Strict):
    """What can be set of a key; the rules of each field are in `services/keys.py`."""

    name = fields.String()
    scopes = fields.Raw(metadata={"description": 'An array such as ["chat"], or its JSON text', "example": ["chat"]})
    rotation_days = fields.Integer(strict=True)
    expires_in = fields.String(allow_none=True, metadata={"description": 'A duration: "720h", "90m", "30d"'})
    expires_at = fields.String(allow_none=True, metadata={"description": "RFC 3339; null: never"})
    monthly_budget_usd = fields.Raw(allow_none=True, metadata={"type": "number", "description": "0 or null: none"})
    rate_limit_rps = fields.Integer(strict=True, metadata={"description": "0: server default; -1: unlimited"})
    allowed_models = fields.List(fields.String(), allow_none=True, metadata={"description": "Empty: all"})
    enabled = fields.Raw(metadata={"type": "boolean"})
    policy = fields.Dict(allow_none=True, metadata={"description": "Defaults of its requests, by knob; null: none"})
    policy_ceilings = fields.Dict(allow_none=True, metadata={"description": "How far they may go; null: no ceilings"})


class NewKey(KeyChanges):
    """A new key."""

    name = fields.String(required=True)


class Key(Strict):
    """A key without its secret."""

    id = fields.String()
    key_prefix = fields.String()
    name = fields.String()
    scopes = fields.List(fields.String())
    created_at = fields.String()
    last_used_at = fields.String(allow_none=True)
    expires_at = fields.String(allow_none=True)
    rotation_days = fields.Integer()
    monthly_budget_usd = fields.Float(allow_none=True)
    budget_reset_at = fields.String(allow_none=True)
    rate_limit_rps = fields.Integer()
    allowed_models = fields.List(fields.String())
    enabled = fields.Boolean()
    policy = fields.Dict()
    policy_ceilings = fields.Dict()
    current_spend_usd = fields.Float(metadata={"description": "Only of keys with a budget"})


class KeyPage(Strict):
    """A page of keys, newest first."""

    keys = fields.List(fields.Nested(Key))
    total = fields.Integer()
    limit = fields.Integer()
    offset = fields.Integer()


class MadeKey(Done):
    """A new key with its secret."""

    key = fields.String()
    id = fields.String()
    prefix = fields.String()
    name = fields.String()
    scopes = fields.List(fields.String())
    warning = fields.String()


class ChangedKey(Done):
    """A key as it is now."""

    apikey = fields.Nested(Key)


@resource.serves("GET", "", gives=KeyPage, query=Paging)
def list_keys(paging: dict[str, int]) -> Response:
    """List keys, newest first."""
    found, total = services().keys.page(**paging)
    return answer({"keys": [present(key) for key in found], "total": total, **paging})


@resource.serves("POST", "", gives=MadeKey, takes=NewKey)
def create_key(values: dict[str, Any]) -> Response:
    """Make a key."""
    key, secret = services().keys.create(values)
    return answer(_made(key, secret))


@resource.serves("GET", "/<key_id>", gives=Key)
def get_key(key_id: str) -> Response:
    """Show a key."""
    return answer(present(services().keys.get(key_id)))


@resource.serves("PATCH", "/<key_id>", gives=ChangedKey, takes=KeyChanges)
def change_key(values: dict[str, Any], key_id: str) -> Response:
    """Change the given fields of a key."""
    services().keys.patch(key_id, values)
    return answer({"ok": True, "apikey": present(services().keys.get(key_id))})


@resource.serves("DELETE", "/<key_id>", gives=Done)
def delete_key(key_id: str) -> Response:
    """Delete a key."""
    services().keys.delete(key_id)
    return answer({"ok": True})


@resource.serves("POST", "/<key_id>/rotate", gives=MadeKey)
def rotate_key(key_id: str) -> Response:
    """Replace the secret of a key; the old one stops working at once."""
    key, secret = services().keys.rotate(key_id)
    return answer(_made(key, secret))


def present(listed: ListedKey) -> JsonObject:
    """A key as JSON."""
    key = listed.key
    spend = {} if listed.spend_nanousd is None else {"current_spend_usd": usd(listed.spend_nanousd)}
    budget = key.monthly_budget_nanousd
    return {
        "id": key.id,
        "key_prefix": key.prefix,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": timestamp(key.created_at_ms),
        "last_used_at": _optional_timestamp(key.last_used_at_ms),
        "expires_at": _optional_timestamp(key.expires_at_ms),
        "rotation_days": key.rotation_days,
        "monthly_budget_usd": None if budget is None else usd(budget),
        "budget_reset_at": _optional_timestamp(key.budget_reset_at_ms),
        "rate_limit_rps": key.rate_limit_rps,
        "allowed_models": key.allowed_models,
        "enabled": key.enabled,
        "policy": key.policy,
        "policy_ceilings": key.policy_ceilings,
        **spend,
    }


def _made(key: ApiKey, secret: str) -> JsonObject:
    shown = {"id": key.id, "prefix": key.prefix, "name": key.name, "scopes": key.scopes}
    return {"ok": True, "key": secret, **shown, "warning": WARNING}


def _optional_timestamp(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else timestamp(unix_ms)
