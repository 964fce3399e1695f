from __future__ import annotations

import json

import pytest

from tests.fakes.state import FakeState
from tests.fakes.stores import OpenSealing, migrated
from tokenhub.domain.catalog import Model, Provider
from tokenhub.errors import InvalidRequest
from tokenhub.services.catalog import CatalogService
from tokenhub.services.seeding import Seeding, parse_credentials
from tokenhub.storage.catalog_store import SqlCatalogStore

ACME = {"id": "acme", "type": "openai", "base_url": "https://api.example.com", "api_key": "sk-1"}
MODEL = {"id": "m", "provider_id": "acme", "weight": 8, "max_context_tokens": 128000}


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def store(tmp_path):
    return SqlCatalogStore(migrated(tmp_path))


@pytest.fixture
def sealing():
    return OpenSealing()


@pytest.fixture
def seeding(store, state, sealing):
    return Seeding(store, state, sealing.seal, sealing.open)


@pytest.fixture
def catalog(store, state, sealing):
    return CatalogService(store, state, sealing.seal, lambda: None)


def secret_of(state, provider_id: str) -> str | None:
    sealed = state.provider_keys().get(provider_id)
    return None if sealed is None else sealed.decode().split("|")[2]


# ---------------------------------------------------------------- the credentials file


def test_endpoints_and_azures_version_come_from_the_file_too(seeding, store):
    azure = {"id": "azure", "base_url": "https://a.openai.azure.com/openai/v1?api-version=preview", "api_key": "sk-2"}
    farm = {"id": "farm", "type": "vllm", "base_url": "http://a:8000", "endpoints": ["http://b:8000"]}
    assert seeding.seed([azure, farm], []).changed == ["provider azure", "provider farm"]
    assert store.provider("farm").endpoints == ("http://b:8000",)
    assert store.provider("azure").base_url == azure["base_url"]
    assert seeding.seed([azure, farm], []).changed == []
    assert seeding.seed([azure, {**farm, "endpoints": []}], []).changed == ["provider farm"]
    assert store.provider("farm").endpoints == ()


def test_an_empty_catalog_is_seeded_and_a_second_start_changes_nothing(seeding, store, state):
    seeded = seeding.seed([ACME], [MODEL])
    assert (seeded.changed, seeded.skipped) == (["provider acme", "model m"], [])
    assert store.provider("acme").credential == "sealed"
    assert store.model("m").weight == 8
    assert secret_of(state, "acme") == "sk-1"
    epoch = state.epoch()
    assert seeding.seed([ACME], [MODEL]).changed == []
    assert state.epoch() == epoch > 0


def test_what_an_admin_changed_is_never_overwritten(seeding, catalog, store, state):
    seeding.seed([ACME], [MODEL])
    catalog.patch_provider("acme", {"api_key": "sk-admin", "enabled": False})
    catalog.patch_model("m", {"weight": 77})
    changed = seeding.seed([{**ACME, "api_key": "sk-2"}], [{**MODEL, "weight": 1}])
    assert changed.changed == []
    assert (store.provider("acme").enabled, store.model("m").weight) == (False, 77)
    assert secret_of(state, "acme") == "sk-admin"


def test_what_an_admin_made_is_not_taken_over(seeding, catalog, store):
    catalog.put_provider({**ACME, "enabled": False})
    seeding.seed([ACME], [])
    assert store.provider("acme").enabled is False


def test_what_an_admin_deleted_stays_deleted(seeding, catalog, store, state):
    seeding.seed([ACME], [MODEL])
    catalog.delete_provider("acme")
    new_model = {**MODEL, "id": "new"}
    seeded = seeding.seed([{**ACME, "api_key": "sk-2"}], [{**MODEL, "weight": 1}, new_model])
    assert (seeded.changed, seeded.skipped) == ([], ["model new"])
    assert store.providers(10, 0)[1] == store.models(10, 0)[1] == 0
    assert state.provider_keys() == {}


@pytest.mark.parametrize("change", [{"api_key": "sk-2"}, {"base_url": "https://b.example.com"}, {"enabled": False}])
def test_an_entry_that_changed_updates_a_row_that_nobody_touched(seeding, store, state, change):
    seeding.seed([ACME], [])
    assert seeding.seed([{**ACME, **change}], []).changed == ["provider acme"]
    provider = store.provider("acme")
    assert secret_of(state, "acme") == change.get("api_key", "sk-1")
    assert provider.base_url == change.get("base_url", ACME["base_url"])
    assert provider.enabled == change.get("enabled", True)


def test_an_entry_that_loses_its_key_keeps_the_one_it_had_and_an_empty_one_removes_it(seeding, state):
    seeding.seed([ACME], [])
    seeding.seed([{**ACME, "api_key": ""}], [])
    assert secret_of(state, "acme") is None
    seeding.seed([ACME], [])
    without = {name: value for name, value in ACME.items() if name != "api_key"}
    seeding.seed([without], [])
    assert secret_of(state, "acme") == "sk-1"


def test_a_key_whose_state_was_lost_is_sealed_again_but_not_over_an_admins(seeding, catalog, state):
    seeding.seed([ACME], [])
    state.sealed.clear()
    seeding.seed([ACME], [])
    assert secret_of(state, "acme") == "sk-1"
    state.sealed["acme"] = b"0|sealed under another key|x"
    seeding.seed([ACME], [])
    assert secret_of(state, "acme") == "sk-1"
    catalog.patch_provider("acme", {"api_key": ""})
    seeding.seed([ACME], [])
    assert secret_of(state, "acme") is None


