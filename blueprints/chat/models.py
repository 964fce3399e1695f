"""The model list, as OpenAI's and Anthropic's clients read it: what this key may use right now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Blueprint, Response, request

from blueprints import guards
from blueprints.headers import is_anthropic
from blueprints.services import services
from tokenhub.domain.catalog import Catalog, Target
from tokenhub.domain.keys import ApiKey
from tokenhub.errors import NotFound

bp = Blueprint("models", __name__)

ALIASES_OWNER = "tokenhub"
UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""Nobody tells when a model came out; an epoch value says so."""


@bp.get("/v1/models")
def list_models() -> Response:
    """Every model and alias that the key may use."""
    visible = _visible()
    if not is_anthropic(request.environ):
        return _json({"object": "list", "data": [_openai(name, target) for name, target in visible.items()]})
    listed = [_anthropic(name, target) for name, target in visible.items()]
    first_id, last_id = (listed[0]["id"], listed[-1]["id"]) if listed else (None, None)
    return _json({"data": listed, "has_more": False, "first_id": first_id, "last_id": last_id})


@bp.get("/v1/models/<path:model_id>")
def get_model(model_id: str) -> Response:
    """One model or alias; ids may contain slashes."""
    visible = _visible()
    if model_id not in visible:
        raise NotFound(
            f"the model {model_id[:200]!r} does not exist, or this key may not use it", code="model_not_found"
        )
    write = _anthropic if is_anthropic(request.environ) else _openai
    return _json(write(model_id, visible[model_id]))


def _visible() -> Mapping[str, Target | None]:
    """Names that the caller may ask for, models first; an alias has no target of its own."""
    key: ApiKey | None = None
    if guards.presented_secret(request.environ) or not services().front.public_models:
        key = guards.require_key(None, fresh=True).key
    return offered(services().snapshot.catalog, key)


def offered(catalog: Catalog, key: ApiKey | None) -> Mapping[str, Target | None]:
    """The enabled models of enabled providers that the key may use, and the aliases of at least one of them. No key:
    all of them."""
    models: dict[str, Target | None] = {
        target.model.id: target
        for target in catalog.targets
        if target.is_offered and (key is None or key.allows(target.model.id))
    }
    aliases = [
        name
        for name, targets in catalog.aliases.items()
        if name not in models and not models.keys().isdisjoint(targets)
    ]
    return models | dict.fromkeys(sorted(aliases))


def _openai(name: str, target: Target | None) -> dict[str, Any]:
    listed = {"id": name, "object": "model", "created": 0, "owned_by": target.provider.id if target else ALIASES_OWNER}
    if target and target.model.max_context_tokens:
        listed |= {"context_length": target.model.max_context_tokens, "max_model_len": target.model.max_context_tokens}
    return listed


def _anthropic(name: str, target: Target | None) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": UNKNOWN_TIME,
        "lifecycle": "active",
        "max_input_tokens": target.model.max_context_tokens if target else None,
        "max_tokens": target.output_cap if target else None,
    }


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), content_type="application/json")
