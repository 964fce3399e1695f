from __future__ import annotations

import pytest

from blueprints.admin.api import engine
from tokenhub.domain.observed import Observation
from tokenhub.services.routing import SeenModel

PATH = "/admin/v1/engine/models"


@pytest.fixture(autouse=True)
def catalog(client):
    for provider_id, url in (("acme", "https://api.example.com/v1"), ("broken", "http://10.0.0.5:8000")):
        client.post("/admin/v1/providers", json={"id": provider_id, "type": "openai", "base_url": url})
    client.post("/admin/v1/providers", json={"id": "off", "type": "openai", "base_url": "http://off", "enabled": False})
    for model_id, provider_id, fields in (
        ("a", "acme", {"weight": 8, "input_per_1k": 0.001, "output_per_1k": 0.002, "family": "x"}),
        ("b", "broken", {}),
        ("c", "off", {}),
        ("d", "acme", {"enabled": False}),
    ):
        client.post("/admin/v1/models", json={"id": model_id, "provider_id": provider_id, **fields})


def test_models_are_shown_as_the_engine_sees_them(client):
    page = client.get(PATH).json
    assert engine.EnginePage().validate(page) == {}
    assert (page["total"], page["limit"], page["offset"]) == (4, 1000, 0)
    first = page["models"][0]
    assert (first["id"], first["provider_id"], first["weight"], first["family"]) == ("a", "acme", 8, "x")
    assert (first["input_per_1k"], first["output_per_1k"], first["price_source"]) == (0.001, 0.002, "operator")
    assert first["observed"] is None


def test_a_model_that_cannot_be_asked_says_why(client):
    told = {model["id"]: (model["ready"], model["why_not"]) for model in client.get(PATH).json["models"]}
    assert told == {
        "a": (True, ""),
        "b": (False, "the provider has no usable credential"),
        "c": (False, "the provider is disabled"),
        "d": (False, "the model is disabled"),
    }


def test_the_adapters_are_shown_with_their_hosts_and_nothing_of_their_keys(client):
    page = client.get(PATH, query_string={"limit": 1, "offset": 1}).json
    assert [model["id"] for model in page["models"]] == ["b"]
    assert page["adapters"] == ["acme"]
    assert page["adapter_info"] == [
        {"id": "acme", "type": "openai", "hosts": ["api.example.com"], "ready": True, "why_not": ""},
        {
            "id": "broken",
            "type": "openai",
            "hosts": ["10.0.0.5:8000"],
            "ready": False,
            "why_not": "the provider has no usable credential",
        },
        {"id": "off", "type": "openai", "hosts": ["off"], "ready": False, "why_not": "the provider is disabled"},
    ]


def test_what_was_observed_is_shown(client, hub, monkeypatch):
    target = hub.routing.models(1, 0)[0][0].target
    row = Observation(samples=2, latency_ms=120.5, output_tokens=80.0, input_tokens=20.0, input_tokens_estimated=10.0)
    monkeypatch.setattr(hub.routing, "models", lambda limit, offset: ([SeenModel(target, "", row, 0.25)], 1))
    page = client.get(PATH).json
    assert engine.EnginePage().validate(page) == {}
    assert page["models"][0]["observed"] == {
        "samples": 2,
        "latency_ms": 120.5,
        "ttft_ms": None,
        "error_rate": 0.25,
        "output_tokens": 80.0,
        "token_ratio": 2.0,
    }


def test_only_the_administrator_gets_in(app):
    assert app.test_client().get(PATH).status_code == 401
