from __future__ import annotations

import pytest

from tests.fakes.state import FakeState
from tests.fakes.stores import OpenSealing, migrated
from tokenhub.domain.catalog import OPERATOR, Model, Provider
from tokenhub.domain.known_models import KnownModel, KnownModels, Vendor
from tokenhub.domain.money import Price
from tokenhub.errors import InvalidRequest, NotFound, Unavailable
from tokenhub.services.catalog import CatalogService
from tokenhub.storage.catalog_store import SqlCatalogStore

URL = "https://api.example.com"
ACME = {"id": "acme", "type": "openai", "base_url": URL}
MODEL = {"id": "meta/llama", "provider_id": "acme"}


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def store(tmp_path):
    return SqlCatalogStore(migrated(tmp_path))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def catalog(store, state, calls):
    return CatalogService(store, state, OpenSealing().seal, lambda: calls.append("notified"))


def secret_of(state, provider_id: str) -> str | None:
    sealed = state.provider_keys().get(provider_id)
    return None if sealed is None else sealed.decode().split("|")[2]


def refused(act) -> dict:
    with pytest.raises(InvalidRequest) as caught:
        act()
    assert caught.value.code == "validation_failed"
    return dict(caught.value.fields)


# ---------------------------------------------------------------- providers and their keys


def test_a_provider_is_created_with_its_key_sealed(catalog, state, store, calls):
    provider = catalog.put_provider({**ACME, "api_key": "sk-1"})
    assert provider == store.provider("acme") == Provider("acme", "openai", URL, True, "sealed")
    assert secret_of(state, "acme") == "sk-1"
    assert store.origin("provider", "acme") == "admin"
    assert calls == []


def test_a_provider_without_a_key_has_none(catalog, state):
    assert catalog.put_provider(ACME).credential == "none"
    assert state.provider_keys() == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda catalog: catalog.put_provider(ACME),
        lambda catalog: catalog.put_provider({"id": "acme", "enabled": False}),
        lambda catalog: catalog.patch_provider("acme", {"enabled": False}),
        lambda catalog: catalog.patch_provider("acme", {"base_url": "https://other.example.com"}),
        lambda catalog: catalog.patch_provider("acme", {}),
    ],
)
def test_a_change_that_does_not_name_the_key_never_loses_it(catalog, state, change):
    catalog.put_provider({**ACME, "api_key": "sk-1"})
    assert change(catalog).credential == "sealed"
    assert secret_of(state, "acme") == "sk-1"


def test_a_new_key_replaces_the_old_and_an_empty_one_removes_it(catalog, state):
    catalog.put_provider({**ACME, "api_key": "sk-1"})
    catalog.patch_provider("acme", {"api_key": "sk-2"})
    assert secret_of(state, "acme") == "sk-2"
    assert catalog.patch_provider("acme", {"api_key": ""}).credential == "none"
    assert secret_of(state, "acme") is None


def test_a_reference_drops_the_sealed_key_and_asks_the_master(catalog, state, calls):
    catalog.put_provider({**ACME, "api_key": "sk-1"})
    assert catalog.patch_provider("acme", {"api_key": "env:ACME_KEY"}).credential == "env:ACME_KEY"
    assert secret_of(state, "acme") is None
    assert calls == ["notified"]


def test_the_same_reference_again_keeps_what_it_resolved_to(catalog, state, calls):
    catalog.put_provider({**ACME, "api_key": "env:ACME_KEY"})
    state.put_provider_key("acme", b"0|acme|from-env")
    catalog.put_provider({**ACME, "api_key": "env:ACME_KEY"})
    catalog.patch_provider("acme", {"enabled": False})
    assert secret_of(state, "acme") == "from-env"
    assert calls == ["notified", "notified"]


def test_a_key_given_over_a_reference_is_sealed(catalog, state):
    catalog.put_provider({**ACME, "api_key": "env:ACME_KEY"})
    assert catalog.patch_provider("acme", {"api_key": "sk-1"}).credential == "sealed"
    assert secret_of(state, "acme") == "sk-1"


