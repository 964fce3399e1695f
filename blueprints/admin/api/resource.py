"""What all resources of the admin API share: the guard, strict bodies and queries, paging. No route."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import orjson
from flask import Request, Response, request
from flask_smorest import Blueprint
from marshmallow import RAISE, Schema, ValidationError, fields, validate
from webargs.flaskparser import FlaskParser

from blueprints import guards
from blueprints.body import read_body
from tokenhub.errors import InvalidRequest, UnsupportedMediaType

View = TypeVar("View", bound=Callable[..., Response])

MAX_BODY_BYTES = 1 << 20
MAX_PAGE = 1000
MAX_OFFSET = 2**31


class Strict(Schema):
    """A schema that refuses fields it does not know, and JSON values of another type."""

    class Meta:
        """marshmallow's settings."""

        unknown = RAISE


class Paging(Strict):
    """Which part of a list to give."""

    limit = fields.Integer(load_default=MAX_PAGE, validate=validate.Range(1, MAX_PAGE))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, MAX_OFFSET))


class Done(Strict):
    """It is done."""

    ok = fields.Boolean()


class StrictParser(FlaskParser):
    """Reads requests for webargs; what is wrong becomes a TokenHub error."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"json": RAISE, "query": RAISE}

    def load_json(self, req: Request, schema: Schema) -> Any:
        """The body as a JSON object."""
        return read_object()

    def handle_error(
        self,
        error: ValidationError,
        req: Request,
        schema: Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:
        """Tell each bad field with what is wrong."""
        by_place = error.messages if isinstance(error.messages, dict) else {"": error.messages}
        found = {name: told for place in by_place.values() if isinstance(place, dict) for name, told in place.items()}
        names = ", ".join(sorted(str(name) for name in found))
        raise InvalidRequest(f"invalid fields: {names[:500]}", code="validation_failed", fields=found or by_place)


class Resource(Blueprint):  # type: ignore[misc]
    """A blueprint of the admin API, mounted under /admin/v1, for the administrator only."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, name: str, import_name: str, description: str) -> None:
        super().__init__(f"admin_{name}", import_name, url_prefix=f"/admin/v1/{name}", description=description)
        self.before_request(guards.require_admin)

    def serves(
        self,
        method: str,
        rule: str,
        *,
        gives: type[Schema],
        takes: type[Schema] | None = None,
        query: type[Schema] | None = None,
    ) -> Callable[[View], View]:
        """Route to a view. The body (`takes`) or the query, checked, is its first argument; `gives` describes what it
        answers."""

        def decorate(view: View) -> View:
            described = self.response(200, gives)(view)
            if takes is not None:
                described = self.arguments(takes)(described)
            if query is not None:
                described = self.arguments(query, location="query")(described)
            self.route(rule, methods=[method])(described)
            return view

        return decorate


def read_object() -> dict[str, Any]:
    """The body as a JSON object, however large its sender says it is. Raises InvalidRequest and its kin."""
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise UnsupportedMediaType("send JSON with Content-Type: application/json")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("send the body without Content-Encoding")
    try:
        body = orjson.loads(read_body(MAX_BODY_BYTES))
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error.msg[:200]}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body must be a JSON object", code="invalid_json")
    return body


def answer(body: Mapping[str, Any]) -> Response:
    """A JSON response. Written by hand: dumping a thousand rows through a schema would hold the hub for too long."""
    try:
        text: str | bytes = orjson.dumps(body)
    except TypeError:
        # A logged receipt with a lone surrogate or an integer over 64 bit: the slow writer takes them.
        text = json.dumps(body)
    return Response(text, content_type="application/json")
