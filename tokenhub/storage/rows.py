"""The tables, as SQLAlchemy rows. They stay inside `storage/`; what they mean is said in `domain/`.

Changing one takes a migration in `migrations/versions/`; a test compares the two.
"""

from __future__ import annotations

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, ForeignKey, Index, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What all rows share: one metadata, with names that a migration can rely on."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {str: Text, int: BigInteger}


db = SQLAlchemy(metadata=Base.metadata)
"""The Flask extension over the same tables, for `flask shell` and commands. Services use `Database` instead."""


class ProviderRow(Base):
    """A domain Provider."""

    __tablename__ = "providers"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    base_url: Mapped[str]
    enabled: Mapped[bool]
    credential: Mapped[str]
    origin: Mapped[str]
    endpoints: Mapped[str] = mapped_column(server_default="[]")
    """A JSON array of URLs."""


class ModelRow(Base):
    """A domain Model. Prices: integer nano-USD per million tokens; NULL is not known."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id", ondelete="CASCADE"), index=True)
    upstream_name: Mapped[str]
    weight: Mapped[int]
    max_context_tokens: Mapped[int | None]
    max_output_tokens: Mapped[int | None]
    price_input: Mapped[int | None]
    price_output: Mapped[int | None]
    price_cache_read: Mapped[int | None]
    price_cache_write: Mapped[int | None]
    enabled: Mapped[bool]
    family: Mapped[str]
    origin: Mapped[str]
    capabilities: Mapped[str | None]
    """A JSON array; NULL is not known."""


class AliasRow(Base):
    """A domain Alias: a name for an ordered JSON array of model ids."""

    __tablename__ = "aliases"

    name: Mapped[str] = mapped_column(primary_key=True)
    targets: Mapped[str]


class RoutingDefaultRow(Base):
    """What the administrator set of the policy table: a row's name and its value as JSON."""

    __tablename__ = "routing_defaults"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class RequestRow(Base):
    """A settled receipt: its JSON, and the columns that are searched."""

    __tablename__ = "request_log"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at_ms: Mapped[int] = mapped_column(index=True)
    request_id: Mapped[str] = mapped_column(index=True)
    key_id: Mapped[str]
    model: Mapped[str]
    provider: Mapped[str]
    status: Mapped[str]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cost_nanousd: Mapped[int | None]
    """NULL: the price is not known."""
    latency_ms: Mapped[int | None]
    ttft_ms: Mapped[int | None]
    receipt: Mapped[str]

    __table_args__ = tuple(
        Index(f"ix_request_log_{column}", column, "created_at_ms")
        for column in ("key_id", "model", "provider", "status")
    )


class SeedRow(Base):
    """What was seeded under an id last; outlives the row, so that what an admin deleted stays deleted."""

    __tablename__ = "seeds"

    kind: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
