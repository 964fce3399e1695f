"""What every answer carries, whatever made it."""

from __future__ import annotations

import pytest
from flask import Flask, Response

from blueprints import headers


def app(*origins: str) -> Flask:
    made = Flask(__name__)
    made.add_url_rule("/v1/x", "x", lambda: {"ok": True}, methods=["GET", "POST"])
    made.add_url_rule("/admin/v1/x", "admin", lambda: {"ok": True})
    made.add_url_rule("/page", "page", lambda: "<p>")
    made.add_url_rule("/stream", "stream", lambda: Response("data", headers={"Cache-Control": "no-cache"}))
    headers.register(made, origins)
    return made


@pytest.mark.parametrize(
    ("offered", "kept"), [("abc-1.2:3_", True), ("a b", False), ("é", False), ("x" * 129, False), ("", False)]
)
def test_a_request_id_is_echoed_only_if_it_is_clean(offered: str, kept: bool) -> None:
    told = app().test_client().get("/v1/x", headers={"x-request-id": offered}).headers["x-request-id"]
    assert (told == offered) is kept and (kept or told.startswith("req_"))


@pytest.mark.parametrize(
    ("path", "version", "is_anthropic"),
    [
        ("/v1/messages", "", True),
        ("/v1/messages/count_tokens", "", True),
        ("/v1/messages/batches", "", True),
        ("/v1/messagesx", "", False),
        ("/v1/models", "", False),
        ("/v1/models", "2023-06-01", True),
        ("/v1/models/a/b", "2023-06-01", True),
        ("/v1/chat/completions", "2023-06-01", False),
    ],
)
def test_callers_of_anthropic_s_dialect_get_their_name_for_the_request_id(
    path: str, version: str, is_anthropic: bool
) -> None:
    told = app().test_client().get(path, headers={"anthropic-version": version} if version else {}).headers
    assert (told.get("request-id") == told["x-request-id"]) is is_anthropic
    assert ("request-id" in told) is is_anthropic


@pytest.mark.parametrize("path", ["/v1/x", "/page", "/stream", "/nowhere"])
def test_every_answer_carries_the_security_headers(path: str) -> None:
    told = app().test_client().get(path).headers
    assert told["X-Content-Type-Options"] == "nosniff" and told["X-Frame-Options"] == "DENY"
    assert told["Referrer-Policy"] == "no-referrer"
    assert told.getlist("Cache-Control") == (["no-cache"] if path == "/stream" else ["no-store"])


def test_only_pages_carry_a_policy_for_content() -> None:
    client = app().test_client()
    assert "default-src 'none'" in client.get("/page").headers["Content-Security-Policy"]
    assert "Content-Security-Policy" not in client.get("/v1/x").headers


def test_browsers_of_all_or_of_named_origins_may_call_v1() -> None:
    origin = {"Origin": "https://a.example"}
    everybody = app("*").test_client().get("/v1/x", headers=origin).headers
    assert everybody["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in everybody
    assert "x-tokenhub-decision-id" in everybody["Access-Control-Expose-Headers"]
    named = app("https://a.example").test_client()
    assert named.get("/v1/x", headers=origin).headers["Access-Control-Allow-Origin"] == "https://a.example"
    other = named.get("/v1/x", headers={"Origin": "https://b.example"}).headers
    assert "Access-Control-Allow-Origin" not in other


def test_a_preflight_is_answered() -> None:
    asked = {
        "Origin": "https://a.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    told = app("*").test_client().options("/v1/x", headers=asked)
    assert told.status_code == 200 and "POST" in told.headers["Access-Control-Allow-Methods"]
    assert "authorization" in told.headers["Access-Control-Allow-Headers"].lower()


def test_never_across_origins_on_admin_nor_where_nobody_may() -> None:
    origin = {"Origin": "https://a.example"}
    assert "Access-Control-Allow-Origin" not in app("*").test_client().get("/admin/v1/x", headers=origin).headers
    assert "Access-Control-Allow-Origin" not in app().test_client().get("/v1/x", headers=origin).headers
