"""What the model name in a request stands for: nothing, one model, an alias for several, or nothing known.

How well a model fits is not looked at here, nor what is tried when it fails (`itinerary.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tokenhub.domain.catalog import Catalog
from tokenhub.domain.keys import ApiKey
from tokenhub.errors import Forbidden

AUTO = frozenset({"", "auto", "*", "tokenhub"})
"""Model names that leave the choice to TokenHub."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A model name, looked up."""

    asked: str
    """The name as the caller wrote it: not safe to be shown in a header."""
    kind: Literal["", "exact", "alias", "unknown"]
    """"": the choice is left to TokenHub. "unknown" is routed the same way, and the caller is told."""
    model_ids: tuple[str, ...]
    """What it stands for, in the order to try; empty where it names nothing. All of them exist, enabled or not."""
    alias: str = ""
    """The alias that was met."""
    family: str = ""
    """Of the first of `model_ids`; "" where it has none."""


NO_HINT = Hint("", "", ())


def resolve(name: str, catalog: Catalog) -> Hint:
    """Look a name up: a model's id, else an alias, else either of them behind a vendor's prefix (`openai/gpt-4o`).

    A model wins over an alias of the same name. Targets of an alias that do not exist, aliases among them, are passed
    over; one without any other is unknown.
    """
    if name in AUTO:
        return Hint(name, "", ())
    for called in (name, name.partition("/")[2]):
        model = catalog.models.get(called)
        if model is not None:
            return Hint(name, "exact", (called,), family=model.family)
        model_ids = tuple(model_id for model_id in catalog.aliases.get(called, ()) if model_id in catalog.models)
        if model_ids:
            return Hint(name, "alias", model_ids, called, catalog.models[model_ids[0]].family)
    return Hint(name, "unknown", ())


def resolve_all(names: Iterable[str], catalog: Catalog) -> tuple[str, ...]:
    """The ids of the models that names stand for, in order and once each; what is not known is passed over."""
    return tuple(dict.fromkeys(model_id for name in names for model_id in resolve(name, catalog).model_ids))


def require_allowed(hint: Hint, key: ApiKey) -> None:
    """Raise Forbidden where the key may use none of the models that are named."""
    if hint.model_ids and not any(key.allows(model_id) for model_id in hint.model_ids):
        named = hint.alias or hint.model_ids[0]
        raise Forbidden(f"this key may not use model {named!r}", code="model_not_allowed")