def test_fields_that_are_absent_keep_their_values(catalog):
    catalog.put_provider({**ACME, "enabled": False})
    assert catalog.put_provider({"id": "acme", "base_url": "https://b.example.com"}) == Provider(
        "acme", "openai", "https://b.example.com", False
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"base_url": URL}, "id"),
        ({"id": "acme"}, "base_url"),
        ({**ACME, "base_url": ""}, "base_url"),
        ({**ACME, "type": "demo"}, "type"),
        ({**ACME, "type": "martian"}, "type"),
        ({**ACME, "cred_store": "none"}, "cred_store"),
        ({**ACME, "api_key": None}, "api_key"),
        ({**ACME, "api_key": "vault:x"}, "api_key"),
        ({**ACME, "api_key": "env:"}, "api_key"),
        ({**ACME, "api_key": "env:A-B"}, "api_key"),
        ({**ACME, "api_key": "env:TOKENHUB_ADMIN_TOKEN"}, "api_key"),
        ({**ACME, "type": "vllm", "base_url": f"{URL}?api-version=2024-10-21"}, "base_url"),
        ({**ACME, "type": "anthropic", "base_url": f"{URL}?api-version=2024-10-21"}, "base_url"),
        ({**ACME, "endpoints": ["http://b:8000"]}, "endpoints"),
        ({**ACME, "type": "vllm", "endpoints": [URL]}, "endpoints"),
        ({**ACME, "type": "vllm", "endpoints": ["http://b:8000", "nowhere"]}, "endpoints"),
    ],
)
def test_a_bad_provider_is_refused_and_nothing_is_kept(catalog, store, state, values, field):
    assert set(refused(lambda: catalog.put_provider(values))) == {field}
    assert store.providers(10, 0) == ([], 0)
    assert (state.provider_keys(), state.epoch()) == ({}, 0)


def test_endpoints_belong_to_vllm_and_are_kept_until_they_are_changed(catalog, store):
    farm = {"id": "farm", "type": "vllm", "base_url": "http://a:8000", "endpoints": ["http://b:8000", "http://c:8000/"]}
    assert catalog.put_provider(farm).endpoints == ("http://b:8000", "http://c:8000")
    assert catalog.patch_provider("farm", {"enabled": False}).endpoints == ("http://b:8000", "http://c:8000")
    assert set(refused(lambda: catalog.patch_provider("farm", {"type": "openai"}))) == {"endpoints"}
    assert set(refused(lambda: catalog.patch_provider("farm", {"base_url": "http://b:8000"}))) == {"endpoints"}
    assert catalog.patch_provider("farm", {"type": "openai", "endpoints": []}).endpoints == ()
    assert store.provider("farm") == Provider("farm", "openai", "http://a:8000", False)


def test_azures_version_stays_in_the_url_of_an_openai_provider(catalog, store):
    url = "https://a.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
    catalog.put_provider({"id": "azure", "base_url": url})
    assert store.provider("azure").base_url == url


def test_no_error_repeats_a_key(catalog):
    fields = refused(lambda: catalog.put_provider({**ACME, "api_key": "CANARY secret", "type": "x"}))
    assert "CANARY" not in str(fields)


def test_the_demo_provider_can_be_switched_off_but_not_rebuilt(catalog, store):
    store.save_provider(Provider("demo", "demo"), origin="demo")
    assert catalog.patch_provider("demo", {"enabled": False}).enabled is False
    for values in ({"base_url": URL}, {"api_key": "sk"}, {"type": "demo"}):
        refused(lambda values=values: catalog.patch_provider("demo", values))


def test_a_deleted_provider_takes_its_models_and_its_key(catalog, state, store):
    catalog.put_provider({**ACME, "api_key": "sk-1"})
    catalog.put_model(MODEL)
    catalog.delete_provider("acme")
    assert store.models(10, 0) == ([], 0)
    assert state.provider_keys() == {}


def test_when_the_state_is_down_no_row_says_that_there_is_a_key(catalog, state, store, monkeypatch):
    def fail(*args):
        raise Unavailable("down")

    monkeypatch.setattr(state, "put_provider_key", fail)
    with pytest.raises(Unavailable):
        catalog.put_provider({**ACME, "api_key": "sk-1"})
    assert store.provider("acme") is None


