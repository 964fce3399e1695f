from __future__ import annotations

import pytest

from tests.fakes.state import FakeState
from tokenhub.domain.keys import SCOPES
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.security import api_keys
from tokenhub.services.keys import KeyService

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def keys(state):
    return KeyService(state, api_keys, lambda: NOW_MS)


def fields_of(error) -> set[str]:
    return set(error.value.fields)


def test_a_new_key_opens_with_its_secret_and_nothing_else_shows_it(keys, state):
    key, secret = keys.create({"name": " app "})
    assert state.key_by_hash(api_keys.key_hash(secret)) == key
    assert (key.name, key.scopes, key.enabled, key.version) == ("app", ("chat", "plan"), True, 1)
    assert (key.created_at_ms, key.expires_at_ms, key.monthly_budget_nanousd) == (NOW_MS, None, None)
    assert secret not in repr(state.rows) and secret not in repr(state.hashes)


def test_the_id_says_nothing_of_the_secret(keys):
    key, secret = keys.create({"name": "app"})
    assert key.id.startswith("key_") and len(key.id) == 20
    assert key.id.removeprefix("key_")[:6] not in secret


def test_all_fields_of_a_key_can_be_given(keys):
    key, _ = keys.create(
        {
            "name": "n",
            "scopes": '["chat"]',
            "rotation_days": 30,
            "expires_in": "720h",
            "monthly_budget_usd": 0.1,
            "rate_limit_rps": -1,
            "allowed_models": ["a/b"],
            "enabled": False,
            "policy": {"mode": "cheap", "fallback": ["a/b"]},
            "policy_ceilings": {"max_budget_usd": 0.1},
        }
    )
    assert (key.scopes, key.rotation_days, key.expires_at_ms) == (("chat",), 30, NOW_MS + 720 * HOUR_MS)
    assert (key.monthly_budget_nanousd, key.rate_limit_rps, key.allowed_models) == (100_000_000, -1, ("a/b",))
    assert key.enabled is False
    assert (key.policy, key.policy_ceilings) == ({"mode": "cheap", "fallback": ["a/b"]}, {"max_budget_usd": 0.1})


def test_an_expiry_may_be_a_time(keys):
    key, _ = keys.create({"name": "n", "expires_at": "2030-01-01T00:00:00Z"})
    assert key.expires_at_ms == 1_893_456_000_000


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "name"),
        ({"name": "n", "scopes": ["admin"]}, "scopes"),
        ({"name": "n", "scopes": []}, "scopes"),
        ({"name": "n", "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "n", "expires_at": "2030-01-01T00:00:00Z", "expires_in": "1h"}, "expires_at"),
        ({"name": "n", "rate_limit_rps": -2}, "rate_limit_rps"),
        ({"name": "n", "monthly_budget_usd": -1}, "monthly_budget_usd"),
        ({"name": "n", "role": "admin"}, "role"),
        ({"name": "n", "id": "key_mine"}, "id"),
        ({"name": "n", "version": 9}, "version"),
        ({"name": "n", "terms": {}}, "terms"),
        ({"name": "n", "policy": []}, "policy"),
        ({"name": "n", "policy": {"max_budget_usd": "1"}}, "policy.max_budget_usd"),
        ({"name": "n", "policy": {"mode": "thompson"}}, "policy.mode"),
        ({"name": "n", "policy": {"speed": 1}}, "policy.speed"),
        ({"name": "n", "policy_ceilings": "x"}, "policy_ceilings"),
        ({"name": "n", "policy_ceilings": {"max_budget_usd": 0}}, "policy_ceilings.max_budget_usd"),
        ({"name": "n", "policy_ceilings": {"mode": ["fast"]}}, "policy_ceilings.mode"),
    ],
)
def test_a_bad_field_is_named_and_no_key_is_made(keys, state, values, field):
    with pytest.raises(InvalidRequest) as error:
        keys.create(values)
    assert fields_of(error) == {field}
    assert state.rows == {}


