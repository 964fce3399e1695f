"""What a model name stands for, and which of its readings wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.hints import AUTO, NO_HINT, Hint, require_allowed, resolve, resolve_all
from tokenhub.domain.keys import ApiKey
from tokenhub.errors import Forbidden


def catalog(*model_ids: str, **aliases: tuple[str, ...]) -> Catalog:
    models = [Model(model_id, "p", model_id, family=f"family-of-{model_id}") for model_id in model_ids]
    return Catalog.build(1, [Provider("p", "openai", "http://p")], models, aliases)


def key(*allowed: str) -> ApiKey:
    return ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0, allowed_models=allowed)


@pytest.mark.parametrize("name", sorted(AUTO))
def test_some_names_leave_the_choice_to_the_hub(name: str) -> None:
    assert resolve(name, catalog("a", "auto", "tokenhub")) == Hint(name, "", ())


def test_an_id_names_its_model_even_with_slashes() -> None:
    of = catalog("gpt-4o", "meta/llama", "llama")
    assert resolve("gpt-4o", of) == Hint("gpt-4o", "exact", ("gpt-4o",), family="family-of-gpt-4o")
    assert resolve("meta/llama", of).model_ids == ("meta/llama",)


def test_a_vendor_may_stand_before_a_model_or_an_alias() -> None:
    of = catalog("gpt-4o", fast=("gpt-4o",))
    hint = resolve("openai/gpt-4o", of)
    assert (hint.asked, hint.kind, hint.model_ids) == ("openai/gpt-4o", "exact", ("gpt-4o",))
    assert resolve("tokenhub/fast", of) == Hint("tokenhub/fast", "alias", ("gpt-4o",), "fast", "family-of-gpt-4o")


def test_an_alias_stands_for_its_targets_in_order() -> None:
    hint = resolve("best", catalog("a", "b", "c", best=("c", "a")))
    assert hint == Hint("best", "alias", ("c", "a"), "best", "family-of-c")


def test_targets_that_are_gone_are_passed_over() -> None:
    of = catalog("a", best=("gone", "a"), dead=("gone",), none=())
    assert resolve("best", of).model_ids == ("a",)
    assert resolve("dead", of) == Hint("dead", "unknown", ())
    assert resolve("none", of).kind == "unknown"


def test_an_alias_of_an_alias_leads_nowhere() -> None:
    assert resolve("outer", catalog("a", inner=("a",), outer=("inner",))).kind == "unknown"


def test_a_model_wins_over_an_alias_of_its_name() -> None:
    assert resolve("a", catalog("a", "b", a=("b",))).model_ids == ("a",)


def test_what_stands_there_as_a_whole_wins_over_what_is_behind_a_vendor() -> None:
    of = Catalog.build(
        1,
        [Provider("p", "openai")],
        [Model("gpt-4o", "p", "gpt-4o"), Model("azure-gpt-4o", "p", "x")],
        {"openai/gpt-4o": ("azure-gpt-4o",)},
    )
    assert resolve("openai/gpt-4o", of).model_ids == ("azure-gpt-4o",)
    assert resolve("other/gpt-4o", of).model_ids == ("gpt-4o",)


@pytest.mark.parametrize("name", ["nobody", "vendor/nobody", "a/", "/", "a/b/c", "A", " a"])
def test_anything_else_is_unknown(name: str) -> None:
    assert resolve(name, catalog("a", "b")) == Hint(name, "unknown", ())


NAMES = st.text(alphabet="ab/", max_size=5)


@given(NAMES, st.sets(NAMES, max_size=4), st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=3))
def test_a_hint_only_names_models_that_are_there(
    name: str, model_ids: set[str], aliases: dict[str, tuple[str, ...]]
) -> None:
    of = catalog(*model_ids, **aliases)
    hint = resolve(name, of)
    assert set(hint.model_ids) <= set(of.models) and hint.asked == name
    assert bool(hint.model_ids) == (hint.kind in ("exact", "alias"))
    assert bool(hint.alias) == (hint.kind == "alias") or "" in aliases


def test_several_names_are_resolved_in_order_and_once_each() -> None:
    of = catalog("a", "b", "c", best=("c", "a"))
    assert resolve_all(["b", "nobody", "best", "x/b"], of) == ("b", "c", "a")


def test_a_key_may_name_what_it_may_use_and_part_of_it_is_enough() -> None:
    of = catalog("a", "b", best=("a", "b"))
    for name in ("a", "best", "nobody", "auto"):
        require_allowed(resolve(name, of), key("a"))
    require_allowed(NO_HINT, key("a"))
    with pytest.raises(Forbidden, match="may not use model 'a'") as exact:
        require_allowed(resolve("a", of), key("z"))
    with pytest.raises(Forbidden, match="may not use model 'best'"):
        require_allowed(resolve("best", of), key("z"))
    assert exact.value.code == "model_not_allowed"
