"""Reads the snapshot of known models that `scripts/snapshot_models.py` wrote into this folder. No network, ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenhub.domain.known_models import KnownModel, KnownModels, Vendor
from tokenhub.domain.money import Price

SNAPSHOT = Path(__file__).with_name("known_models.json")


def load(path: Path = SNAPSHOT) -> KnownModels:
    """The snapshot that came with this version. Reads a file: once per process."""
    return parse(json.loads(path.read_bytes()))


def parse(document: Mapping[str, Any]) -> KnownModels:
    """The snapshot from its JSON; what a model's line leaves out is not known."""
    return KnownModels(
        f"{document['name']} {document['version']} ({document['date']})",
        [_vendor(line) for line in document["vendors"]],
        [_model(line) for line in document["models"]],
    )


def _vendor(line: Mapping[str, Any]) -> Vendor:
    return Vendor(line["id"], *(tuple(line.get(name, ())) for name in ("hosts", "prefixes", "also")))


def _model(line: Mapping[str, Any]) -> KnownModel:
    capabilities = line.get("capabilities")
    return KnownModel(
        vendor=line["vendor"],
        id=line["id"],
        family=line["family"],
        names=tuple(line["names"]),
        stems=tuple(line.get("stems", ())),
        price=_price(line["price"]) if "price" in line else None,
        max_context_tokens=line.get("context"),
        max_output_tokens=line.get("max_output"),
        capabilities=None if capabilities is None else frozenset(capabilities),
    )


def _price(line: Mapping[str, Any]) -> Price:
    kinds = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
    tiers = tuple((tier["above_input_tokens"], _price(tier)) for tier in line.get("tiers", ()))
    return Price(**{kind: line[kind] for kind in kinds if kind in line}, tiers=tiers)
