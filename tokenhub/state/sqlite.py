"""The state in an SQLite file on one host: a thin driver over apsw, which bundles a build without the WAL-reset bug.

Only this package opens the file, and only with apsw: two copies of SQLite in one process would break its locks. The
connection's own busy handler is off, because it sleeps in C and stops a whole gevent hub: whoever meets a lock sleeps
with the `sleep` that was given, outside of any transaction. Between BEGIN and COMMIT nothing waits.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from tokenhub.errors import Unavailable
from tokenhub.state import schema
from tokenhub.state.coordination import sweep
from tokenhub.state.driver import Execute, Row
from tokenhub.state.group_commit import FIRST_PAUSE_S, LONGEST_PAUSE_S, Entry, GroupCommit, Locked
from tokenhub.state.ledger import Ledger

T = TypeVar("T")

HOUSEKEEPING_WAIT_MS, RESTART_WAIT_MS = 2_000, 100


def wall_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def uptime_ms() -> int:
    """Milliseconds of a clock that nobody sets and that all processes of this machine share."""
    return time.monotonic_ns() // 1_000_000


class SqliteDriver:
    """One connection to the state file, opened late and again after it broke. Made for one process: it is closed
    before a fork. Threads may share it; greenlets never meet in a transaction."""

    def __init__(
        self,
        path: str,
        *,
        sleep: Callable[[float], object],
        busy_wait_s: float,
        busy_timeout_ms: int = 0,
        group_commit: bool = False,
    ) -> None:
        self._path = path
        self._sleep = sleep
        self._busy_wait_s = busy_wait_s
        self._busy_timeout_ms = busy_timeout_ms
        self._lock = threading.Lock()
        self._cursor: apsw.Cursor | None = None
        self._file: tuple[int, int] | None = None
        self._group_commit = GroupCommit(self._commit, busy_wait_s=busy_wait_s) if group_commit else None

    def write(self, work: Callable[[Execute], T]) -> T:
        """Run `work` between BEGIN IMMEDIATE and COMMIT; on any exception undo what it did."""
        if self._group_commit is not None:
            return self._group_commit(work)
        entry = Entry(work)
        self._patiently(lambda cursor: _transact(cursor, (entry,)))
        return entry.outcome()

    def _commit(self, entries: Sequence[Entry[Any]]) -> None:
        """One transaction for all of them. Raises Locked."""
        try:
            self._once(lambda cursor: _transact(cursor, entries))
        except apsw.BusyError as error:
            raise Locked from error
        except (apsw.Error, Unavailable) as error:
            for entry in entries:
                entry.error = _translated(error)

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement outside of any transaction."""
        return self._patiently(lambda cursor: cursor.execute(statement, parameters).fetchall())

    def checkpoint(self) -> None:
        """Move the write-ahead log into the file and start it anew, if no long read stands in the way. Waits in C:
        never on a hub."""

        def work(cursor: apsw.Cursor) -> None:
            # PASSIVE does the long part without holding a lock, RESTART the little that came meanwhile. It waits for
            # readers with the write lock in its hand: not long, or somebody's backup would stop all workers.
            cursor.connection.set_busy_timeout(RESTART_WAIT_MS)
            with contextlib.suppress(apsw.BusyError):
                cursor.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                cursor.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            cursor.connection.set_busy_timeout(self._busy_timeout_ms)

        self._patiently(work)

    def close(self) -> None:
        """Give the connection up; the next call opens another."""
        with self._lock:
            self._drop()

    def _patiently(self, step: Callable[[apsw.Cursor], T]) -> T:
        """Take a step; while another process writes, sleep and take it again."""
        waited_s, pause_s = 0.0, FIRST_PAUSE_S
        while True:
            try:
                return self._once(step)
            except apsw.BusyError as error:
                if waited_s >= self._busy_wait_s:
                    raise _translated(error) from error
            except apsw.Error as error:
                raise _translated(error) from error
            self._sleep(pause_s)
            waited_s, pause_s = waited_s + pause_s, min(2 * pause_s, LONGEST_PAUSE_S)

    def _once(self, step: Callable[[apsw.Cursor], T]) -> T:
        with self._lock:
            try:
                return step(self._good_cursor())
            except (apsw.BusyError, apsw.FullError):
                raise
            except apsw.Error:
                self._drop()
                raise

    def _good_cursor(self) -> apsw.Cursor:
        """A cursor on the file that has the path now: writes to one that was deleted would be lost quietly."""
        try:
            status = os.stat(self._path)
        except OSError as error:
            self._drop()
            raise _unavailable("the state cannot be found") from error
        file = (status.st_dev, status.st_ino)
        if self._cursor is None or self._file != file:
            self._drop()
            self._cursor, self._file = self._open().cursor(), file
        return self._cursor

    def _open(self) -> apsw.Connection:
        _guard_forks()
        connection = apsw.Connection(self._path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(self._busy_timeout_ms)
            # Closing must not checkpoint: that is an fsync on the hub, and of a file that may just have broken.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            for pragma in ("PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 0"):
                connection.execute(pragma).fetchall()
            if connection.execute(schema.READ_VERSION).fetchall() != [(schema.VERSION,)]:
                raise _unavailable("the state has another version's form")
        except BaseException:
            connection.close(force=True)
            raise
        _open_drivers.add(self)
        return connection

    def _drop(self) -> None:
        cursor, self._cursor, self._file = self._cursor, None, None
        if cursor is not None:
            with contextlib.suppress(apsw.Error):
                cursor.connection.close(force=True)


class SqliteState(Ledger):
    """The port `State` on an SQLite file that `open_schema` made. Opens nothing before the first call."""

    def __init__(
        self,
        path: str | Path,
        *,
        worker_id: str,
        clock_ms: Callable[[], int] = wall_ms,
        uptime_ms: Callable[[], int] = uptime_ms,
        sleep: Callable[[float], object] = time.sleep,
        busy_wait_s: float = 2.0,
        group_commit: bool = False,
    ) -> None:
        """`busy_wait_s`: how long a call waits for another writer, by `sleep`, before it raises Unavailable.
        `group_commit`: whether all calls come from greenlets of one hub, whose writes then share transactions."""
        self._path = str(path)
        driver = SqliteDriver(self._path, sleep=sleep, busy_wait_s=busy_wait_s, group_commit=group_commit)
        super().__init__(driver, worker_id=worker_id, clock_ms=clock_ms, uptime_ms=uptime_ms)

    def housekeeping(self) -> None:
        """Checkpoint, and sweep out what is stale, on a connection of its own that waits in C: a job for a real thread
        of one worker, about once a second. Raises Unavailable."""
        driver = SqliteDriver(self._path, sleep=time.sleep, busy_wait_s=0.0, busy_timeout_ms=HOUSEKEEPING_WAIT_MS)
        try:
            driver.checkpoint()
            # At once: the first writer after a checkpoint syncs the log's header, and that must not be a hub.
            sweep(driver, self._uptime_ms())
        finally:
            driver.close()


def _transact(cursor: apsw.Cursor, entries: Sequence[Entry[Any]]) -> None:
    """Run all of them in one transaction. One that raises is undone alone, and keeps its error for its owner."""

    def execute(statement: str, parameters: Sequence[object]) -> list[Row]:
        return cursor.execute(statement, parameters).fetchall()

    cursor.execute("BEGIN IMMEDIATE")
    try:
        for entry in entries:
            cursor.execute("SAVEPOINT one")
            try:
                entry.run(execute)
            except apsw.Error:
                raise
            except Exception as error:  # Whatever it is: its owner gets it, in their own greenlet.
                entry.error = error
                cursor.execute("ROLLBACK TO one")
            cursor.execute("RELEASE one")
        cursor.execute("COMMIT")
    except BaseException:
        if cursor.connection.in_transaction:  # A full disk has rolled back already.
            cursor.execute("ROLLBACK")
        raise


def _translated(error: Exception) -> Unavailable:
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, apsw.BusyError):
        return _unavailable("the state is locked")
    if isinstance(error, apsw.FullError):
        return _unavailable("the state has no room left")
    return _unavailable("the state cannot be used at the moment")


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, code="state_unavailable")


_open_drivers: weakref.WeakSet[SqliteDriver] = weakref.WeakSet()


@functools.cache
def _guard_forks() -> None:
    """A child must not have its parent's connection: SQLite's locks belong to the process that took them."""
    os.register_at_fork(before=_close_all)


def _close_all() -> None:
    for driver in list(_open_drivers):
        driver.close()
