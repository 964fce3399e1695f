"""Aliases for administrators: other names that callers may ask for, each for one or more models in the order to try.

An alias is read where a request is routed (`domain/hints.py`). Each change moves the catalog epoch, so that all workers
read again. Deleting a model leaves its aliases alone: they pass it over until it is there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenhub.domain.hints import AUTO
from tokenhub.domain.ports import CatalogStore, State
from tokenhub.errors import NotFound
from tokenhub.services import rules

MAX_TARGETS = 32


@dataclass(frozen=True, slots=True)
class Alias:
    """A name, and the ids of the models it stands for in the order to try."""

    name: str
    targets: tuple[str, ...]


def alias_name(value: Any) -> str:
    """A name as models have one, which does not mean something else already."""
    name = rules.identifier(value)
    if name in AUTO:
        raise ValueError(f"{name!r} leaves the choice to TokenHub and cannot be an alias")
    return name


def targets(value: Any) -> tuple[str, ...]:
    """Ids of models, in the order to try."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TARGETS:
        raise ValueError(f"must be an array of 1 to {MAX_TARGETS} model ids")
    model_ids = tuple(rules.identifier(model_id) for model_id in value)
    if len(set(model_ids)) < len(model_ids):
        raise ValueError("must name each model once")
    return model_ids


RULES: dict[str, rules.Rule] = {"name": alias_name, "targets": targets}


class AliasService:
    """Manages aliases. Blocks on the database: for administration only."""

    def __init__(self, store: CatalogStore, state: State) -> None:
        self._store = store
        self._state = state

    def page(self, limit: int, offset: int) -> tuple[list[Alias], int]:
        """A page of aliases by name, and how many there are."""
        found = [Alias(name, model_ids) for name, model_ids in sorted(self._store.aliases().items())]
        return found[offset : offset + limit], len(found)

    def get(self, name: str) -> Alias:
        """One alias. Raises NotFound."""
        model_ids = self._store.aliases().get(name)
        if model_ids is None:
            raise self._not_there(name)
        return Alias(name, model_ids)

    def put(self, values: Mapping[str, Any]) -> Alias:
        """Create an alias, or replace the targets of the one with this name. Raises InvalidRequest."""
        fields = rules.check(values, RULES)
        missing = {name: ["is required"] for name in RULES if name not in fields}
        if missing:
            raise rules.invalid(missing)
        return self._save(Alias(fields["name"], fields["targets"]))

    def patch(self, name: str, values: Mapping[str, Any]) -> Alias:
        """Change the targets, if they are given. Raises InvalidRequest, NotFound."""
        fields = rules.check(values, {"targets": targets})
        known = self.get(name)
        return self._save(Alias(name, fields["targets"])) if fields else known

    def delete(self, name: str) -> None:
        """Delete an alias. Raises NotFound."""
        if not self._store.delete_alias(name):
            raise self._not_there(name)
        self._state.move_epoch()

    def _save(self, alias: Alias) -> Alias:
        if self._store.model(alias.name) is not None:
            raise rules.invalid({"name": [f"there is a model {alias.name!r}, which would be met first"]})
        unknown = [model_id for model_id in alias.targets if self._store.model(model_id) is None]
        if unknown:
            raise rules.invalid({"targets": [self._why_not(model_id) for model_id in unknown]})
        self._store.save_alias(alias.name, alias.targets)
        self._state.move_epoch()
        return alias

    def _why_not(self, model_id: str) -> str:
        if model_id in self._store.aliases():
            return f"{model_id!r} is an alias; name the models it stands for"
        return f"there is no model {model_id!r}"

    def _not_there(self, name: str) -> NotFound:
        return NotFound(f"there is no alias {name[: rules.MAX_NAME]!r}")
