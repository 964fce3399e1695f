"""What the master puts into the catalog at start and reload: the credentials file, the demo, keys by reference.

A seed never overrules the operator: a row that an admin wrote is left alone, one that an admin deleted stays
deleted, and an entry that changed updates only a row that came from the file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tokenhub.domain.catalog import Model, Provider
from tokenhub.domain.ports import CatalogStore, Kind, State
from tokenhub.errors import Conflict, InvalidRequest
from tokenhub.services import rules
from tokenhub.services.catalog import (
    MODEL_RULES,
    PROVIDER_RULES,
    REFERENCE,
    Seal,
    is_reference,
    model_from,
    provider_from,
)

FROM_FILE = "credentials"
FROM_DEMO = "demo"
PAGE = 1000


@dataclass(slots=True)
class Seeded:
    """What seeding did: ids as "provider x" or "model y"."""

    changed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Models whose provider is not there (an admin deleted it)."""


class Seeding:
    """Seeds the catalog. Blocks on the database; one at a time."""

    def __init__(self, store: CatalogStore, state: State, seal: Seal, unseal: Callable[[bytes, str], str]) -> None:
        """`unseal` opens what `seal` made; it may raise ValueError where the sealing key is another one."""
        self._store = store
        self._state = state
        self._seal = seal
        self._unseal = unseal

    def seed(self, providers: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]]) -> Seeded:
        """Apply the entries of a credentials file: all of them are checked before the first is applied.

        Raises InvalidRequest whose fields name each mistake by its path, such as "providers[0].base_url".
        """
        offered, offers = check_entries(providers, models)
        seeded = Seeded()
        for fields in offered:
            self._seed_provider(fields, seeded)
        for fields in offers:
            if self._is_due("model", fields["id"], _digest(fields), FROM_FILE):
                self._seed_model(
                    model_from(self._store.model(fields["id"]), fields), _digest(fields), FROM_FILE, seeded
                )
        if seeded.changed:
            self._state.move_epoch()
        return seeded

    def seed_demo(self, provider: Provider, models: Sequence[Model]) -> Seeded:
        """Put the built-in provider in, with its models."""
        seeded = Seeded()
        digest = _digest(asdict(provider))
        if self._is_due("provider", provider.id, digest, FROM_DEMO):
            self._store.save_provider(provider, origin=FROM_DEMO)
            self._note("provider", provider.id, digest, seeded)
        for model in models:
            digest = _digest(asdict(model))
            if self._is_due("model", model.id, digest, FROM_DEMO):
                self._seed_model(model, digest, FROM_DEMO, seeded)
        if seeded.changed:
            self._state.move_epoch()
        return seeded

    def resolve_references(self, lookup: Callable[[str], str | None]) -> list[str]:
        """Seal the keys that providers name as "env:NAME", where they changed; gives the names that `lookup` lacks.

        A variable that is missing leaves the key as it was.
        """
        unresolved = []
        sealed = self._state.provider_keys()
        for provider in self._all_providers():
            if not provider.credential.startswith(REFERENCE):
                continue
            name = provider.credential.removeprefix(REFERENCE)
            secret = (lookup(name) or "").strip()
            present = self._opened(sealed.get(provider.id), provider.id)
            if not secret:
                unresolved.append(name)
            elif present is None or not hmac.compare_digest(present.encode(), secret.encode()):
                self._state.put_provider_key(provider.id, self._seal(secret, provider.id))
        return unresolved

    # ------------------------------------------------------------------

    def _seed_provider(self, fields: Mapping[str, Any], seeded: Seeded) -> None:
        digest = _digest(fields)
        if not self._is_due("provider", fields["id"], digest, FROM_FILE):
            self._restore_key(fields)
            return
        known = self._store.provider(fields["id"])
        provider = provider_from(known, fields)
        if fields.get("api_key") and not is_reference(fields["api_key"]):
            self._state.put_provider_key(provider.id, self._seal(fields["api_key"], provider.id))
        self._store.save_provider(provider, origin=FROM_FILE)
        if provider.credential != "sealed" and (known is None or known.credential != provider.credential):
            self._state.drop_provider_key(provider.id)
        self._note("provider", provider.id, digest, seeded)

    def _restore_key(self, fields: Mapping[str, Any]) -> None:
        """Seal the file's key again where the state or its sealing key were lost; never over an admin's."""
        secret = fields.get("api_key")
        if not secret or is_reference(secret) or self._store.origin("provider", fields["id"]) != FROM_FILE:
            return
        if self._opened(self._state.provider_keys().get(fields["id"]), fields["id"]) is None:
            self._state.put_provider_key(fields["id"], self._seal(secret, fields["id"]))

    def _seed_model(self, model: Model, digest: str, origin: str, seeded: Seeded) -> None:
        try:
            self._store.save_model(model, origin=origin)
        except Conflict:
            seeded.skipped.append(f"model {model.id}")
            return
        self._note("model", model.id, digest, seeded)

    def _is_due(self, kind: Kind, row_id: str, digest: str, origin: str) -> bool:
        seen = self._store.seed_digest(kind, row_id)
        if seen == digest:
            return False
        present = self._store.origin(kind, row_id)
        return seen is None if present is None else present == origin

    def _note(self, kind: Kind, row_id: str, digest: str, seeded: Seeded) -> None:
        # Last, so that a start that was killed before this is simply done again.
        self._store.remember_seed(kind, row_id, digest)
        seeded.changed.append(f"{kind} {row_id}")

    def _all_providers(self) -> list[Provider]:
        found: list[Provider] = []
        while True:
            page, total = self._store.providers(PAGE, len(found))
            found += page
            if not page or len(found) >= total:
                return found

    def _opened(self, sealed: bytes | None, provider_id: str) -> str | None:
        try:
            return None if sealed is None else self._unseal(sealed, provider_id)
        except ValueError:
            return None


