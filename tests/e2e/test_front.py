"""Routing, the native route, probes and pages: what a stranger meets first."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.harness import Gateway, events, said, until
from tests.factories import chat_body
from tests.upstream.answers import digest_of

TEXT = " ".join([digest_of("hello"), *(f"word{number}" for number in range(1, 8))])
MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("model", ["auto", "", "*", "gpt-99-unheard-of", "vendor/unheard-of"])
def test_a_model_that_is_not_registered_is_routed(gateway: Gateway, model: str) -> None:
    answer = gateway.chat(chat_body(model))
    assert answer.status == 200
    assert answer.headers["x-tokenhub-model"] == "ok"
    assert answer.headers["x-tokenhub-reason"].startswith("routed-")
    receipt = gateway.receipt(answer.decision_id)
    assert (receipt["model_requested"], receipt["model"]) == (model, "ok")
    assert [candidate["model"] for candidate in receipt["candidates"]][:2] == ["ok", "ok+spare"]


def test_a_missing_model_is_routed(gateway: Gateway) -> None:
    assert gateway.chat({"messages": MESSAGES}).headers["x-tokenhub-model"] == "ok"


def test_a_named_model_is_tried_first_however_poor(gateway: Gateway) -> None:
    answer = gateway.chat(chat_body("ok+named"))
    assert answer.headers["x-tokenhub-model"] == "ok+named"
    assert answer.headers["x-tokenhub-reason"] == "routed-hint-exact"


def test_policy_on_the_openai_route_is_ours_and_is_not_forwarded(gateway: Gateway) -> None:
    answer = gateway.chat(chat_body("echo", tokenhub={"min_weight": 99}))
    assert answer.headers["x-tokenhub-model"] == "ok"
    assert b"tokenhub" not in gateway.chat(chat_body("echo", tokenhub={"mode": "cheap"})).body
    refused = gateway.chat(chat_body("ok", tokenhub={"mode": "reckless"}))
    assert (refused.status, refused.error["param"]) == (400, "policy.mode")


def test_where_the_callers_limits_leave_nothing_every_reason_is_told(gateway: Gateway) -> None:
    key = gateway.new_key("narrow", allowed_models=["ok+spare"])
    answer = gateway.chat(chat_body("auto", tokenhub={"max_budget_usd": 0.000000001}), key=key.secret)
    assert answer.status == 400
    assert answer.error["code"] == "no_eligible_model" and "not_allowed" in answer.error["message"]
    until(lambda: bool(gateway.logs(key)))
    reasons = {row["model"]: row["reason"] for row in gateway.logs(key)[0]["rejected"]}
    assert reasons["ok+spare"] == "budget_exceeded"
    assert reasons["ok"] == "not_allowed"


# ---------------------------------------------------------------- POST /v1/chat


@pytest.mark.parametrize(
    "body",
    [
        {"request": {"messages": MESSAGES}},
        {"messages": MESSAGES},
        {"request": {"messages": MESSAGES, "model_hint": "ok", "parameters": {"temperature": 0.5}}},
        {"messages": MESSAGES, "model_hint": "ok", "stream": False, "policy": {"mode": "cheap", "min_weight": 50}},
    ],
)
def test_the_native_route_takes_both_bodies(gateway: Gateway, body: Any) -> None:
    answer = gateway.ask("POST", "/v1/chat", body)
    assert answer.status == 200, answer
    said_by = answer.json()
    assert said_by["negotiated_model"] == answer.headers["x-negotiated-model"] == "ok"
    assert said_by["routing_reason"] == answer.headers["x-tokenhub-reason"]
    assert said_by["response"]["choices"][0]["message"]["content"] == TEXT
    receipt = gateway.receipt(said_by["decision_id"])
    assert said_by["estimated_cost_usd"] == receipt["cost_nanousd"] / 1e9
    assert receipt["dialect"] == "native"


@pytest.mark.parametrize("wrap", [False, True])
def test_the_native_route_streams_in_openais_form(gateway: Gateway, wrap: bool) -> None:
    request = {"messages": MESSAGES, "model_hint": "ok", "stream": True}
    answer = gateway.ask("POST", "/v1/chat", {"request": request} if wrap else request)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *found, mark = events(answer.body)
    assert (said(found), mark) == (TEXT, "[DONE]")
    assert answer.headers["x-negotiated-model"] == "ok"
    assert gateway.receipt(answer.decision_id)["status"] == "ok"


def test_native_parameters_reach_the_provider(gateway: Gateway) -> None:
    body = {"messages": MESSAGES, "model_hint": "echo", "parameters": {"temperature": 0.7, "vendor_thing": [1]}}
    seen = gateway.ask("POST", "/v1/chat", body).json()["response"]["choices"][0]["message"]["content"]
    assert '"temperature": 0.7' in seen and '"vendor_thing": [1]' in seen


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"request": []}, 400),
        ({"request": {}}, 400),
        ({"messages": MESSAGES, "temprature": 1}, 400),
        ({"messages": MESSAGES, "parameters": {"stream": True}}, 400),
        ({"messages": MESSAGES, "policy": {"min_weight": 101}}, 400),
        ({"messages": MESSAGES, "policy": {"max_budget_usd": -1}}, 400),
        ({"messages": MESSAGES, "policy": {"surprise": 1}}, 400),
        ({"messages": MESSAGES, "policy": []}, 400),
        ({"messages": MESSAGES, "output_schema": {"type": "object"}}, 501),
    ],
)
def test_the_native_route_names_what_it_does_not_take(gateway: Gateway, body: Any, status: int) -> None:
    answer = gateway.ask("POST", "/v1/chat", body)
    assert answer.status == status
    assert answer.error["message"]


# ---------------------------------------------------------------- probes and pages


def test_healthz_counts_providers_and_models_without_a_key(gateway: Gateway) -> None:
    answer = gateway.get("/healthz")
    assert answer.status == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["adapters"] == 2 and answer.json()["models"] > 20


def test_readyz_says_that_it_is_ready_on_every_worker(gateway: Gateway) -> None:
    assert [answer.status for answer in gateway.on_each_worker("GET", "/readyz", key="")] == [200, 200]


def test_metrics_count_requests_tokens_and_cost_by_model(gateway: Gateway) -> None:
    def lines() -> list[str]:
        return [
            line
            for answer in gateway.on_each_worker("GET", "/metrics", key="")
            for line in answer.body.decode().splitlines()
            if 'model="ok-3"' in line and 'provider="alpha"' in line
        ]

    assert gateway.chat(chat_body("ok-3", stream=True)).status == 200
    for name in (
        "tokenhub_requests_total",
        "tokenhub_tokens_total",
        "tokenhub_cost_usd_total",
        "tokenhub_request_latency_seconds",
        "tokenhub_time_to_first_token_seconds",
    ):
        until(lambda name=name: sum(line.startswith(name) for line in lines()) >= 2)


def test_the_root_leads_to_the_admin_page(gateway: Gateway) -> None:
    answer = gateway.get("/")
    assert answer.status in (301, 302, 303, 307, 308)
    assert answer.headers["location"].endswith("/admin/")
    page = gateway.get("/admin/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/models", "/admin/v1/models", "/nothing", "/"])
def test_every_answer_has_a_request_id_and_the_security_headers(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"


def test_of_a_name_that_is_there_twice_gateway_and_provider_see_the_same_value(gateway: Gateway) -> None:
    body = b'{"model": "ok", "model": "echo", "messages": [{"role": "system", "role": "user", "content": "a"}]}'
    answer = gateway.ask("POST", "/v1/chat/completions", body)
    assert answer.status == 200 and answer.headers["x-tokenhub-model"] == "echo"
    seen = json.loads(answer.json()["choices"][0]["message"]["content"])
    assert seen["model"] == "echo" and seen["messages"] == [{"role": "user", "content": "a"}]
