"""Bringing the database to this code's schema. Called once, by the master, before any worker exists."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from tokenhub.errors import ConfigurationError
from tokenhub.storage.database import BEGIN, SETTING, engine_for

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
WAIT_S = 60.0
"""How long one start waits for another that migrates."""


def upgrade(url: str) -> None:
    """Bring the database at `url` (a path or an SQLAlchemy URL) to the newest schema, all or nothing.

    Safe to call again, by several processes at once, and after a kill half way. Raises ConfigurationError where
    the database cannot be used, or was made by a newer TokenHub.
    """
    engine = engine_for(url, busy_timeout_s=WAIT_S)
    try:
        with engine.connect().execution_options(**{BEGIN: "IMMEDIATE"}) as connection, connection.begin():
            _upgrade(connection)
    except DBAPIError as error:
        raise ConfigurationError(SETTING, f"the database cannot be used: {error.orig}") from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    present = MigrationContext.configure(connection).get_current_heads()
    if not set(present) <= known:
        newer = ", ".join(sorted(set(present) - known))
        raise ConfigurationError(
            SETTING, f"the database was made by a newer TokenHub (schema {newer}); run that one, or restore a backup"
        )
    if set(present) != set(scripts.get_heads()):
        command.upgrade(config, "head")
