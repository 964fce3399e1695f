"""What is publicly known of models (price, context, family, capabilities), and how a model of ours is found in it.

The snapshot itself is data: `storage/known_models.py` reads it. Nothing here guesses. A price holds only where the
provider's host says whose price list applies: the same name on a machine of one's own costs something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tokenhub.domain.catalog import OPERATOR, Model, Provider
from tokenhub.domain.money import Price

SELF_HOSTED_TYPE = "vllm"

_TAIL = re.compile(r"[-@](?:\d{3,4}|\d{8}|\d{4}-\d\d-\d\d|\d\d-\d\d(?:\d\d)?|latest|preview|exp|v\d{1,2})$", re.ASCII)
"""One part of what follows a model's name where a vendor serves several dates and revisions of it."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Who sells models, and how to tell that a provider is it."""

    id: str
    hosts: tuple[str, ...]
    """Hosts of its API; one that begins with "." or "-" stands for every host with that end."""
    prefixes: tuple[str, ...] = ()
    """What may stand before the name of a model there, such as "models/"."""
    also: tuple[str, ...] = ()
    """Other vendors whose models it sells at their prices."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model at one vendor. None, as in Model: not known."""

    vendor: str
    id: str
    family: str
    names: tuple[str, ...]
    """All names that it has there, in lower case."""
    stems: tuple[str, ...] = ()
    """Names that a date or a revision may follow, as in `claude-haiku-4-5-20251001`."""
    price: Price | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None


class KnownModels:
    """All known models of one snapshot. Empty: nothing is known, and every model stays as the operator gave it."""

    def __init__(self, source: str = "", vendors: Iterable[Vendor] = (), models: Iterable[KnownModel] = ()) -> None:
        """`source`: name, version and date, as receipts show it. Of equal names the first model has it."""
        self.source = source
        self._vendors = tuple(vendors)
        self._names: dict[tuple[str, str], KnownModel] = {}
        self._stems: dict[tuple[str, str], KnownModel] = {}
        for model in models:
            for name in (*model.names, *model.stems):
                self._names.setdefault((model.vendor, name), model)
                self._names.setdefault(("", _bare(name)), model)
            for stem in model.stems:
                self._stems.setdefault((model.vendor, stem), model)
                self._stems.setdefault(("", _bare(stem)), model)

    def complete(self, model: Model, provider: Provider) -> Model:
        """The model with what the operator left open filled in, as far as it is known; `price_source` says whose
        price it has."""
        name = model.upstream_name.lower()
        sold = self._sold_by(self.vendor_of(provider), name)
        known = sold or self._find("", _bare(name))
        if known is None:
            return replace(model, price_source=OPERATOR if model.price else "")
        price = model.price or (sold.price if sold else None)
        return replace(
            model,
            price=price,
            price_source=OPERATOR if model.price else self.source if price else "",
            max_context_tokens=model.max_context_tokens or known.max_context_tokens,
            max_output_tokens=model.max_output_tokens or (sold.max_output_tokens if sold else None),
            family=model.family or known.family,
            capabilities=known.capabilities if model.capabilities is None else model.capabilities,
            known_as=f"{known.vendor}:{known.id}",
        )

    def vendor_of(self, provider: Provider) -> Vendor | None:
        """Whose price list applies to a provider, by its host; None for machines of one's own and unknown hosts."""
        if provider.type == SELF_HOSTED_TYPE:
            return None
        host = urlsplit(provider.base_url).hostname or ""
        return next((vendor for vendor in self._vendors if any(_is_at(host, known) for known in vendor.hosts)), None)

    def _sold_by(self, vendor: Vendor | None, name: str) -> KnownModel | None:
        if vendor is None:
            return None
        for prefix in vendor.prefixes:
            name = name.removeprefix(prefix)
        found = (self._find(seller, name) for seller in (vendor.id, *vendor.also))
        return next((model for model in found if model is not None), None)

    def _find(self, vendor_id: str, name: str) -> KnownModel | None:
        """By the exact name, else by the longest stem that leaves nothing but dates and revisions."""
        found = self._names.get((vendor_id, name))
        while found is None and (tail := _TAIL.search(name)):
            name = name[: tail.start()]
            found = self._stems.get((vendor_id, name))
        return found


def _bare(name: str) -> str:
    """A name without the path before it: `meta-llama/llama-3` is `llama-3`."""
    return name.rpartition("/")[2]


def _is_at(host: str, known: str) -> bool:
    return host.endswith(known) if known[0] in ".-" else host == known
