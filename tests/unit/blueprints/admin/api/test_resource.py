"""What holds for the whole admin API: who may come in, what a body must be, paging, and its description."""

from __future__ import annotations

import io
import json
import re

import pytest
from flask import Flask

from blueprints.admin.api import register_admin_api
from blueprints.admin.api.resource import MAX_BODY_BYTES

BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"nonsense", 400),
    (b"null", 400),
    (b"[]", 400),
    (b'"text"', 400),
    (b"1", 400),
    (b'{"name": NaN}', 400),
    (b'{"name": Infinity}', 400),
    (b'{"name": "\xff"}', 400),
    (b'{"name": "\\ud800"}', 400),
    (b"[" * 100_000, 400),
    (b'{"name":' * 10_000, 400),
    (b'{"name": "n", "weight": ' + b"9" * 5000 + b"}", 400),
    (b'{"name": ' + b" " * MAX_BODY_BYTES + b"1}", 413),
]

PLACES = [
    ("POST", "/admin/v1/apikeys"),
    ("PATCH", "/admin/v1/apikeys/key_1"),
    ("POST", "/admin/v1/providers"),
    ("PATCH", "/admin/v1/providers/p"),
    ("POST", "/admin/v1/models"),
    ("PATCH", "/admin/v1/models/m"),
    ("PUT", "/admin/v1/routing-config"),
]


def error_of(response) -> dict:
    error = response.json["error"]
    assert set(error) <= {"code", "message", "fields", "hint", "request_id"}
    assert error["code"] and error["message"]
    return error


def admin_routes(app) -> list[tuple[str, str]]:
    return [
        (method, re.sub(r"<[^>]+>", "x", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/admin/v1")
        for method in rule.methods - {"OPTIONS", "HEAD"}
    ]


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}, {"x-api-key": "k"}]
)
def test_nobody_but_the_administrator_passes_any_route(app, headers):
    client = app.test_client()
    routes = admin_routes(app)
    assert len(routes) >= 27
    for method, path in routes:
        response = client.open(path, method=method, headers=headers, json={"name": "n", "id": "x"})
        assert (method, path, response.status_code) == (method, path, 401)
        assert error_of(response)["code"] == "invalid_admin_token"


@pytest.mark.parametrize(("method", "path"), PLACES)
@pytest.mark.parametrize(("body", "status"), BODIES, ids=lambda value: str(value)[:24])
def test_a_body_that_is_no_json_object_is_refused(client, method, path, body, status):
    response = client.open(path, method=method, data=body, content_type="application/json")
    assert response.status_code == status
    error_of(response)


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_of_another_type_is_refused(client, content_type):
    response = client.post("/admin/v1/apikeys", data=b'{"name": "n"}', content_type=content_type)
    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_media_type"


def test_a_packed_body_is_refused(client):
    headers = {"Content-Encoding": "gzip"}
    assert client.post("/admin/v1/apikeys", json={"name": "n"}, headers=headers).status_code == 415


def test_a_body_that_hides_its_size_is_counted(client):
    body = io.BytesIO(b'{"name": "' + b"x" * (2 * MAX_BODY_BYTES) + b'"}')
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    response = client.post("/admin/v1/apikeys", content_type="application/json", environ_overrides=environ)
    assert response.status_code == 413


@pytest.mark.parametrize("kind", ["apikeys", "providers", "models", "logs"])
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "offset=-1", "limit=5&colour=red", "offset=" + "9" * 99]
)
def test_a_page_that_cannot_be_is_refused_by_name(client, kind, query):
    response = client.get(f"/admin/v1/{kind}?{query}")
    assert response.status_code == 422
    assert set(error_of(response)["fields"]) & {"limit", "offset", "colour"}


def test_the_description_is_openapi_and_names_every_route(client, app):
    document = client.get("/admin/v1/openapi.json").json
    assert document["openapi"] == "3.1.0"
    described = {
        (method.upper(), re.sub(r"\{[^}]+\}", "x", path))
        for path, operations in document["paths"].items()
        for method in operations
        if method != "parameters"
    }
    assert described == set(admin_routes(app)) - {("GET", "/admin/v1/openapi.json")}
    created = document["paths"]["/admin/v1/models"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert created == {"$ref": "#/components/schemas/NewModel"}
    assert "http" not in json.dumps(document["paths"])


def test_two_apps_can_stand_in_one_process():
    apps = [Flask(name) for name in ("one", "two")]
    for app in apps:
        register_admin_api(app)
    assert admin_routes(apps[0]) == admin_routes(apps[1]) != []
