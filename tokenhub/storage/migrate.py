"""Bringing the database to this code's schema, and refusing one that cannot be used. Called once, by the master,
before any worker exists."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from tokenhub.errors import ConfigurationError
from tokenhub.storage.database import BEGIN, SETTING, engine_for
from tokenhub.storage.rows import Base, RequestRow

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
WAIT_S = 60.0
"""How long one start waits for another that migrates."""
CHECKED_WHOLE_BYTES = 256 * 1024 * 1024
"""A file up to this size is checked whole: half a second. Of a larger one all but the request log is."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def upgrade(url: str) -> None:
    """Bring the database at `url` (a path or an SQLAlchemy URL) to the newest schema, all or nothing.

    Safe to call again, by several processes at once, and after a kill half way. Raises ConfigurationError where
    the database cannot be read or written, is damaged, or was made by a newer TokenHub.
    """
    engine = engine_for(url, busy_timeout_s=WAIT_S, create=True)
    try:
        with engine.connect().execution_options(**{BEGIN: "IMMEDIATE"}) as connection, connection.begin():
            _check(connection)
            _upgrade(connection)
            # SQLite begins a transaction on a read-only file as well, and complains only here.
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) in DAMAGED:
            raise _damaged(str(error.orig)) from error
        raise ConfigurationError(SETTING, f"the database cannot be used: {error.orig}") from error
    finally:
        engine.dispose()


def _check(connection: Connection) -> None:
    """Refuse a damaged SQLite file: served from, it would lose what is written to it."""
    if connection.dialect.name != "sqlite":
        return
    pages, page_bytes = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
    )
    told = (
        connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all()
        if pages * page_bytes <= CHECKED_WHOLE_BYTES
        else _check_tables(connection)
    )
    if problems := [line for line in told if line != "ok"]:
        raise _damaged(problems[0].splitlines()[-1])


def _check_tables(connection: Connection) -> list[str]:
    present = set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")))
    check = text("SELECT quick_check FROM pragma_quick_check(:name)")
    names = [name for name in Base.metadata.tables if name in present and name != RequestRow.__tablename__]
    return [line for name in names for line in connection.scalars(check, {"name": name})]


def _damaged(why: str) -> ConfigurationError:
    return ConfigurationError(SETTING, f"the database is damaged ({why}): restore it from a backup")


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
