from __future__ import annotations

import pytest

from blueprints.admin.api import routing_config
from tokenhub.services.routing_config import RULES

PATH = "/admin/v1/routing-config"


def test_the_defaults_are_shown_with_who_set_each(client):
    shown = client.get(PATH).json
    assert routing_config.RoutingConfig().validate(shown) == {}
    assert set(shown) == {*RULES, "set_by"}
    assert (shown["default_mode"], shown["default_max_budget_usd"], shown["default_max_latency_ms"]) == (
        "normal",
        0.05,
        20000,
    )
    assert (shown["default_min_weight"], shown["default_fallback"]) == (0, "any")
    assert set(shown["set_by"].values()) == {"default"} and set(shown["set_by"]) == set(RULES)


def test_the_readmes_command_sets_what_it_names(client, hub):
    epoch = hub.state.epoch()
    changed = client.put(PATH, json={"default_mode": "cheap", "default_max_budget_usd": 0.02})
    assert changed.status_code == 200
    assert routing_config.ChangedRoutingConfig().validate(changed.json) == {}
    shown = changed.json["routing_config"]
    assert shown == client.get(PATH).json
    assert (shown["default_mode"], shown["default_max_budget_usd"]) == ("cheap", 0.02)
    assert (shown["set_by"]["default_mode"], shown["set_by"]["default_min_weight"]) == ("admin", "default")
    assert hub.state.epoch() == epoch + 1
    back = client.put(PATH, json={"default_mode": None}).json["routing_config"]
    assert (back["default_mode"], back["set_by"]["default_mode"], back["default_max_budget_usd"]) == (
        "normal",
        "default",
        0.02,
    )


def test_a_list_of_models_is_shown_as_it_was_given(client):
    shown = client.put(PATH, json={"default_fallback": ["b", "a/c"]}).json["routing_config"]
    assert shown["default_fallback"] == ["b", "a/c"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"default_mode": "thompson"}, "default_mode"),
        ({"default_mode": ""}, "default_mode"),
        ({"default_max_budget_usd": 101}, "default_max_budget_usd"),
        ({"default_max_budget_usd": "1"}, "default_max_budget_usd"),
        ({"default_max_latency_ms": -1}, "default_max_latency_ms"),
        ({"default_min_weight": 1.5}, "default_min_weight"),
        ({"default_fallback": []}, "default_fallback"),
        ({"mode": "cheap"}, "mode"),
        ({"set_by": {}}, "set_by"),
    ],
)
def test_a_bad_or_unknown_field_is_422_and_changes_nothing(client, values, field):
    before = client.get(PATH).json
    response = client.put(PATH, json=values)
    assert (response.status_code, response.json["error"]["code"]) == (422, "validation_failed")
    assert list(response.json["error"]["fields"]) == [field]
    assert client.get(PATH).json == before


def test_thompson_is_said_to_come_later(client):
    assert "not available yet" in client.put(PATH, json={"default_mode": "thompson"}).json["error"]["message"]


def test_only_the_administrator_may(app):
    anybody = app.test_client()
    assert anybody.get(PATH).status_code == 401
    assert anybody.put(PATH, json={}).status_code == 401
