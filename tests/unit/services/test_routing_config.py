from __future__ import annotations

import pytest

from tests.fakes.state import FakeState
from tests.fakes.stores import migrated
from tokenhub.domain.policy import DEFAULTS, merge
from tokenhub.errors import InvalidRequest
from tokenhub.services.routing_config import RULES, RoutingConfigService, laid_over
from tokenhub.storage.catalog_store import SqlCatalogStore

SERVER = merge(DEFAULTS, "server", {"max_budget_usd": "0.2", "min_weight": "5"})


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def store(tmp_path):
    return SqlCatalogStore(migrated(tmp_path))


@pytest.fixture
def config(store, state):
    return RoutingConfigService(store, state, lambda: SERVER)


def test_what_nobody_set_is_the_servers(config):
    assert config.read() == SERVER


def test_what_an_administrator_sets_stands_over_the_servers_and_moves_the_epoch(config, state, store):
    changed = config.change({"default_max_budget_usd": 1.5, "default_fallback": ["a", "b"]})
    assert changed == config.read()
    assert (changed["max_budget_usd"], changed.set_by("max_budget_usd")) == (1_500_000_000, "admin")
    assert (changed["fallback"], changed.set_by("min_weight"), changed.set_by("mode")) == (
        ("a", "b"),
        "server",
        "default",
    )
    assert not changed.is_hard("max_budget_usd")
    assert state.epoch() == 1
    assert config.change({"default_mode": "cheap"})["fallback"] == ("a", "b")
    assert store.routing_defaults() == {"max_budget_usd": 1.5, "fallback": ["a", "b"], "mode": "cheap"}


def test_null_gives_one_back_to_the_server(config):
    config.change({"default_max_budget_usd": 0, "default_mode": "cheap"})
    assert config.read()["max_budget_usd"] is None
    changed = config.change({"default_max_budget_usd": None, "default_max_latency_ms": None})
    assert (changed["max_budget_usd"], changed.set_by("max_budget_usd")) == (200_000_000, "server")
    assert changed.set_by("mode") == "admin"


def test_another_reading_of_the_environment_changes_only_what_no_administrator_set(store, state):
    server = SERVER
    config = RoutingConfigService(store, state, lambda: server)
    config.change({"default_min_weight": 7})
    server = merge(DEFAULTS, "server", {"min_weight": "90", "mode": "planning"})
    assert (config.read()["min_weight"], config.read()["mode"]) == (7, "planning")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"default_mode": "thompson"}, {"default_mode": ["mode 'thompson' is not available yet"]}),
        ({"default_max_budget_usd": "1"}, {"default_max_budget_usd": ["must be a number between 0 and 100"]}),
        ({"mode": "cheap"}, {"mode": ["unknown field"]}),
    ],
)
def test_bad_values_are_named_and_nothing_is_changed(config, state, store, values, told):
    with pytest.raises(InvalidRequest) as error:
        config.change({**values, "default_min_weight": 1})
    assert error.value.fields == told
    assert (state.epoch(), store.routing_defaults()) == (0, {})


def test_an_empty_change_moves_nothing(config, state):
    assert config.change({}) == SERVER
    assert state.epoch() == 0


def test_a_stored_value_that_cannot_be_read_is_left_out_and_named():
    stored = {"gone": 1, "mode": "fast", "min_weight": 3}
    policy, unread = laid_over(SERVER, stored)
    assert (policy["min_weight"], policy["mode"], sorted(unread)) == (3, "normal", ["gone", "mode"])


def test_every_row_that_an_administrator_may_set_has_its_name():
    assert {"default_mode", "default_max_budget_usd", "default_max_latency_ms", "default_min_weight"} <= set(RULES)
