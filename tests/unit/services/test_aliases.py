"""What an alias may be called and stand for, and that each change is told to all workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.state import FakeState
from tests.fakes.stores import migrated
from tokenhub.domain.catalog import Model, Provider
from tokenhub.errors import InvalidRequest, NotFound
from tokenhub.services.aliases import MAX_TARGETS, Alias, AliasService
from tokenhub.storage.catalog_store import SqlCatalogStore


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def store(tmp_path: Path) -> SqlCatalogStore:
    store = SqlCatalogStore(migrated(tmp_path))
    store.save_provider(Provider("p", "openai", "http://p"))
    for model_id in ("gpt-4o", "meta/llama", "claude"):
        store.save_model(Model(model_id, "p", model_id))
    return store


@pytest.fixture
def aliases(store: SqlCatalogStore, state: FakeState) -> AliasService:
    return AliasService(store, state)


def refused(act: Callable[[], Any]) -> dict[str, list[str]]:
    with pytest.raises(InvalidRequest) as caught:
        act()
    assert caught.value.code == "validation_failed"
    return dict(caught.value.fields or {})


def test_an_alias_keeps_the_order_of_its_targets(aliases: AliasService, store: SqlCatalogStore) -> None:
    made = aliases.put({"name": "team/best", "targets": ["gpt-4o", "claude", "meta/llama"]})
    assert made == aliases.get("team/best") == Alias("team/best", ("gpt-4o", "claude", "meta/llama"))
    assert store.load(1).aliases["team/best"] == ("gpt-4o", "claude", "meta/llama")


def test_putting_and_patching_replace_the_targets(aliases: AliasService) -> None:
    aliases.put({"name": "best", "targets": ["gpt-4o", "claude"]})
    assert aliases.put({"name": "best", "targets": ["claude"]}).targets == ("claude",)
    assert aliases.patch("best", {"targets": ["meta/llama"]}).targets == ("meta/llama",)
    assert aliases.patch("best", {}).targets == aliases.get("best").targets == ("meta/llama",)


def test_each_change_moves_the_epoch_and_a_refused_one_does_not(aliases: AliasService, state: FakeState) -> None:
    epochs = [state.epoch()]
    for change in (
        lambda: aliases.put({"name": "best", "targets": ["gpt-4o"]}),
        lambda: aliases.patch("best", {"targets": ["claude"]}),
        lambda: aliases.delete("best"),
    ):
        change()
        epochs.append(state.epoch())
    assert epochs == sorted(set(epochs))
    refused(lambda: aliases.put({"name": "best", "targets": ["nobody"]}))
    with pytest.raises(NotFound):
        aliases.delete("best")
    assert state.epoch() == epochs[-1]


def test_aliases_are_listed_by_name(aliases: AliasService) -> None:
    for name in ("c", "a", "b"):
        aliases.put({"name": name, "targets": ["gpt-4o"]})
    found, total = aliases.page(limit=2, offset=1)
    assert ([alias.name for alias in found], total) == (["b", "c"], 3)


def test_what_is_not_there_is_not_found(aliases: AliasService) -> None:
    for act in (
        lambda: aliases.get("best"),
        lambda: aliases.patch("best", {"targets": ["gpt-4o"]}),
        lambda: aliases.delete("best"),
    ):
        with pytest.raises(NotFound, match="no alias 'best'"):
            act()


@pytest.mark.parametrize("name", ["", " a", "a//b", "/a", 5, None, "x" * 129, "auto", "*", "tokenhub", "gpt-4o"])
def test_a_name_is_like_a_models_and_means_nothing_else(aliases: AliasService, name: Any) -> None:
    assert list(refused(lambda: aliases.put({"name": name, "targets": ["claude"]}))) == ["name"]


@pytest.mark.parametrize(
    "targets", [None, "gpt-4o", [], ["gpt-4o", "gpt-4o"], [5], [""], [f"m{i}" for i in range(MAX_TARGETS + 1)]]
)
def test_targets_are_a_few_different_ids(aliases: AliasService, targets: Any) -> None:
    assert list(refused(lambda: aliases.put({"name": "best", "targets": targets}))) == ["targets"]


def test_targets_that_are_no_models_are_each_named(aliases: AliasService) -> None:
    aliases.put({"name": "inner", "targets": ["gpt-4o"]})
    problems = refused(lambda: aliases.put({"name": "outer", "targets": ["gpt-4o", "inner", "nobody"]}))
    assert problems == {"targets": ["'inner' is an alias; name the models it stands for", "there is no model 'nobody'"]}
    assert refused(lambda: aliases.patch("inner", {"targets": ["inner"]})) != {}


def test_both_fields_are_needed_and_no_other_is_taken(aliases: AliasService) -> None:
    assert refused(lambda: aliases.put({})) == {"name": ["is required"], "targets": ["is required"]}
    assert list(refused(lambda: aliases.put({"name": "a", "targets": ["gpt-4o"], "sticky_by": "x"}))) == ["sticky_by"]
    aliases.put({"name": "a", "targets": ["gpt-4o"]})
    assert list(refused(lambda: aliases.patch("a", {"name": "b"}))) == ["name"]


def test_deleting_a_model_leaves_its_aliases_alone(aliases: AliasService, store: SqlCatalogStore) -> None:
    aliases.put({"name": "best", "targets": ["gpt-4o", "claude"]})
    store.delete_model("gpt-4o")
    assert aliases.get("best").targets == ("gpt-4o", "claude")
