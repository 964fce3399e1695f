from __future__ import annotations

import pytest

from blueprints.admin.api import apikeys
from tokenhub.security.api_keys import key_hash

PATH = "/admin/v1/apikeys"


def make(client, **fields) -> dict:
    response = client.post(PATH, json={"name": "app", **fields})
    assert response.status_code == 200
    return response.json


def test_the_readmes_command_makes_a_key_that_is_shown_once(client, hub):
    made = make(client, name="test", scopes='["chat"]')
    assert apikeys.MadeKey().validate(made) == {}
    assert (made["ok"], made["name"], made["scopes"]) == (True, "test", ["chat"])
    assert made["key"].startswith(made["prefix"]) and "once" in made["warning"]
    assert hub.state.key_by_hash(key_hash(made["key"])).id == made["id"]
    for path in (PATH, f"{PATH}/{made['id']}"):
        assert made["key"] not in client.get(path).text


def test_a_list_has_its_shape(client, hub):
    budgeted = make(client, name="budgeted", monthly_budget_usd=12.5, expires_at="2090-01-01T00:00:00Z")
    make(client, name="free", allowed_models=["a/b"], scopes=["plan"])
    hub.state.spent[budgeted["id"]] = 1_250_000_000
    page = client.get(PATH + "?limit=10").json
    assert apikeys.KeyPage().validate(page) == {}
    assert (page["total"], page["limit"], page["offset"]) == (2, 10, 0)
    free, with_budget = page["keys"]
    assert (free["name"], free["scopes"], free["allowed_models"]) == ("free", ["plan"], ["a/b"])
    assert (free["monthly_budget_usd"], "current_spend_usd" in free) == (None, False)
    assert (with_budget["monthly_budget_usd"], with_budget["current_spend_usd"]) == (12.5, 1.25)
    assert with_budget["expires_at"] == "2090-01-01T00:00:00.000Z"
    assert with_budget == client.get(f"{PATH}/{budgeted['id']}").json


def test_a_page_is_a_part_of_the_list(client):
    for name in "abc":
        make(client, name=name)
    page = client.get(PATH + "?limit=1&offset=1").json
    assert ([key["name"] for key in page["keys"]], page["total"]) == (["b"], 3)


def test_a_patch_changes_what_it_names(client):
    made = make(client, monthly_budget_usd=5)
    changed = client.patch(f"{PATH}/{made['id']}", json={"enabled": False, "monthly_budget_usd": 0}).json
    assert apikeys.ChangedKey().validate(changed) == {}
    assert (changed["apikey"]["enabled"], changed["apikey"]["monthly_budget_usd"]) == (False, None)
    assert changed["apikey"]["name"] == "app"


def test_a_keys_policy_and_ceilings_are_shown_as_they_were_given_and_cleared(client):
    given = {"policy": {"mode": "cheap", "max_budget_usd": 0.1}, "policy_ceilings": {"mode": ["cheap", "normal"]}}
    path = f"{PATH}/{make(client, **given)['id']}"
    shown = client.get(path).json
    assert {name: shown[name] for name in given} == given
    for nothing in (None, {}):
        changed = client.patch(path, json={"policy": nothing}).json["apikey"]
        assert apikeys.Key().validate(changed) == {}
        assert (changed["policy"], changed["policy_ceilings"]) == ({}, given["policy_ceilings"])
    assert client.patch(path, json={"policy_ceilings": None}).json["apikey"]["policy_ceilings"] == {}


def test_rotation_gives_a_new_secret_for_the_same_key(client, hub):
    made = make(client)
    rotated = client.post(f"{PATH}/{made['id']}/rotate").json
    assert rotated["id"] == made["id"] and rotated["key"] != made["key"]
    assert hub.state.key_by_hash(key_hash(made["key"])) is None


def test_a_key_is_deleted_once(client):
    made = make(client)
    assert client.delete(f"{PATH}/{made['id']}").json == {"ok": True}
    assert client.delete(f"{PATH}/{made['id']}").status_code == 404


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")])
def test_a_key_that_is_not_there_is_404(client, method, tail):
    response = client.open(f"{PATH}/key_0{tail}", method=method, json={})
    assert (response.status_code, response.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"name": "\u202egpj"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"scopes": "chat"}, "scopes"),
        ({"scopes": ["chat", "admin"]}, "scopes"),
        ({"scopes": ["/*"]}, "scopes"),
        ({"rotation_days": "30"}, "rotation_days"),
        ({"rotation_days": 1.5}, "rotation_days"),
        ({"rotation_days": -1}, "rotation_days"),
        ({"monthly_budget_usd": "5"}, "monthly_budget_usd"),
        ({"monthly_budget_usd": -1}, "monthly_budget_usd"),
        ({"rate_limit_rps": -2}, "rate_limit_rps"),
        ({"allowed_models": "gpt"}, "allowed_models"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": 1}, "enabled"),
        ({"expires_in": "soon"}, "expires_in"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"created_at": "2001-01-01T00:00:00Z"}, "created_at"),
        ({"version": 7}, "version"),
        ({"user_role": "admin"}, "user_role"),
        ({"policy": ["cheap"]}, "policy"),
        ({"policy": {"mode": "thompson"}}, "policy.mode"),
        ({"policy": {"max_budget_usd": 101}}, "policy.max_budget_usd"),
        ({"policy_ceilings": {"max_budget_usd": 0}}, "policy_ceilings.max_budget_usd"),
        ({"policy_ceilings": {"speed": 1}}, "policy_ceilings.speed"),
    ],
)
def test_a_bad_or_unknown_field_is_422_on_create_and_on_patch(client, hub, values, field):
    made = make(client)
    before = hub.state.key(made["id"])
    for response in (
        client.patch(f"{PATH}/{made['id']}", json=values),
        client.post(PATH, json={"name": "n", **values}),
    ):
        assert response.status_code == 422
        assert list(response.json["error"]["fields"]) == [field]
        assert response.json["error"]["code"] == "validation_failed"
    assert hub.state.key(made["id"]) == before
    assert hub.state.keys(10, 0)[1] == 1


def test_a_name_is_required(client):
    assert list(client.post(PATH, json={}).json["error"]["fields"]) == ["name"]
