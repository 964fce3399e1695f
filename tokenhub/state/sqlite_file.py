"""The state's SQLite file: made, upgraded or checked in the master, before any worker. Its use is in sqlite.py."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw

from tokenhub.errors import ConfigurationError
from tokenhub.state import schema

START_WAIT_MS = 10_000
CHECKED_WHOLE_BYTES = 256 * 1024 * 1024
CHECK_ALL_BUT_OUTBOX = """SELECT found.quick_check FROM sqlite_schema AS t, pragma_quick_check(t.name) AS found
    WHERE t.type = 'table' AND t.name <> 'outbox'"""


def open_schema(path: str | Path) -> None:
    """Create the state file (0600) and its tables, or check those that are there. For the master, before any worker;
    several at once take turns.

    Raises ConfigurationError where the file cannot be read and written, is damaged, or has a newer form than this code
    knows. Closes what it opens.
    """
    name = str(path)
    try:
        with _alone_in(os.path.dirname(name) or "."):
            _create_private(name)
            connection = apsw.Connection(name, flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                _prepare(connection, name)
            finally:
                connection.close(force=True)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _damaged(name, str(error)) from error
    except (apsw.Error, OSError) as error:
        raise ConfigurationError(name, f"the state file cannot be used ({error})") from error


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_private(path: str) -> None:
    if os.path.exists(path):
        # Not opened: closing any descriptor of the file would drop the locks that this process has on it.
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode & ~0o600:
            os.chmod(path, mode & 0o600)
        return
    for leftover in (path + "-wal", path + "-shm"):  # Of a file that was deleted: they would be taken for ours.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(leftover)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _prepare(connection: apsw.Connection, path: str) -> None:
    connection.set_busy_timeout(START_WAIT_MS)
    # Rows are small and every transaction writes a page of each table it touches: half pages, half the bytes.
    connection.execute("PRAGMA page_size = 2048")
    _check(connection, path)
    if connection.execute("PRAGMA journal_mode = WAL").fetchall() != [("wal",)]:
        raise ConfigurationError(path, "the file system cannot hold an SQLite file in WAL mode")
    connection.execute("BEGIN IMMEDIATE")
    # WITHOUT ROWID: one tree a table instead of two, so less to write in each transaction. Large rows do not gain.
    connection.execute(schema.META + " WITHOUT ROWID")
    connection.execute(schema.FIRST_ROWS, (schema.VERSION,))
    found = int(connection.execute(schema.READ_VERSION).get)
    if not 1 <= found <= schema.VERSION:
        raise ConfigurationError(path, f"its form is {found}, this TokenHub knows {schema.VERSION}: run a newer one")
    for version in range(found, schema.VERSION):
        for statement in schema.UPGRADES[version]:
            connection.execute(statement)
        connection.execute(schema.WRITE_VERSION, (version + 1,))
    for table in schema.TABLES:
        connection.execute(table + " WITHOUT ROWID")
    for statement in (schema.OUTBOX, *schema.INDEXES):
        connection.execute(statement)
    connection.execute("COMMIT")


def _check(connection: apsw.Connection, path: str) -> None:
    """Refuse a damaged file. One that a long outage of the database made large is checked without its outbox."""
    pages, page_bytes = (connection.execute(f"PRAGMA {name}").get for name in ("page_count", "page_size"))
    whole = int(pages) * int(page_bytes) <= CHECKED_WHOLE_BYTES
    told = connection.execute("PRAGMA quick_check(1)" if whole else CHECK_ALL_BUT_OUTBOX).fetchall()
    if problems := [str(line) for (line,) in told if line != "ok"]:
        raise _damaged(path, problems[0].splitlines()[-1])


def _damaged(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(path, f"the state file is damaged ({why}): restore it from a backup")
