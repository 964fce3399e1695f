"""Several endpoints of a provider, capabilities of a model, aliases, routing defaults of the administrator."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("providers", sa.Column("endpoints", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("models", sa.Column("capabilities", sa.Text(), nullable=True))
    op.create_table(
        "aliases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("targets", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_aliases"),
    )
    op.create_table(
        "routing_defaults",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_routing_defaults"),
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_table("routing_defaults")
    op.drop_table("aliases")
    op.drop_column("models", "capabilities")
    op.drop_column("providers", "endpoints")