def test_pages_are_newest_first_with_the_spend_of_budgeted_keys(keys, state):
    free, _ = keys.create({"name": "free"})
    budgeted, _ = keys.create({"name": "budgeted", "monthly_budget_usd": 5})
    state.spent = {free.id: 7, budgeted.id: 9}
    page, total = keys.page(10, 0)
    assert [(listed.key.name, listed.spend_nanousd) for listed in page] == [("budgeted", 9), ("free", None)]
    assert total == 2
    assert [listed.key for listed in keys.page(1, 1)[0]] == [free]
    assert keys.get(budgeted.id).spend_nanousd == 9
    assert keys.get(free.id).spend_nanousd is None


def test_a_patch_changes_what_it_names_and_raises_the_version(keys):
    key, _ = keys.create({"name": "n", "monthly_budget_usd": 5, "expires_in": "1h"})
    changed = keys.patch(key.id, {"monthly_budget_usd": None, "expires_in": "", "enabled": False})
    assert (changed.monthly_budget_nanousd, changed.expires_at_ms, changed.enabled) == (None, None, False)
    assert (changed.name, changed.scopes, changed.version) == ("n", key.scopes, 2)


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_policy_is_replaced_as_a_whole_and_taken_away_by_nothing(keys, nothing):
    key, _ = keys.create({"name": "n", "policy": {"mode": "cheap"}, "policy_ceilings": {"min_weight": 5}})
    changed = keys.patch(key.id, {"policy": {"max_latency_ms": 9}})
    assert (changed.policy, changed.policy_ceilings) == ({"max_latency_ms": 9}, {"min_weight": 5})
    cleared = keys.patch(key.id, {"policy": nothing, "policy_ceilings": nothing})
    assert (cleared.policy, cleared.policy_ceilings, cleared.version) == ({}, {}, 3)


def test_every_bad_value_of_a_policy_is_told_at_its_place(keys):
    with pytest.raises(InvalidRequest) as error:
        keys.create({"name": "", "policy": {"mode": "thompson", "max_budget_usd": 101}})
    assert error.value.fields == {
        "name": ["must have 1 to 128 characters"],
        "policy.mode": ["mode 'thompson' is not available yet"],
        "policy.max_budget_usd": ["must be between 0 and 100"],
    }


def test_an_empty_patch_changes_nothing(keys):
    key, _ = keys.create({"name": "n"})
    assert keys.patch(key.id, {}) == key


@pytest.mark.parametrize("values", [{"enabled": "false"}, {"prefix": "x"}, {"created_at_ms": 1}, {"name": None}])
def test_a_bad_patch_changes_nothing(keys, state, values):
    key, _ = keys.create({"name": "n"})
    with pytest.raises(InvalidRequest) as error:
        keys.patch(key.id, values)
    assert fields_of(error) == set(values)
    assert state.rows[key.id] == key


def test_after_rotation_only_the_new_secret_opens_and_the_rest_stays(keys, state):
    key, old = keys.create({"name": "n", "enabled": False})
    rotated, new = keys.rotate(key.id)
    assert state.key_by_hash(api_keys.key_hash(old)) is None
    assert state.key_by_hash(api_keys.key_hash(new)) == rotated
    assert (rotated.id, rotated.name, rotated.enabled, rotated.version) == (key.id, "n", False, 2)
    assert new.startswith(rotated.prefix) and rotated.prefix != key.prefix


def test_a_deleted_key_is_gone(keys, state):
    key, secret = keys.create({"name": "n"})
    keys.delete(key.id)
    assert state.key_by_hash(api_keys.key_hash(secret)) is None


@pytest.mark.parametrize(
    "act",
    [
        lambda keys: keys.get("key_0"),
        lambda keys: keys.patch("key_0", {"enabled": False}),
        lambda keys: keys.patch("key_0", {}),
        lambda keys: keys.rotate("key_0"),
        lambda keys: keys.delete("key_0"),
    ],
)
def test_a_key_that_is_not_there_is_said_to_be_missing(keys, act):
    with pytest.raises(NotFound, match="key_0"):
        act(keys)


def test_the_first_key_has_all_scopes_and_is_made_once(keys, state):
    secret = keys.ensure_first_key()
    assert state.key_by_hash(api_keys.key_hash(secret)).scopes == SCOPES
    assert keys.ensure_first_key() is None
    assert [key.name for key in state.rows.values()] == ["first-key"]


def test_no_first_key_is_made_where_any_key_exists(keys):
    keys.create({"name": "n", "enabled": False})
    assert keys.ensure_first_key() is None
