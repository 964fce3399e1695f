from __future__ import annotations

import pytest

from blueprints.admin.api import models
from tokenhub.domain.known_models import KnownModel, KnownModels, Vendor
from tokenhub.domain.money import Price

PATH = "/admin/v1/models"
LLAMA = {"id": "meta-llama/Llama-3", "provider_id": "acme"}


@pytest.fixture(autouse=True)
def provider(client):
    client.post("/admin/v1/providers", json={"id": "acme", "type": "openai", "base_url": "https://api.example.com"})


def test_a_model_comes_back_as_it_was_given(client):
    given = {
        **LLAMA,
        "upstream_name": "llama3",
        "weight": 8,
        "max_context_tokens": 128000,
        "max_output_tokens": 4096,
        "input_per_1k": 0.00015,
        "output_per_1k": 0.0006,
        "cache_read_per_1k": 0.000015,
        "cache_write_per_1k": None,
        "enabled": False,
        "family": "llama-3",
        "capabilities": ["tools", "vision"],
    }
    response = client.post(PATH, json=given)
    assert models.ChangedModel().validate(response.json) == {}
    shown = {**given, "price_tiers": [], "price_source": "operator", "known_as": None}
    assert response.json == {"ok": True, "model": shown}
    assert client.get(f"{PATH}/{LLAMA['id']}").json == shown


def test_a_known_model_is_shown_with_its_price_and_who_says_so(client, hub):
    tiers = ((1000, Price(2_000_000_000, 4_000_000_000)),)
    known = KnownModel(
        "acme", "llama-3", "llama", ("meta-llama/llama-3",), price=Price(1_000_000_000, 2_000_000_000, tiers=tiers)
    )
    hub.catalog._known = KnownModels("list 1", [Vendor("acme", ("api.example.com",))], [known])
    shown = client.post(PATH, json=LLAMA).json["model"]
    assert (shown["input_per_1k"], shown["output_per_1k"], shown["cache_read_per_1k"]) == (0.001, 0.002, None)
    assert (shown["price_source"], shown["known_as"], shown["family"]) == ("list 1", "acme:llama-3", "llama")
    (tier,) = shown["price_tiers"]
    assert (tier["above_input_tokens"], tier["input_per_1k"], tier["output_per_1k"]) == (1000, 0.002, 0.004)
    assert models.Model().validate(shown) == {}


def test_a_model_is_enabled_of_medium_weight_and_unknown_price_unless_told(client):
    page = client.post(PATH, json=LLAMA) and client.get(PATH).json
    assert models.ModelPage().validate(page) == {}
    assert (page["total"], page["limit"], page["offset"]) == (1, 1000, 0)
    assert page["items"] == [
        {
            **LLAMA,
            "upstream_name": LLAMA["id"],
            "weight": 50,
            "max_context_tokens": None,
            "max_output_tokens": None,
            "input_per_1k": None,
            "output_per_1k": None,
            "cache_read_per_1k": None,
            "cache_write_per_1k": None,
            "price_tiers": [],
            "price_source": "",
            "enabled": True,
            "family": "",
            "capabilities": None,
            "known_as": None,
        }
    ]


@pytest.mark.parametrize("path", ["meta-llama/Llama-3", "meta-llama%2FLlama-3"])
def test_an_id_with_a_slash_is_reached_raw_or_escaped(client, path):
    client.post(PATH, json=LLAMA)
    assert client.patch(f"{PATH}/{path}", json={"weight": 1}).json["model"]["weight"] == 1
    assert client.get(f"{PATH}/{path}").json["id"] == LLAMA["id"]
    assert client.delete(f"{PATH}/{path}").json == {"ok": True}
    assert client.delete(f"{PATH}/{path}").status_code == 404
    assert client.patch(f"{PATH}/{path}", json={"weight": 1}).status_code == 404


def test_a_model_of_an_unknown_provider_is_never_a_silent_ok(client):
    response = client.post(PATH, json={**LLAMA, "provider_id": "nobody"})
    assert response.status_code == 422
    assert "no provider 'nobody'" in response.json["error"]["fields"]["provider_id"][0]
    assert client.get(PATH).json["total"] == 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"weight": 101}, "weight"),
        ({"weight": -1}, "weight"),
        ({"weight": "8"}, "weight"),
        ({"weight": 8.5}, "weight"),
        ({"weight": True}, "weight"),
        ({"max_context_tokens": 0}, "max_context_tokens"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"input_per_1k": -1, "output_per_1k": 1}, "input_per_1k"),
        ({"input_per_1k": "1", "output_per_1k": 1}, "input_per_1k"),
        ({"input_per_1k": 1}, "output_per_1k"),
        ({"enabled": 0}, "enabled"),
        ({"provider_id": "nobody"}, "provider_id"),
        ({"pricing_source": "manual"}, "pricing_source"),
    ],
)
def test_a_bad_or_unknown_field_is_422_on_create_and_on_patch(client, values, field):
    client.post(PATH, json=LLAMA)
    before = client.get(PATH).json
    for response in (
        client.patch(f"{PATH}/{LLAMA['id']}", json=values),
        client.post(PATH, json={**LLAMA, "id": "b", **values}),
    ):
        assert response.status_code == 422
        assert list(response.json["error"]["fields"]) == [field]
    assert client.get(PATH).json == before


def test_an_id_that_no_path_could_reach_is_refused(client):
    for name in ("/x", "x/", "a//b", "..", "a/../b"):
        assert list(client.post(PATH, json={**LLAMA, "id": name}).json["error"]["fields"]) == ["id"]
