"""A first start with nothing configured: the built-in provider answers, and is gone when a real one is there."""

from __future__ import annotations

from openai import OpenAI

from tests.e2e.conftest import GatewayFactory
from tests.e2e.harness import HOLDS_WITHIN_S, events, said, until
from tests.factories import chat_body, model_entry, provider_entry
from tests.upstream.process import UpstreamProcess


def test_the_demo_answers_until_another_provider_exists(
    start_gateway: GatewayFactory, upstream: UpstreamProcess
) -> None:
    gateway = start_gateway(None)
    health = gateway.get("/healthz")
    assert health.status == 200 and health.json()["adapters"] >= 1 and health.json()["models"] >= 2
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.first_key, timeout=30) as client:
        demo_models = [model.id for model in client.models.list()]
        answer = client.chat.completions.with_raw_response.create(
            model="auto", messages=[{"role": "user", "content": "hello"}]
        )
    assert len(demo_models) >= 2
    assert answer.headers["x-tokenhub-provider"] == "demo"
    assert answer.parse().choices[0].message.content
    streamed = gateway.chat(chat_body("auto", stream=True))
    *found, mark = events(streamed.body)
    assert said(found) and mark == "[DONE]"
    assert sum(1 for event in found if event["choices"] and event["choices"][0]["delta"].get("content")) >= 2

    gateway.admin("POST", "/providers", provider_entry("alpha", upstream.url))
    gateway.admin("POST", "/models", model_entry("ok"))
    until(
        lambda: all(
            [model["id"] for model in answer.json()["data"]] == ["ok"]
            for answer in gateway.on_each_worker("GET", "/v1/models")
        ),
        within_s=HOLDS_WITHIN_S + 1,
    )
    for answered in gateway.on_each_worker("POST", "/v1/chat/completions", body=chat_body(demo_models[0])):
        assert (answered.status, answered.headers["x-tokenhub-model"]) == (200, "ok")


def test_what_was_made_is_there_after_a_restart(start_gateway: GatewayFactory, upstream: UpstreamProcess) -> None:
    gateway = start_gateway({"providers": [provider_entry("alpha", upstream.url)], "models": [model_entry("ok")]})
    key = gateway.new_key("kept", monthly_budget_usd=1)
    decision_id = gateway.chat(chat_body("ok"), key=key.secret).decision_id
    receipt = gateway.receipt(decision_id, key.secret)
    gateway.admin("PATCH", "/models/ok", {"weight": 77})
    first_key, admin_token = gateway.first_key, gateway.admin_token
    gateway.stop()
    gateway.start()
    assert (gateway.first_key, gateway.admin_token) == (first_key, admin_token)
    assert gateway.receipt(decision_id, key.secret) == receipt
    weights = {row["id"]: row["weight"] for row in gateway.admin("GET", "/models").json()["items"]}
    assert weights["ok"] == 77, "the file does not overrule the admin"
    assert gateway.chat(chat_body("ok"), key=key.secret).status == 200
    (row,) = [row for row in gateway.admin("GET", "/apikeys").json()["keys"] if row["id"] == key.id]
    assert round(row["current_spend_usd"] * 1e9) == 2 * receipt["cost_nanousd"]