# ---------------------------------------------------------------- models


def test_a_model_has_sensible_defaults(catalog, store):
    catalog.put_provider(ACME)
    model = catalog.put_model(MODEL)
    assert model == store.model("meta/llama") == Model("meta/llama", "acme", "meta/llama", weight=50, price=None)
    assert model.enabled


def test_all_fields_of_a_model_can_be_given(catalog, store):
    catalog.put_provider(ACME)
    model = catalog.put_model(
        {
            **MODEL,
            "upstream_name": "llama",
            "weight": 8,
            "max_context_tokens": 128000,
            "max_output_tokens": 4096,
            "input_per_1k": 0.00015,
            "output_per_1k": 0.0006,
            "cache_read_per_1k": 0.000015,
            "cache_write_per_1k": 0.0001875,
            "enabled": False,
            "family": "llama-3",
            "capabilities": ["vision", "tools", "tools"],
        }
    )
    price = Price(150_000_000, 600_000_000, cache_read=15_000_000, cache_write=187_500_000)
    can = frozenset({"tools", "vision"})
    assert model == store.model("meta/llama")
    assert model == Model("meta/llama", "acme", "llama", 8, 128000, 4096, price, False, "llama-3", can, OPERATOR)


def test_a_model_of_an_unknown_provider_is_refused_by_name(catalog, store):
    fields = refused(lambda: catalog.put_model(MODEL))
    assert "no provider 'acme'" in fields["provider_id"][0]
    assert store.models(10, 0) == ([], 0)


def test_prices_are_both_or_none(catalog):
    catalog.put_provider(ACME)
    assert set(refused(lambda: catalog.put_model({**MODEL, "input_per_1k": 1}))) == {"output_per_1k"}
    catalog.put_model({**MODEL, "input_per_1k": 1, "output_per_1k": 2})
    assert catalog.patch_model("meta/llama", {"input_per_1k": 3}).price == Price(3 * 10**12, 2 * 10**12)
    assert set(refused(lambda: catalog.patch_model("meta/llama", {"output_per_1k": None}))) == {"output_per_1k"}
    assert catalog.patch_model("meta/llama", {"input_per_1k": None, "output_per_1k": None}).price is None


def test_prices_of_the_cache_need_a_price_and_go_with_it(catalog):
    catalog.put_provider(ACME)
    assert set(refused(lambda: catalog.put_model({**MODEL, "cache_read_per_1k": 1}))) == {"cache_read_per_1k"}
    catalog.put_model({**MODEL, "input_per_1k": 1, "output_per_1k": 2, "cache_write_per_1k": 3})
    assert catalog.patch_model("meta/llama", {"cache_read_per_1k": 0}).price == Price(10**12, 2 * 10**12, 0, 3 * 10**12)
    assert catalog.patch_model("meta/llama", {"cache_write_per_1k": None}).price == Price(10**12, 2 * 10**12, 0)
    assert catalog.patch_model("meta/llama", {"input_per_1k": None, "output_per_1k": None}).price is None


def test_what_is_not_given_is_shown_as_it_is_known_and_null_gives_it_back(catalog, store, state):
    known = KnownModel("v", "llama", "llama-3", ("meta/llama",), (), Price(5, 6), 7, capabilities=frozenset({"tools"}))
    known_models = KnownModels("list 1", [Vendor("v", ("api.example.com",))], [known])
    catalog = CatalogService(store, state, OpenSealing().seal, lambda: None, known_models)
    catalog.put_provider(ACME)
    shown = catalog.put_model(MODEL)
    assert (shown.price, shown.price_source, shown.max_context_tokens) == (Price(5, 6), "list 1", 7)
    assert (shown.family, shown.capabilities, shown.known_as) == ("llama-3", {"tools"}, "v:llama")
    assert store.model("meta/llama") == Model("meta/llama", "acme", "meta/llama")
    own = {"input_per_1k": 1, "output_per_1k": 2, "max_context_tokens": 9, "family": "mine", "capabilities": []}
    mine = catalog.patch_model("meta/llama", own)
    assert (mine.price, mine.price_source) == (Price(10**12, 2 * 10**12), OPERATOR)
    assert (mine.max_context_tokens, mine.family, mine.capabilities) == (9, "mine", frozenset())
    assert catalog.patch_model("meta/llama", dict.fromkeys(own)) == shown == catalog.model("meta/llama")
    assert catalog.models(10, 0) == ([shown], 1)


