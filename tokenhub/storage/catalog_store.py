"""Providers and models in the database: the port `CatalogStore` over `Database`. No rule of what is valid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tokenhub.domain.catalog import OPERATOR, Catalog, Model, Provider
from tokenhub.domain.known_models import KnownModels
from tokenhub.domain.money import Price
from tokenhub.domain.ports import Kind
from tokenhub.errors import Conflict
from tokenhub.storage.database import Database
from tokenhub.storage.rows import AliasRow, ModelRow, ProviderRow, RoutingDefaultRow, SeedRow


class SqlCatalogStore:
    """The catalog as the operator keeps it. Every method is one transaction; raises Unavailable."""

    def __init__(self, database: Database, known: KnownModels | None = None) -> None:
        """`known` completes the models of a snapshot; rows hold only what the operator said."""
        self._database = database
        self._known = known or KnownModels()

    def load(self, epoch: int) -> Catalog:
        """Everything, as one snapshot."""

        def work(session: Session) -> Catalog:
            providers = [_provider(row) for row in session.scalars(select(ProviderRow))]
            models = [_model(row) for row in session.scalars(select(ModelRow))]
            return Catalog.build(epoch, providers, models, _aliases(session), self._known.complete)

        return self._database.run(work)

    def providers(self, limit: int, offset: int) -> tuple[list[Provider], int]:
        """A page of providers by id, and how many there are."""

        def work(session: Session) -> tuple[list[Provider], int]:
            rows = session.scalars(select(ProviderRow).order_by(ProviderRow.id).limit(limit).offset(offset))
            return [_provider(row) for row in rows], _count(session, ProviderRow)

        return self._database.run(work)

    def provider(self, provider_id: str) -> Provider | None:
        """One provider."""

        def work(session: Session) -> Provider | None:
            row = session.get(ProviderRow, provider_id)
            return _provider(row) if row else None

        return self._database.run(work)

    def save_provider(self, provider: Provider, *, origin: str = "admin") -> None:
        """Insert or replace; its models stay."""
        row = ProviderRow(
            id=provider.id,
            type=provider.type,
            base_url=provider.base_url,
            enabled=provider.enabled,
            credential=provider.credential,
            endpoints=json.dumps(provider.endpoints),
            origin=origin,
        )
        self._database.run(lambda session: _merge(session, row), write=True)

    def delete_provider(self, provider_id: str) -> bool:
        """Delete with its models; False if there was none."""
        statement = delete(ProviderRow).where(ProviderRow.id == provider_id).returning(ProviderRow.id)
        return self._database.run(lambda session: session.scalar(statement) is not None, write=True)

    def models(self, limit: int, offset: int) -> tuple[list[Model], int]:
        """A page of models by id, and how many there are."""

        def work(session: Session) -> tuple[list[Model], int]:
            rows = session.scalars(select(ModelRow).order_by(ModelRow.id).limit(limit).offset(offset))
            return [_model(row) for row in rows], _count(session, ModelRow)

        return self._database.run(work)

    def model(self, model_id: str) -> Model | None:
        """One model."""

        def work(session: Session) -> Model | None:
            row = session.get(ModelRow, model_id)
            return _model(row) if row else None

        return self._database.run(work)

    def save_model(self, model: Model, *, origin: str = "admin") -> None:
        """Insert or replace. Raises Conflict if the provider does not exist."""
        row = _model_row(model, origin)
        try:
            self._database.run(lambda session: _merge(session, row), write=True)
        except IntegrityError as error:
            raise Conflict(f"there is no provider {model.provider_id!r}", code="unknown_provider") from error

    def delete_model(self, model_id: str) -> bool:
        """Delete; False if there was none."""
        statement = delete(ModelRow).where(ModelRow.id == model_id).returning(ModelRow.id)
        return self._database.run(lambda session: session.scalar(statement) is not None, write=True)

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """All aliases by name, with the model ids they stand for in the order to try."""
        return self._database.run(_aliases)

    def save_alias(self, name: str, targets: tuple[str, ...]) -> None:
        """Insert or replace."""
        row = AliasRow(name=name, targets=json.dumps(targets))
        self._database.run(lambda session: _merge(session, row), write=True)

    def delete_alias(self, name: str) -> bool:
        """Delete; False if there was none."""
        statement = delete(AliasRow).where(AliasRow.name == name).returning(AliasRow.name)
        return self._database.run(lambda session: session.scalar(statement) is not None, write=True)

    def routing_defaults(self) -> dict[str, Any]:
        """What the administrator set of the policy table, as JSON values."""

        def work(session: Session) -> dict[str, Any]:
            rows = session.scalars(select(RoutingDefaultRow).order_by(RoutingDefaultRow.name))
            return {row.name: json.loads(row.value) for row in rows}

        return self._database.run(work)

    def save_routing_defaults(self, changes: Mapping[str, Any]) -> None:
        """Set the given ones; None takes one back."""

        def work(session: Session) -> None:
            session.execute(delete(RoutingDefaultRow).where(RoutingDefaultRow.name.in_(changes)))
            given = {name: json.dumps(value) for name, value in changes.items() if value is not None}
            session.add_all(RoutingDefaultRow(name=name, value=text) for name, text in given.items())

        self._database.run(work, write=True)

    def origin(self, kind: Kind, row_id: str) -> str | None:
        """Who wrote the row last; None if there is none."""
        table = ProviderRow if kind == "provider" else ModelRow
        return self._database.run(lambda session: session.scalar(select(table.origin).where(table.id == row_id)))

    def seed_digest(self, kind: Kind, row_id: str) -> str | None:
        """The digest of the entry that was seeded last under this id, even if its row is gone."""
        statement = select(SeedRow.digest).where(SeedRow.kind == kind, SeedRow.id == row_id)
        return self._database.run(lambda session: session.scalar(statement))

    def remember_seed(self, kind: Kind, row_id: str, digest: str) -> None:
        """Note what was seeded under an id."""
        row = SeedRow(kind=kind, id=row_id, digest=digest)
        self._database.run(lambda session: _merge(session, row), write=True)


def _aliases(session: Session) -> dict[str, tuple[str, ...]]:
    rows = session.scalars(select(AliasRow).order_by(AliasRow.name))
    return {row.name: tuple(json.loads(row.targets)) for row in rows}


def _merge(session: Session, row: ProviderRow | ModelRow | SeedRow | AliasRow) -> None:
    session.merge(row)


def _count(session: Session, table: type[ProviderRow] | type[ModelRow]) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def _provider(row: ProviderRow) -> Provider:
    return Provider(
        id=row.id,
        type=row.type,
        base_url=row.base_url,
        enabled=row.enabled,
        credential=row.credential,
        endpoints=tuple(json.loads(row.endpoints)),
    )


def _model(row: ModelRow) -> Model:
    price = None
    if row.price_input is not None and row.price_output is not None:
        price = Price(row.price_input, row.price_output, row.price_cache_read, row.price_cache_write)
    return Model(
        id=row.id,
        provider_id=row.provider_id,
        upstream_name=row.upstream_name,
        weight=row.weight,
        max_context_tokens=row.max_context_tokens,
        max_output_tokens=row.max_output_tokens,
        price=price,
        enabled=row.enabled,
        family=row.family,
        capabilities=None if row.capabilities is None else frozenset(json.loads(row.capabilities)),
        price_source=OPERATOR if price else "",
    )


def _model_row(model: Model, origin: str) -> ModelRow:
    price = model.price
    return ModelRow(
        id=model.id,
        provider_id=model.provider_id,
        upstream_name=model.upstream_name,
        weight=model.weight,
        max_context_tokens=model.max_context_tokens,
        max_output_tokens=model.max_output_tokens,
        price_input=price.input if price else None,
        price_output=price.output if price else None,
        price_cache_read=price.cache_read if price else None,
        price_cache_write=price.cache_write if price else None,
        enabled=model.enabled,
        family=model.family,
        capabilities=None if model.capabilities is None else json.dumps(sorted(model.capabilities)),
        origin=origin,
    )
