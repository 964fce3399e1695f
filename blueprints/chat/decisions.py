"""The receipt of a request, for the owner of the key that made it."""

from __future__ import annotations

import orjson
from flask import Blueprint, Response

from blueprints import guards
from blueprints.services import services

bp = Blueprint("decisions", __name__)


@bp.get("/v1/decisions/<decision_id>")
def get_decision(decision_id: str) -> Response:
    """What was decided for a request, why, and what it cost."""
    caller = guards.require_key(None, fresh=True)
    receipt = services().logs.decision(decision_id[:128], caller.key.id)
    return Response(orjson.dumps(receipt), content_type="application/json")
