from __future__ import annotations

import pytest

from blueprints.admin.api import providers

PATH = "/admin/v1/providers"
ACME = {"id": "acme/eu", "type": "openai", "base_url": "https://api.example.com"}


def test_a_provider_is_created_and_its_key_never_shown(client, hub):
    response = client.post(PATH, json={**ACME, "api_key": "sk-CANARY"})
    assert providers.PutProvider().validate(response.json) == {}
    assert (response.json["ok"], response.json["cred_store"]) == (True, "sealed")
    assert hub.state.provider_keys() == {"acme/eu": b"sk-CANARY"}
    told = [response, client.get(PATH), client.get(f"{PATH}/acme/eu"), client.patch(f"{PATH}/acme/eu", json={})]
    assert all(answer.status_code == 200 and "CANARY" not in answer.text for answer in told)


def test_a_list_has_its_shape(client):
    client.post(PATH, json={**ACME, "api_key": "env:ACME_KEY", "enabled": False})
    page = client.get(PATH).json
    assert providers.ProviderPage().validate(page) == {}
    assert page == {
        "items": [
            {
                "id": "acme/eu",
                "type": "openai",
                "enabled": False,
                "base_url": "https://api.example.com",
                "endpoints": [],
                "cred_store": "env:ACME_KEY",
            }
        ],
        "total": 1,
        "limit": 1000,
        "offset": 0,
    }


@pytest.mark.parametrize("path", ["acme/eu", "acme%2Feu", "acme%2feu"])
def test_an_id_with_a_slash_is_reached_raw_or_escaped(client, path):
    client.post(PATH, json=ACME)
    changed = client.patch(f"{PATH}/{path}", json={"enabled": False}).json
    assert changed["provider"]["id"] == "acme/eu" and changed["provider"]["enabled"] is False
    assert client.delete(f"{PATH}/{path}").json == {"ok": True}
    assert client.delete(f"{PATH}/{path}").status_code == 404
    assert client.get(f"{PATH}/{path}").status_code == 404


def test_a_patch_does_not_create(client):
    assert client.patch(f"{PATH}/nobody", json={"enabled": True}).status_code == 404


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"type": "demo"}, "type"),
        ({"type": "martian"}, "type"),
        ({"type": 5}, "type"),
        ({"base_url": "https://user:pw@example.com"}, "base_url"),
        ({"base_url": "file:///etc/passwd"}, "base_url"),
        ({"base_url": None}, "base_url"),
        ({"base_url": "https://api.example.com?key=1"}, "base_url"),
        ({"endpoints": ["http://b:8000"]}, "endpoints"),
        ({"endpoints": "http://b:8000"}, "endpoints"),
        ({"enabled": "true"}, "enabled"),
        ({"api_key": 5}, "api_key"),
        ({"api_key": "CANARY with a space"}, "api_key"),
        ({"cred_store": "sealed"}, "cred_store"),
        ({"origin": "demo"}, "origin"),
    ],
)
def test_a_bad_or_unknown_field_is_422_on_create_and_on_patch(client, values, field):
    client.post(PATH, json=ACME)
    for response in (
        client.patch(f"{PATH}/acme/eu", json=values),
        client.post(PATH, json={**ACME, "id": "b", **values}),
    ):
        assert response.status_code == 422
        assert list(response.json["error"]["fields"]) == [field]
        assert "CANARY" not in response.text
    assert client.get(PATH).json["total"] == 1


def test_a_vllm_provider_has_further_endpoints(client):
    farm = {"id": "farm", "type": "vllm", "base_url": "http://a:8000", "endpoints": ["http://b:8000"]}
    shown = client.post(PATH, json=farm)
    assert providers.PutProvider().validate(shown.json) == {}
    assert shown.json["provider"]["endpoints"] == ["http://b:8000"]
    assert client.patch(f"{PATH}/farm", json={"endpoints": None}).json["provider"]["endpoints"] == []
    too_many = client.patch(f"{PATH}/farm", json={"endpoints": [f"http://b{n}" for n in range(33)]})
    assert (too_many.status_code, list(too_many.json["error"]["fields"])) == (422, ["endpoints"])


def test_an_openai_provider_needs_its_url(client):
    response = client.post(PATH, json={"id": "acme"})
    assert (response.status_code, list(response.json["error"]["fields"])) == (422, ["base_url"])
