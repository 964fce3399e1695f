"""The database's door: an engine that connects late, and sessions that never block the hub. No row, no query.

SQLite blocks in C, so in a gevent process every use of it goes through the worker's `Offload`.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tokenhub.domain.ports import Offload, here
from tokenhub.errors import ConfigurationError, Unavailable

T = TypeVar("T")

BUSY_TIMEOUT_S = 5.0
SETTING = "TOKENHUB_DB_DSN"
BEGIN = "sqlite_begin"
"""Execution option: how a transaction begins on SQLite; DEFERRED where it is absent."""


class Database:
    """Runs work in sessions on one engine."""

    def __init__(self, engine: Engine, offload: Offload = here) -> None:
        """`offload`: where SQLite's work runs, which blocks in C; other drivers wait cooperatively by themselves."""
        self.engine = engine
        self._offload = offload if engine.dialect.name == "sqlite" else here

    def run(self, work: Callable[[Session], T], *, write: bool = False) -> T:
        """Call `work` in a fresh session; commits at the end, rolls back on any error.

        `write` takes SQLite's write lock at the start: needed where work reads before it writes. Nothing of the
        session may be kept. Raises Unavailable where the database cannot be used (gone, locked, full, corrupt).
        """
        return self._offload(lambda: self._transact(work, write))

    def _transact(self, work: Callable[[Session], T], write: bool) -> T:
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                session.connection(execution_options={BEGIN: "IMMEDIATE"} if write else {})
                return work(session)
        except (sa.IntegrityError, sa.ProgrammingError, sa.DataError):
            raise
        except (sa.DBAPIError, sa.TimeoutError) as error:
            raise Unavailable("the database cannot be used at the moment", code="database_unavailable") from error


def engine_for(url: str, busy_timeout_s: float = BUSY_TIMEOUT_S, *, create: bool = False) -> Engine:
    """An engine for a path or an SQLAlchemy URL. Connects to nothing; raises ConfigurationError for a bad URL.

    `create`: whether a missing SQLite file is made. Else it is an outage, which ends when the file is back: an empty
    file in its place would stand in the way.
    """
    try:
        parsed = make_url(url) if "://" in url else URL.create("sqlite", database=url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, hide_parameters=True, pool_pre_ping=True)
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigurationError(SETTING, "a database in memory is not shared between workers; name a file")
        connect = functools.partial(_connect, parsed.database, busy_timeout_s, "rwc" if create else "rw")
        # A connection costs less than the locks of a pool that native threads and greenlets would share.
        engine = create_engine(parsed, hide_parameters=True, poolclass=NullPool, creator=connect)
    except (sa.ArgumentError, ImportError, ValueError) as error:
        raise ConfigurationError(SETTING, f"not a path or a usable database URL ({type(error).__name__})") from error
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def journal_mode(version: tuple[int, int, int]) -> str:
    """WAL where this SQLite cannot corrupt a WAL file with several writers, else TRUNCATE.

    Source: sqlite.org/wal.html#walresetbug, fixed in 3.51.3 and in the branches 3.50.7 and 3.44.6.
    """
    is_safe = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51, 0) or (3, 44, 6) <= version < (3, 45, 0)
    return "WAL" if is_safe else "TRUNCATE"


def _connect(path: str, busy_timeout_s: float, mode: str) -> sqlite3.Connection:
    name = f"file:{quote(path)}?mode={mode}"
    return sqlite3.connect(name, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    # While another process switches the mode of a new file this is refused; the mode then comes with the file.
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute(f"PRAGMA journal_mode={journal_mode(sqlite3.sqlite_version_info)}").fetchone()


def _begin(connection: Connection) -> None:
    # isolation_level=None switched off the driver's own BEGIN, which leaves DDL outside of transactions.
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(BEGIN, 'DEFERRED')}")
