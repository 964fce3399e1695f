"""The admin API, /admin/v1: one module per resource, described at /admin/v1/openapi.json.

apikeys.py     /apikeys       GET POST · /<id> GET PATCH DELETE · /<id>/rotate POST
providers.py   /providers     GET POST · /<id> GET PATCH DELETE
models.py      /models        GET POST · /<id> GET PATCH DELETE      (ids may contain slashes)
aliases.py     /aliases       GET POST · /<name> GET PATCH DELETE    (as above)
engine.py      /engine        /models GET
routing.py     /routing       /simulate POST
routing_config.py  /routing-config  GET PUT
logs.py        /logs          GET
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response
from flask_smorest import Api
from marshmallow import Schema, fields

from blueprints import guards
from blueprints.admin.api import aliases, apikeys, engine, logs, models, providers, routing, routing_config

RESOURCES = (
    apikeys.resource,
    providers.resource,
    models.resource,
    aliases.resource,
    engine.resource,
    routing.resource,
    routing_config.resource,
    logs.resource,
)


class AdminError(Schema):
    """Every error of the admin API."""

    class Inner(Schema):
        """What went wrong; `fields` names each bad field with its messages."""

        code = fields.String(required=True)
        message = fields.String(required=True)
        fields_ = fields.Dict(data_key="fields")
        hint = fields.String()
        request_id = fields.String(required=True)

    error = fields.Nested(Inner, required=True)


class AdminApi(Api):  # type: ignore[misc]
    """flask-smorest's API; errors are rendered by `blueprints/errors.py`, and the description is guarded too."""

    ERROR_SCHEMA = AdminError

    def _register_error_handlers(self) -> None:
        pass

    def _openapi_json(self) -> Response:
        guards.require_admin()
        response: Response = super()._openapi_json()
        return response


def register_admin_api(app: Flask) -> None:
    """Mount all resources under /admin/v1, with their OpenAPI description."""
    app.config["ADMIN_OPENAPI_URL_PREFIX"] = "/admin/v1"
    options: dict[str, Any] = {
        "title": "TokenHub administration",
        "version": "v1",
        "openapi_version": "3.1.0",
        "security": [{"adminToken": []}],
    }
    api = AdminApi(app, spec_kwargs=options, config_prefix="ADMIN_")
    api.spec.components.security_scheme("adminToken", {"type": "http", "scheme": "bearer"})
    for resource in RESOURCES:
        api.register_blueprint(resource)
