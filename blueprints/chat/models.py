"""The model list, as OpenAI clients read it: what this key may use right now."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request

from blueprints import guards
from blueprints.services import services
from tokenhub.domain.catalog import Target
from tokenhub.domain.keys import ApiKey
from tokenhub.errors import NotFound

bp = Blueprint("models", __name__)


@bp.get("/v1/models")
def list_models() -> Response:
    """Every enabled model of an enabled provider that the key may use."""
    return _json({"object": "list", "data": [_model(target) for target in _visible()]})


@bp.get("/v1/models/<path:model_id>")
def get_model(model_id: str) -> Response:
    """One model; ids may contain slashes."""
    for target in _visible():
        if target.model.id == model_id:
            return _json(_model(target))
    raise NotFound(f"the model {model_id[:200]!r} does not exist, or this key may not use it", code="model_not_found")


def _visible() -> list[Target]:
    key: ApiKey | None = None
    if guards.presented_secret(request.environ) or not services().front.public_models:
        key = guards.require_key(None, fresh=True).key
    return [
        target
        for target in services().snapshot.catalog.targets
        if target.model.enabled and target.provider.enabled and (key is None or key.allows(target.model.id))
    ]


def _model(target: Target) -> dict[str, Any]:
    model = target.model
    listed = {"id": model.id, "object": "model", "created": 0, "owned_by": target.provider.id}
    if model.max_context_tokens:
        listed |= {"context_length": model.max_context_tokens, "max_model_len": model.max_context_tokens}
    return listed


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), content_type="application/json")
