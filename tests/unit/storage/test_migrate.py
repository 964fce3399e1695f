from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tokenhub.errors import ConfigurationError
from tokenhub.storage import migrate
from tokenhub.storage.database import engine_for
from tokenhub.storage.migrate import upgrade
from tokenhub.storage.rows import Base

ROOT = Path(__file__).parents[3]

UPGRADE = "import sys; from tokenhub.storage.migrate import upgrade; upgrade(sys.argv[1])"
KILLED_AT_A_STATEMENT = """
import os, signal, sys
from sqlalchemy import Engine, event
from tokenhub.storage.migrate import upgrade

@event.listens_for(Engine, "after_cursor_execute")
def stop(connection, cursor, statement, *rest):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(sys.argv[1])
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def query(path: Path, statement: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def tables(path: Path) -> set[str]:
    return {name for (name,) in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}


ALL = {"aliases", "alembic_version", "models", "providers", "request_log", "routing_defaults", "seeds"}


def test_an_upgrade_makes_the_tables_and_a_second_one_changes_nothing(tmp_path):
    path = tmp_path / "with a space and 100%.sqlite"
    upgrade(str(path))
    assert tables(path) == ALL
    query(path, "INSERT INTO seeds VALUES ('model', 'a', 'b')")
    upgrade(f"sqlite:///{path}")
    assert query(path, "SELECT * FROM seeds") == [("model", "a", "b")]


def test_the_migrations_make_exactly_the_tables_of_the_rows(path):
    with engine_for(str(path)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@pytest.mark.parametrize("statement", ["CREATE TABLE models", "CREATE TABLE seeds", "INSERT INTO alembic_version"])
def test_a_kill_half_way_leaves_nothing_and_the_next_start_does_it_all(tmp_path, statement):
    path = tmp_path / "hub.sqlite"
    process = start(KILLED_AT_A_STATEMENT, str(path), statement)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert tables(path) == set()
    upgrade(str(path))
    assert tables(path) == ALL


def test_four_starts_at_once_all_end_well(tmp_path):
    path = tmp_path / "hub.sqlite"
    processes = [start(UPGRADE, str(path)) for _ in range(4)]
    ends = [(process.communicate(timeout=60), process.returncode) for process in processes]
    assert ends == [(("", ""), 0)] * 4
    assert query(path, "SELECT count(*) FROM alembic_version") == [(1,)]


def test_a_database_of_a_newer_version_is_refused_in_one_line_and_left_alone(path):
    query(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer TokenHub .*9999") as caught:
        upgrade(str(path))
    assert "\n" not in str(caught.value)
    assert query(path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_database_that_cannot_be_used_is_told_in_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match="TOKENHUB_DB_DSN: the database cannot be used") as caught:
        upgrade(str(tmp_path / "no/such/folder/hub.sqlite"))
    assert "\n" not in str(caught.value)


def damage(path: Path, table: str) -> None:
    """Overwrite the page at which a table begins."""
    ((page, size),) = query(
        path, f"SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = '{table}'"
    )
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_damaged_database_is_refused_in_one_line(path, monkeypatch, is_large):
    if is_large:
        monkeypatch.setattr(migrate, "CHECKED_WHOLE_BYTES", 0)
    upgrade(str(path))
    damage(path, "models")
    with pytest.raises(ConfigurationError, match="the database is damaged .*: restore it from a backup") as caught:
        upgrade(str(path))
    assert "\n" not in str(caught.value)


def test_the_log_of_a_large_database_is_not_read_at_start(path, monkeypatch):
    damage(path, "request_log")
    with pytest.raises(ConfigurationError, match="is damaged"):
        upgrade(str(path))
    monkeypatch.setattr(migrate, "CHECKED_WHOLE_BYTES", 0)
    upgrade(str(path))


def test_what_is_no_database_is_damaged(tmp_path):
    (tmp_path / "broken.sqlite").write_bytes(b"not a database, but long enough to be looked at " * 50)
    with pytest.raises(ConfigurationError, match="is damaged .file is not a database.: restore it"):
        upgrade(str(tmp_path / "broken.sqlite"))
