"""Alembic's entry: runs the migrations on the connection that `tokenhub/storage/migrate.py` hands over.

That connection is inside a transaction already, so a kill half way leaves the old schema.
"""

from __future__ import annotations

from alembic import context

from tokenhub.storage.rows import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
