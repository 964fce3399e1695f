from __future__ import annotations

from dataclasses import replace

import pytest

from tokenhub.domain.catalog import OPERATOR, Model, Provider
from tokenhub.domain.known_models import KnownModel, KnownModels, Vendor
from tokenhub.domain.money import Price
from tokenhub.errors import Conflict
from tokenhub.storage.catalog_store import SqlCatalogStore

ACME = Provider(
    "acme", "openai", "https://api.example.com", enabled=False, credential="env:KEY", endpoints=("http://b.test",)
)
FULL = Model(
    id="meta/llama-3",
    provider_id="acme",
    upstream_name="llama3",
    weight=90,
    max_context_tokens=128_000,
    max_output_tokens=4096,
    price=Price(1, 2, cache_read=0, cache_write=3),
    enabled=False,
    family="llama-3",
    capabilities=frozenset({"tools"}),
    price_source=OPERATOR,
)
BARE = Model("bare", "acme", "bare")


@pytest.fixture
def store(database):
    return SqlCatalogStore(database)


def test_what_was_saved_comes_back_whole(store):
    store.save_provider(ACME)
    store.save_model(FULL)
    store.save_model(BARE)
    assert store.provider("acme") == ACME
    assert store.model("meta/llama-3") == FULL
    assert store.model("bare") == BARE
    assert store.provider("nobody") is None and store.model("nothing") is None


def test_a_free_model_is_not_one_of_unknown_price(store):
    store.save_provider(ACME)
    store.save_model(replace(BARE, price=Price(0, 0)))
    assert store.model("bare").price == Price(0, 0)


def test_a_snapshot_holds_everything_with_its_epoch(store):
    store.save_provider(ACME)
    store.save_model(FULL)
    catalog = store.load(7)
    assert (catalog.epoch, dict(catalog.providers), dict(catalog.models)) == (7, {"acme": ACME}, {FULL.id: FULL})
    assert [target.model.id for target in catalog.targets] == [FULL.id]


def test_rows_hold_what_the_operator_said_and_the_snapshot_what_is_known_beside_it(database):
    llama = KnownModel("v", "bare", "llama", ("bare",), price=Price(5, 6), capabilities=frozenset({"tools"}))
    store = SqlCatalogStore(database, KnownModels("list 1", [Vendor("v", ("api.example.com",))], [llama]))
    store.save_provider(ACME)
    store.save_model(BARE)
    routed = store.load(1).models["bare"]
    assert (routed.price, routed.price_source, routed.family) == (Price(5, 6), "list 1", "llama")
    assert routed.capabilities == {"tools"}
    assert store.model("bare") == BARE and store.models(10, 0) == ([BARE], 1)


def test_saving_a_provider_again_keeps_its_models(store):
    store.save_provider(ACME)
    store.save_model(BARE)
    store.save_provider(replace(ACME, base_url="https://other.example.com"))
    assert store.model("bare") == BARE
    assert store.provider("acme").base_url == "https://other.example.com"


def test_a_model_without_its_provider_is_refused(store):
    with pytest.raises(Conflict, match="no provider 'acme'"):
        store.save_model(BARE)
    assert store.model("bare") is None


def test_a_provider_takes_its_models_with_it(store):
    store.save_provider(ACME)
    store.save_model(BARE)
    assert store.delete_provider("acme") is True
    assert store.model("bare") is None
    assert store.delete_provider("acme") is False


def test_a_model_is_deleted_once(store):
    store.save_provider(ACME)
    store.save_model(BARE)
    assert (store.delete_model("bare"), store.delete_model("bare")) == (True, False)


def test_pages_are_ordered_by_id_and_told_with_the_total(store):
    for name in "cab":
        store.save_provider(replace(ACME, id=name))
        store.save_model(Model(f"m{name}", name, "m"))
    assert [p.id for p in store.providers(2, 0)[0]] == ["a", "b"]
    assert [p.id for p in store.providers(2, 2)[0]] == ["c"]
    assert store.providers(2, 5) == ([], 3)
    page, total = store.models(2, 1)
    assert ([m.id for m in page], total) == (["mb", "mc"], 3)


def test_the_origin_is_who_wrote_last(store):
    assert store.origin("provider", "acme") is None
    store.save_provider(ACME, origin="credentials")
    store.save_model(BARE, origin="demo")
    assert (store.origin("provider", "acme"), store.origin("model", "bare")) == ("credentials", "demo")
    store.save_provider(ACME)
    assert store.origin("provider", "acme") == "admin"


def test_a_seed_is_remembered_by_kind_even_when_its_row_is_gone(store):
    store.save_provider(ACME)
    store.remember_seed("provider", "acme", "one")
    store.remember_seed("provider", "acme", "two")
    store.delete_provider("acme")
    assert store.seed_digest("provider", "acme") == "two"
    assert store.seed_digest("model", "acme") is None


def test_text_that_looks_like_sql_is_only_text(store):
    name = "a'; DROP TABLE models; --"
    store.save_provider(replace(ACME, id=name))
    assert store.provider(name).id == name
    assert store.models(10, 0) == ([], 0)


def test_aliases_keep_their_order_and_stand_in_the_snapshot(store):
    store.save_alias("fast", ("b", "a"))
    store.save_alias("fast", ("c", "a"))
    store.save_alias("old", ("a",))
    assert store.delete_alias("old") and not store.delete_alias("old")
    assert store.aliases() == {"fast": ("c", "a")} == dict(store.load(1).aliases)


def test_routing_defaults_are_kept_as_json_and_taken_back_one_by_one(store):
    assert store.routing_defaults() == {}
    store.save_routing_defaults({"mode": "cheap", "max_budget_usd": 0.1, "fallback": ["ü", "b"]})
    store.save_routing_defaults({"mode": "planning", "max_budget_usd": None, "never": None})
    assert store.routing_defaults() == {"mode": "planning", "fallback": ["ü", "b"]}
    store.save_routing_defaults({})
    assert store.routing_defaults() == {"mode": "planning", "fallback": ["ü", "b"]}