def test_a_kill_before_the_seed_is_noted_is_made_good_by_the_next_start(seeding, store, state, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(store, "remember_seed", kill)
        seeding.seed([ACME], [MODEL])
    assert seeding.seed([ACME], [MODEL]).changed == ["provider acme", "model m"]


def test_no_key_is_in_the_database(seeding, tmp_path):
    seeding.seed([{**ACME, "api_key": "sk-CANARY"}], [])
    assert b"acme" in (tmp_path / "hub.sqlite").read_bytes()
    assert b"CANARY" not in (tmp_path / "hub.sqlite").read_bytes()


@pytest.mark.parametrize(
    ("providers", "models", "path"),
    [
        ([ACME, {**ACME, "id": "b", "base_url": "nowhere"}], [], "providers[1].base_url"),
        ([{"id": "b"}], [], "providers[0].base_url"),
        ([{**ACME, "colour": "red"}], [], "providers[0].colour"),
        ([{**ACME, "endpoints": ["http://b"]}], [], "providers[0].endpoints"),
        ([ACME, {**ACME, "id": "b", "type": "vllm", "endpoints": "http://b"}], [], "providers[1].endpoints"),
        ([{"type": "openai"}], [], "providers[0].id"),
        ([ACME, ACME], [], "providers[1].id"),
        (["acme"], [], "providers[0]"),
        ([ACME], [{**MODEL, "weight": "8"}], "models[0].weight"),
        ([ACME], [MODEL, {"id": "n"}], "models[1].provider_id"),
        ([ACME], [{**MODEL, "input_per_1k": 1}], "models[0].output_per_1k"),
    ],
)
def test_a_mistake_is_named_by_its_path_and_nothing_is_applied(seeding, store, state, providers, models, path):
    with pytest.raises(InvalidRequest) as caught:
        seeding.seed(providers, models)
    assert set(caught.value.fields) == {path}
    assert caught.value.message.startswith(path)
    assert store.providers(10, 0) == ([], 0)
    assert state.epoch() == 0


def test_a_credentials_file_is_an_object_of_two_arrays():
    assert parse_credentials(json.dumps({"providers": [ACME], "models": [MODEL]}).encode()) == ([ACME], [MODEL])
    assert parse_credentials(b"{}") == ([], [])


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"providers": {}}', b'{"providers": [], "secrets": []}', b"\xff", b"[" * 99999]
)
def test_anything_else_is_refused_without_showing_it(content):
    with pytest.raises(InvalidRequest):
        parse_credentials(content)


def test_a_file_that_is_no_json_is_not_quoted():
    with pytest.raises(InvalidRequest) as caught:
        parse_credentials(b'{"providers": [{"api_key": "CANARY"')
    assert "CANARY" not in caught.value.message and "line 1" in caught.value.message


# ---------------------------------------------------------------- the demo


DEMO = Provider("demo", "demo")
FAST = Model("demo-fast", "demo", "demo-fast")


def test_the_demo_is_seeded_once_and_follows_new_versions(seeding, store):
    assert seeding.seed_demo(DEMO, [FAST]).changed == ["provider demo", "model demo-fast"]
    assert seeding.seed_demo(DEMO, [FAST]).changed == []
    assert store.origin("model", "demo-fast") == "demo"
    newer = Model("demo-fast", "demo", "demo-fast", weight=70)
    assert seeding.seed_demo(DEMO, [newer]).changed == ["model demo-fast"]
    assert store.model("demo-fast").weight == 70


def test_a_demo_that_an_admin_removed_or_changed_is_left_so(seeding, catalog, store):
    seeding.seed_demo(DEMO, [FAST])
    catalog.patch_model("demo-fast", {"weight": 1})
    seeding.seed_demo(DEMO, [Model("demo-fast", "demo", "demo-fast", weight=70)])
    assert store.model("demo-fast").weight == 1
    catalog.delete_provider("demo")
    seeding.seed_demo(DEMO, [FAST])
    assert store.provider("demo") is None


# ---------------------------------------------------------------- references


def test_references_are_sealed_where_they_changed(seeding, state):
    seeding.seed([{**ACME, "api_key": "env:ACME_KEY"}], [])
    assert secret_of(state, "acme") is None
    environment = {"ACME_KEY": "sk-env\n"}
    assert seeding.resolve_references(environment.get) == []
    assert secret_of(state, "acme") == "sk-env"
    epoch = state.epoch()
    assert seeding.resolve_references(environment.get) == []
    assert state.epoch() == epoch
    environment["ACME_KEY"] = "sk-new"
    seeding.resolve_references(environment.get)
    assert secret_of(state, "acme") == "sk-new"
    assert state.epoch() > epoch


@pytest.mark.parametrize("environment", [{}, {"ACME_KEY": ""}, {"ACME_KEY": " "}])
def test_a_variable_that_is_missing_is_named_and_the_key_stays(seeding, state, environment):
    seeding.seed([{**ACME, "api_key": "env:ACME_KEY"}], [])
    seeding.resolve_references({"ACME_KEY": "sk-env"}.get)
    assert seeding.resolve_references(environment.get) == ["ACME_KEY"]
    assert secret_of(state, "acme") == "sk-env"


def test_only_references_are_looked_up(seeding, catalog):
    seeding.seed([ACME], [])
    catalog.put_provider({"id": "open", "base_url": "http://localhost:8000"})
    asked = []
    seeding.resolve_references(lambda name: asked.append(name))
    assert asked == []


def test_a_key_sealed_under_another_sealing_key_is_replaced(seeding, state):
    seeding.seed([{**ACME, "api_key": "env:ACME_KEY"}], [])
    state.sealed["acme"] = b"0|sealed under another key|x"
    seeding.resolve_references({"ACME_KEY": "sk-env"}.get)
    assert secret_of(state, "acme") == "sk-env"
