"""The snapshot: indexed, ordered, immutable."""

from __future__ import annotations

import pytest

from tokenhub.domain.catalog import PROVIDER_TYPES, Catalog, Model, Provider
from tokenhub.providers.registry import TYPES


def test_targets_are_ordered_by_model_and_need_their_provider() -> None:
    of = Catalog.build(
        3, [Provider("p", "openai")], [Model("b", "p", "b"), Model("a", "p", "a"), Model("x", "gone", "x")]
    )
    assert [t.model.id for t in of.targets] == ["a", "b"] and "x" not in of.models and of.epoch == 3


def test_a_snapshot_cannot_be_changed() -> None:
    of = Catalog.build(1, [Provider("p", "openai")], [])
    with pytest.raises(TypeError):
        of.providers["q"] = Provider("q", "openai")  # type: ignore[index]


def test_nothing_loaded_yet_is_told_apart_from_an_empty_catalog() -> None:
    assert Catalog().epoch == -1 and Catalog.build(0, [], []).epoch == 0


def test_every_type_has_a_client() -> None:
    assert set(PROVIDER_TYPES) == set(TYPES)
