from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tokenhub.errors import ConfigurationError, Unavailable
from tokenhub.storage.database import Database, engine_for, journal_mode

ROOT = Path(__file__).parents[3]
INSERT = text("INSERT INTO seeds (kind, id, digest) VALUES ('model', :id, '')")
COUNT = text("SELECT count(*) FROM seeds")


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "TRUNCATE"),
        ((3, 44, 5), "TRUNCATE"),
        ((3, 44, 6), "WAL"),
        ((3, 45, 0), "TRUNCATE"),
        ((3, 50, 6), "TRUNCATE"),
        ((3, 50, 7), "WAL"),
        ((3, 51, 0), "TRUNCATE"),
        ((3, 51, 2), "TRUNCATE"),
        ((3, 51, 3), "WAL"),
        ((3, 52, 0), "WAL"),
    ],
)
def test_the_journal_mode_follows_the_sqlite_build(version, mode):
    assert journal_mode(version) == mode


def test_every_connection_has_foreign_keys_its_journal_mode_and_a_busy_timeout(database):
    def read(session):
        return [session.scalar(text(f"PRAGMA {name}")) for name in ("foreign_keys", "journal_mode", "busy_timeout")]

    for _ in range(2):
        assert database.run(read) == [1, journal_mode(sqlite3.sqlite_version_info).lower(), 50]


def test_work_is_committed_at_the_end_and_its_result_given(database):
    assert database.run(lambda session: session.execute(INSERT, {"id": "a"}).rowcount) == 1
    assert database.run(lambda session: session.scalar(COUNT)) == 1


def test_work_that_fails_leaves_nothing_behind(database):
    def work(session):
        session.execute(INSERT, {"id": "a"})
        raise KeyError("stop")

    with pytest.raises(KeyError):
        database.run(work)
    assert database.run(lambda session: session.scalar(COUNT)) == 0


def test_a_broken_rule_of_the_schema_is_not_told_as_an_outage(database):
    database.run(lambda session: session.execute(INSERT, {"id": "a"}))
    with pytest.raises(IntegrityError):
        database.run(lambda session: session.execute(INSERT, {"id": "a"}))


def test_an_error_of_the_database_never_shows_the_data(database):
    database.run(lambda session: session.execute(INSERT, {"id": "CANARY"}))
    with pytest.raises(IntegrityError) as caught:
        database.run(lambda session: session.execute(INSERT, {"id": "CANARY"}))
    assert "CANARY" not in str(caught.value)


def test_an_engine_connects_to_nothing_and_a_missing_folder_is_an_outage_that_ends(tmp_path):
    folder = tmp_path / "later"
    database = Database(engine_for(str(folder / "hub.sqlite")))
    with pytest.raises(Unavailable):
        database.run(lambda session: session.scalar(text("SELECT 1")))
    folder.mkdir()
    with pytest.raises(Unavailable):
        database.run(lambda session: session.scalar(text("SELECT 1")))
    assert not any(folder.iterdir()), "an empty database was made"
    sqlite3.connect(folder / "hub.sqlite").close()
    assert database.run(lambda session: session.scalar(text("SELECT 1"))) == 1


def test_a_file_that_is_no_database_is_an_outage(tmp_path):
    (tmp_path / "hub.sqlite").write_bytes(b"not a database, but long enough to be looked at " * 50)
    with pytest.raises(Unavailable, match="cannot be used"):
        Database(engine_for(str(tmp_path / "hub.sqlite"))).run(lambda session: session.scalar(COUNT))


def test_a_locked_database_is_an_outage_after_the_busy_timeout(database, path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable) as caught:
            database.run(lambda session: session.execute(INSERT, {"id": "a"}), write=True)
    assert caught.value.code == "database_unavailable"


def test_write_takes_the_lock_before_it_reads(database, path):
    def work(session):
        session.scalar(COUNT)
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError):
            other.execute("INSERT INTO seeds VALUES ('model', 'b', '')")
        session.execute(INSERT, {"id": "a"})

    database.run(work, write=True)
    assert database.run(lambda session: session.scalar(COUNT)) == 1


@pytest.mark.parametrize("url", ["nonsense://x", "sqlite://", "sqlite:///:memory:", "", "postgresql+nothing://h/d"])
def test_a_url_that_cannot_be_used_is_told_at_once(url):
    with pytest.raises(ConfigurationError, match="TOKENHUB_DB_DSN"):
        engine_for(url)


def test_a_url_with_a_password_does_not_show_it():
    with pytest.raises(ConfigurationError) as caught:
        engine_for("postgresql+nothing://user:CANARY@host/database")
    assert "CANARY" not in str(caught.value)


IN_A_GEVENT_PROCESS = """
from gevent import monkey
monkey.patch_all()
import contextvars, sys, time, gevent
from sqlalchemy import text
from tokenhub.errors import Unavailable
from tokenhub.runtime.offload import ThreadOffload
from tokenhub.storage.database import Database, engine_for
get_native_id = monkey.get_original("threading", "get_native_id")

path, threads = sys.argv[1], int(sys.argv[2])
database = Database(engine_for(path), ThreadOffload(threads)) if threads else Database(engine_for(path))
name = contextvars.ContextVar("name")
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.005)
        ticks += 1

def slow(session):
    connection = session.connection().connection.dbapi_connection
    connection.create_function("nap", 0, lambda: monkey.get_original("time", "sleep")(0.2) or 1)
    return session.scalar(text("SELECT nap()")), name.get(), get_native_id() == main

def caller():
    name.set("of the caller")
    return database.run(slow)

main = get_native_id()
gevent.spawn(tick)
jobs = [gevent.spawn(caller) for _ in range(3)]
gevent.joinall(jobs, raise_error=True)
print([job.value for job in jobs], ticks >= 10)
try:
    database.run(lambda session: session.scalar(text("SELECT * FROM absent")))
except Unavailable as error:
    print(error.code)
"""


@pytest.mark.parametrize(("threads", "is_main", "is_moving"), [(4, False, True), (0, True, False)])
def test_in_a_gevent_process_work_leaves_the_hub_alone_unless_threads_are_forbidden(path, threads, is_main, is_moving):
    done = subprocess.run(
        [sys.executable, "-c", IN_A_GEVENT_PROCESS, str(path), str(threads)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    value = (1, "of the caller", is_main)
    assert done.stdout.splitlines() == [f"{[value] * 3} {is_moving}", "database_unavailable"]
