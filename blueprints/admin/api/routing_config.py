"""/admin/v1/routing-config: the routing defaults of the administrator, made from the policy table."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields

from blueprints.admin.api.resource import Done, Resource, Strict, answer
from blueprints.services import services
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.policy import ROWS, Policy
from tokenhub.services.routing_config import PREFIX, RULES

resource = Resource("routing-config", __name__, "Routing defaults")

_KNOBS = {name: ROWS[name.removeprefix(PREFIX)] for name in RULES}
_ABOUT = {name: {"description": f"{knob.about}. {knob.accepted}"} for name, knob in _KNOBS.items()}

RoutingChanges = Strict.from_dict(
    {name: fields.Raw(allow_none=True, metadata=about) for name, about in _ABOUT.items()}, name="RoutingChanges"
)
"""What can be set; null gives a default back to the server. The rules are in the policy table."""

RoutingConfig = Strict.from_dict(
    {
        **{name: fields.Raw(metadata=about) for name, about in _ABOUT.items()},
        "set_by": fields.Dict(
            keys=fields.String(),
            values=fields.String(),
            metadata={"description": 'Who set each of them: "default", "server" or "admin"'},
        ),
    },
    name="RoutingConfig",
)
"""The defaults that count, and who set each."""


class ChangedRoutingConfig(Done):
    """The defaults as they are now."""

    routing_config = fields.Nested(RoutingConfig)


@resource.serves("GET", "", gives=RoutingConfig)
def get_routing_config() -> Response:
    """Show the defaults that count, and who set each."""
    return answer(present(services().routing_config.read()))


@resource.serves("PUT", "", gives=ChangedRoutingConfig, takes=RoutingChanges)
def change_routing_config(values: dict[str, Any]) -> Response:
    """Set the given defaults; null gives one back to the server."""
    return answer({"ok": True, "routing_config": present(services().routing_config.change(values))})


def present(defaults: Policy) -> JsonObject:
    """The defaults as JSON."""
    return {
        **{name: knob.show(defaults[knob.name]) for name, knob in _KNOBS.items()},
        "set_by": {name: defaults.set_by(knob.name) for name, knob in _KNOBS.items()},
    }