def test_free_is_a_price_and_finer_prices_survive_a_change_of_something_else(catalog, store):
    catalog.put_provider(ACME)
    assert catalog.put_model({**MODEL, "input_per_1k": 0, "output_per_1k": 0}).price == Price(0, 0)
    fine = Price(1, 2, cache_read=0, cache_write=3)
    store.save_model(Model("m", "acme", "m", price=fine))
    assert catalog.patch_model("m", {"weight": 1}).price == fine
    assert catalog.patch_model("m", {"output_per_1k": 1}).price == Price(1, 10**12, 0, 3)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"provider_id": "acme"}, "id"),
        ({"id": "m"}, "provider_id"),
        ({**MODEL, "weight": 101}, "weight"),
        ({**MODEL, "weight": True}, "weight"),
        ({**MODEL, "max_context_tokens": 0}, "max_context_tokens"),
        ({**MODEL, "input_per_1k": -1, "output_per_1k": 1}, "input_per_1k"),
        ({**MODEL, "id": "/x"}, "id"),
        ({**MODEL, "capabilities": "tools"}, "capabilities"),
        ({**MODEL, "capabilities": ["flying"]}, "capabilities"),
        ({**MODEL, "capabilities": [["tools"]]}, "capabilities"),
        ({**MODEL, "tool_name_map": {}}, "tool_name_map"),
    ],
)
def test_a_bad_model_is_refused_and_nothing_is_kept(catalog, store, values, field):
    catalog.put_provider(ACME)
    assert set(refused(lambda: catalog.put_model(values))) == {field}
    assert store.models(10, 0) == ([], 0)


def test_a_patch_changes_what_it_names_and_null_takes_a_limit_away(catalog):
    catalog.put_provider(ACME)
    catalog.put_model({**MODEL, "weight": 8, "max_context_tokens": 9, "upstream_name": "x"})
    model = catalog.patch_model("meta/llama", {"max_context_tokens": None, "upstream_name": None})
    assert (model.weight, model.max_context_tokens, model.upstream_name) == (8, None, "meta/llama")


def test_an_id_cannot_be_patched(catalog):
    catalog.put_provider(ACME)
    catalog.put_model(MODEL)
    assert set(refused(lambda: catalog.patch_model("meta/llama", {"id": "other"}))) == {"id"}
    assert set(refused(lambda: catalog.patch_provider("acme", {"id": "other"}))) == {"id"}


# ---------------------------------------------------------------- both


def test_every_change_tells_all_workers(catalog, state):
    changes = [
        lambda: catalog.put_provider(ACME),
        lambda: catalog.patch_provider("acme", {"enabled": False}),
        lambda: catalog.put_model(MODEL),
        lambda: catalog.patch_model("meta/llama", {"weight": 1}),
        lambda: catalog.delete_model("meta/llama"),
        lambda: catalog.delete_provider("acme"),
    ]
    for change in changes:
        before = state.epoch()
        change()
        assert state.epoch() > before


@pytest.mark.parametrize(
    "act",
    [
        lambda catalog: catalog.provider("x"),
        lambda catalog: catalog.patch_provider("x", {"enabled": False}),
        lambda catalog: catalog.delete_provider("x"),
        lambda catalog: catalog.model("x"),
        lambda catalog: catalog.patch_model("x", {"enabled": False}),
        lambda catalog: catalog.delete_model("x"),
    ],
)
def test_what_is_not_there_is_said_to_be_missing(catalog, act):
    with pytest.raises(NotFound, match="'x'"):
        act(catalog)


def test_pages_come_with_their_total(catalog):
    catalog.put_provider(ACME)
    catalog.put_model(MODEL)
    assert ([p.id for p in catalog.providers(10, 0)[0]], catalog.providers(10, 0)[1]) == (["acme"], 1)
    assert ([m.id for m in catalog.models(10, 0)[0]], catalog.models(10, 1)) == (["meta/llama"], ([], 1))
