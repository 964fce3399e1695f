"""The admin API's first slice: who may enter, shapes, and that secrets go in and never come out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.harness import Gateway, Key, until
from tests.factories import chat_body, model_entry, provider_entry
from tests.upstream.process import UpstreamProcess

COLLECTIONS = ("/apikeys", "/providers", "/models", "/logs")


@pytest.mark.parametrize("path", COLLECTIONS)
def test_only_the_admin_token_opens_it(gateway: Gateway, key: Key, path: str) -> None:
    assert gateway.admin("GET", path).status == 200
    for secret in ("", key.secret, "wrong", "wröng"):
        answer = gateway.get(f"/admin/v1{path}", key=secret)
        assert answer.status in (401, 429), answer
        assert set(answer.error) >= {"code", "message", "request_id"}
        assert answer.error["request_id"] == answer.headers["x-request-id"]
    assert gateway.admin("GET", path).status == 200, "wrong tokens do not lock the right one out"


def test_the_admin_token_opens_no_v1_route(gateway: Gateway) -> None:
    assert gateway.chat(chat_body("ok"), key=gateway.admin_token).status == 401


def test_a_new_key_is_shown_once_in_the_readmes_shape(gateway: Gateway) -> None:
    answer = gateway.admin("POST", "/apikeys", {"name": "my-app", "scopes": '["chat","plan"]'})
    made = answer.json()
    assert made["ok"] is True and made["name"] == "my-app"
    assert made["key"].startswith("tokenhub_") and made["key"].startswith(made["prefix"])
    assert made["id"] not in made["key"] and made["warning"]
    page = gateway.admin("GET", "/apikeys?limit=1000")
    (row,) = [row for row in page.json()["keys"] if row["id"] == made["id"]]
    assert row["enabled"] is True and row["rotation_days"] == 0 and row["created_at"]
    assert made["key"].encode() not in page.body


def test_pages_have_a_total(gateway: Gateway) -> None:
    page = gateway.admin("GET", "/models?limit=2&offset=1").json()
    assert (len(page["items"]), page["limit"], page["offset"]) == (2, 2, 1)
    assert page["total"] > 3
    whole = gateway.admin("GET", "/models").json()["items"]
    assert page["items"] == whole[1:3]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/apikeys", {"name": "x", "colour": "red"}, "colour"),
        ("POST", "/apikeys", {}, "name"),
        ("POST", "/apikeys", {"name": "x", "scopes": ["everything"]}, "scopes"),
        ("POST", "/apikeys", {"name": "x", "monthly_budget_usd": -1}, "monthly_budget_usd"),
        ("POST", "/apikeys", {"name": "x", "rate_limit_rps": "many"}, "rate_limit_rps"),
        ("POST", "/models", {"id": "m", "provider_id": "alpha", "weight": 101}, "weight"),
        ("POST", "/models", {"id": "m", "provider_id": "nobody"}, "provider_id"),
        ("POST", "/models", {"id": "m", "provider_id": "alpha", "input_per_1k": 1}, "output_per_1k"),
        ("POST", "/providers", {"id": "p", "type": "abacus", "base_url": "http://127.0.0.1:9"}, "type"),
        ("POST", "/providers", {"id": "p", "type": "openai", "base_url": "file:///etc/passwd"}, "base_url"),
        ("PATCH", "/models/ok", {"enabled": "yes"}, "enabled"),
    ],
)
def test_a_bad_field_is_named_with_a_422(gateway: Gateway, method: str, path: str, body: Any, field: str) -> None:
    answer = gateway.admin(method, path, body)
    assert answer.status == 422, answer
    assert any(field in name for name in answer.error["fields"]), answer.error


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"[" * 100_000, b'{"name": NaN}', b'{"name": "\\ud800"}'])
def test_a_bad_admin_body_is_a_4xx(gateway: Gateway, body: bytes) -> None:
    answer = gateway.admin("POST", "/apikeys", body)
    assert answer.status in (400, 422), answer
    assert answer.error["code"]


@pytest.mark.parametrize("path", ["/apikeys/key_none", "/providers/none", "/models/no/such"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_what_is_not_there_is_a_404(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.admin(method, path, {} if method == "PATCH" else None)
    assert answer.status == 404
    assert answer.error["code"]


def test_an_unknown_admin_route_is_a_404_in_the_admins_shape(gateway: Gateway) -> None:
    answer = gateway.admin("GET", "/nothing")
    assert answer.status == 404
    assert answer.error["code"] and answer.error["request_id"]


def test_the_log_has_what_the_receipt_has(gateway: Gateway, key: Key) -> None:
    answer = gateway.chat(chat_body("ok"), key=key.secret)
    until(lambda: bool(gateway.logs(key)))
    (row,) = gateway.logs(key)
    receipt = gateway.receipt(answer.decision_id, key.secret)
    for name in ("id", "request_id", "model", "provider", "status", "cost_nanousd", "usage", "attempts"):
        assert row[name] == receipt[name], name


def test_a_provider_key_is_nowhere_but_where_the_operator_put_it(
    gateway: Gateway, upstream: UpstreamProcess, key: Key
) -> None:
    provider = provider_entry("secretive", upstream.url, api_key="sk-secretive-canary-0123456789")
    made = gateway.admin("POST", "/providers", provider)
    assert made.status in (200, 201)
    gateway.admin("POST", "/models", model_entry("status-401+canary", "secretive"))
    pages = b"".join(gateway.admin("GET", path).body for path in COLLECTIONS) + made.body
    gateway.chat(chat_body("status-401"), key=key.secret)
    everywhere = pages + gateway.log().encode() + gateway.get("/metrics").body
    everywhere += b"".join(path.read_bytes() for path in gateway.data.rglob("*") if path.is_file())
    assert b"canary-0123456789" not in everywhere
    assert key.secret.encode() not in everywhere
    assert gateway.admin("DELETE", "/providers/secretive").status == 200


def test_secret_files_are_for_their_owner_only(gateway: Gateway) -> None:
    for name in ("admin-token", "first-api-key", "secret.key"):
        assert (gateway.data / name).stat().st_mode & 0o077 == 0, name
    assert gateway.first_key not in gateway.log() and gateway.admin_token not in gateway.log()


def test_every_answer_is_json(gateway: Gateway) -> None:
    for path in COLLECTIONS:
        answer = gateway.admin("GET", path)
        assert answer.headers["content-type"].startswith("application/json")
        json.loads(answer.body)