def parse_credentials(content: bytes) -> tuple[list[Any], list[Any]]:
    """The providers and models of a credentials file, not yet checked. Raises InvalidRequest; tells no content."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequest(f"it is not valid JSON{where}", code="invalid_json") from None
    if not isinstance(document, dict):
        raise InvalidRequest('it must be an object such as {"providers": [], "models": []}', code="invalid_json")
    clean = rules.check(document, {"providers": rules.array, "models": rules.array})
    return clean.get("providers", []), clean.get("models", [])


def check_entries(
    providers: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The entries of a credentials file, clean. Raises InvalidRequest; touches nothing."""
    offered = _checked("providers", providers, PROVIDER_RULES)
    offers = _checked("models", models, MODEL_RULES)
    for number, fields in enumerate(offered):
        provider_from(None, fields, f"providers[{number}].")
    for number, fields in enumerate(offers):
        model_from(None, fields, f"models[{number}].")
    return offered, offers


def _checked(kind: str, entries: Sequence[Any], named: Mapping[str, rules.Rule]) -> list[dict[str, Any]]:
    clean: list[dict[str, Any]] = []
    for number, entry in enumerate(entries):
        where = f"{kind}[{number}]"
        if not isinstance(entry, Mapping):
            raise rules.invalid({where: ["must be an object"]})
        fields = rules.check(entry, named, where + ".")
        if "id" not in fields:
            raise rules.invalid({f"{where}.id": ["is required"]})
        if any(fields["id"] == other["id"] for other in clean):
            raise rules.invalid({f"{where}.id": [f"{fields['id']!r} is there twice"]})
        clean.append(fields)
    return clean


def _digest(entry: Mapping[str, Any]) -> str:
    """What an entry says, as SHA-256; of its key, again only the SHA-256."""
    told = dict(entry)
    if told.get("api_key"):
        told["api_key"] = hashlib.sha256(told["api_key"].encode()).hexdigest()
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
