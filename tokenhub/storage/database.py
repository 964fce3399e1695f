"""The database's door: an engine that connects late, and sessions that never block the hub. No row, no query.

SQLite blocks in C, so in a gevent process every use of it runs in a pool of native threads of its own (gevent's
default pool has ten slots, and DNS needs them).
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from gevent import monkey
from gevent.threadpool import ThreadPool
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tokenhub.errors import ConfigurationError, Unavailable

T = TypeVar("T")

THREADS = 4
BUSY_TIMEOUT_S = 5.0
SETTING = "TOKENHUB_DB_DSN"
BEGIN = "sqlite_begin"
"""Execution option: how a transaction begins on SQLite; DEFERRED where it is absent."""


class Database:
    """Runs work in sessions on one engine."""

    def __init__(self, engine: Engine, threads: int = THREADS) -> None:
        """`threads`: size of the pool in a gevent process; 0 runs everything in the calling thread, for a process
        that forks later."""
        self.engine = engine
        self._threads = threads if engine.dialect.name == "sqlite" and monkey.is_module_patched("threading") else 0
        self._pool: Any = None

    def run(self, work: Callable[[Session], T], *, write: bool = False) -> T:
        """Call `work` in a fresh session; commits at the end, rolls back on any error.

        `write` takes SQLite's write lock at the start: needed where work reads before it writes. Nothing of the
        session may be kept. Raises Unavailable where the database cannot be used (gone, locked, full, corrupt).
        """
        if not self._threads:
            return self._transact(work, write)
        if self._pool is None:
            self._pool = ThreadPool(self._threads)
        context = contextvars.copy_context()
        result, error = self._pool.apply(_outcome, (context.run, self._transact, work, write))
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _transact(self, work: Callable[[Session], T], write: bool) -> T:
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                session.connection(execution_options={BEGIN: "IMMEDIATE"} if write else {})
                return work(session)
        except (sa.IntegrityError, sa.ProgrammingError, sa.DataError):
            raise
        except (sa.DBAPIError, sa.TimeoutError) as error:
            raise Unavailable("the database cannot be used at the moment", code="database_unavailable") from error


def _outcome(call: Callable[..., T], *args: Any) -> tuple[T | None, BaseException | None]:
    # An error that is raised in the pool would be printed by the hub as well as raised.
    try:
        return call(*args), None
    except BaseException as error:
        return None, error


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
