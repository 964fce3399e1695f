"""State files of earlier versions: what a start makes of them, also one that is killed half way."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from tokenhub.domain.keys import ApiKey
from tokenhub.domain.ports import Opening
from tokenhub.errors import ConfigurationError, Unavailable
from tokenhub.state import schema
from tokenhub.state.sqlite import SqliteState
from tokenhub.state.sqlite_file import open_schema

ROOT = Path(__file__).parents[3]
SECRET = b"s" * 32
FORM_1 = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value BIGINT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE api_keys (
        id TEXT PRIMARY KEY NOT NULL, key_hash BYTEA NOT NULL UNIQUE, name TEXT NOT NULL, prefix TEXT NOT NULL,
        scopes TEXT NOT NULL, version BIGINT NOT NULL, enabled BIGINT NOT NULL, created_at_ms BIGINT NOT NULL,
        last_used_at_ms BIGINT, expires_at_ms BIGINT, rotation_days BIGINT NOT NULL, monthly_budget_nanousd BIGINT,
        budget_reset_at_ms BIGINT, rate_limit_rps BIGINT NOT NULL, allowed_models TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE budgets (
        key_id TEXT NOT NULL, period_at_ms BIGINT NOT NULL, spent_nanousd BIGINT NOT NULL,
        reserved_nanousd BIGINT NOT NULL, PRIMARY KEY (key_id, period_at_ms)
    ) WITHOUT ROWID""",
    """CREATE TABLE requests (
        decision_id TEXT PRIMARY KEY NOT NULL, worker_id TEXT NOT NULL, opened_ms BIGINT NOT NULL, key_id TEXT NOT NULL,
        period_at_ms BIGINT NOT NULL, reserved_nanousd BIGINT NOT NULL, kept_nanousd BIGINT NOT NULL,
        doubtful_nanousd BIGINT NOT NULL, receipt BYTEA NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE rates (name TEXT PRIMARY KEY NOT NULL, tat_ns BIGINT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE leases (
        name TEXT PRIMARY KEY NOT NULL, holder TEXT NOT NULL, renewed_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE workers (
        worker_id TEXT PRIMARY KEY NOT NULL, pid BIGINT NOT NULL, renewed_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE settings (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE provider_keys (provider_id TEXT PRIMARY KEY NOT NULL, sealed BYTEA NOT NULL) WITHOUT ROWID",
    """CREATE TABLE outbox (
        decision_id TEXT PRIMARY KEY NOT NULL, settled_at_ms BIGINT NOT NULL, receipt BYTEA NOT NULL
    )""",
    "CREATE INDEX api_keys_by_age ON api_keys (created_at_ms, id)",
    "CREATE INDEX outbox_by_age ON outbox (settled_at_ms)",
    "INSERT INTO meta VALUES ('schema', 1), ('epoch', 41)",
    """INSERT INTO api_keys VALUES ('k1', X'"""
    + SECRET.hex()
    + """', 'a key', 'tokenhub_abcd', '["chat"]', 3, 1, 1000, NULL, NULL, 0, 5000, NULL, 7, '["m"]')""",
    "INSERT INTO settings VALUES ('TOKENHUB_LOG_LEVEL', 'debug')",
)
"""A state file as the first version made it, with a key in it."""
OLD_KEY = ApiKey(
    "k1",
    "a key",
    "tokenhub_abcd",
    ("chat",),
    3,
    True,
    1000,
    monthly_budget_nanousd=5000,
    rate_limit_rps=7,
    allowed_models=("m",),
)
KILLED_AT_A_STATEMENT = """
import os, signal, sys, apsw
from tokenhub.state.sqlite_file import open_schema

def stop(connection):
    def trace(cursor, statement, bindings):
        if sys.argv[2] in statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return True
    connection.exec_trace = trace

apsw.connection_hooks.append(stop)
open_schema(sys.argv[1])
"""


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "state.sqlite"
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("PRAGMA page_size = 2048")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        for statement in FORM_1:
            connection.execute(statement)
    return path


def query(path, statement):
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        return connection.execute(statement).fetchall()


def form_of(path):
    """The version, and the columns of keys."""
    columns = [name for (name,) in query(path, "SELECT name FROM pragma_table_info('api_keys')")]
    return query(path, schema.READ_VERSION)[0][0], columns


def test_a_state_of_the_first_version_is_upgraded_and_keeps_everything(old):
    open_schema(old)
    state = SqliteState(old, worker_id="w1")
    assert state.key_by_hash(SECRET) == OLD_KEY
    assert (state.epoch(), state.settings()) == (41, {"TOKENHUB_LOG_LEVEL": "debug"})
    assert state.admit(Opening("d1", "k1", 3, 5, 0, {"id": "d1"})) is None
    assert state.change_key("k1", {"policy": {"mode": "cheap"}}).policy == {"mode": "cheap"}
    state.close()
    open_schema(old)
    assert form_of(old)[0] == schema.VERSION
    assert query(old, "PRAGMA integrity_check") == [("ok",)]


def test_an_upgraded_state_has_the_tables_of_a_new_one(old, tmp_path):
    open_schema(old)
    open_schema(tmp_path / "new.sqlite")
    described = "SELECT m.name, p.* FROM sqlite_schema AS m, pragma_table_info(m.name) AS p ORDER BY 1, 2"
    assert query(old, described) == query(tmp_path / "new.sqlite", described)
    indexes = "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY 1"
    assert query(old, indexes) == query(tmp_path / "new.sqlite", indexes)


def test_there_is_an_upgrade_from_every_earlier_version():
    assert sorted(schema.UPGRADES) == list(range(1, schema.VERSION))


@pytest.mark.parametrize("statement", ["COLUMN policy TEXT", "COLUMN policy_ceilings", schema.WRITE_VERSION, "COMMIT"])
def test_a_kill_half_way_leaves_the_earlier_form_and_the_next_start_does_it_all(old, statement):
    before = form_of(old)
    process = subprocess.run([sys.executable, "-c", KILLED_AT_A_STATEMENT, str(old), statement], cwd=ROOT, timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert form_of(old) == before and before[0] == 1
    open_schema(old)
    state = SqliteState(old, worker_id="w1")
    assert state.key("k1") == OLD_KEY
    state.close()


def test_four_starts_at_once_upgrade_it_once(old):
    context = multiprocessing.get_context("fork")
    starts = [context.Process(target=open_schema, args=(old,)) for _ in range(4)]
    for one in starts:
        one.start()
    for one in starts:
        one.join()
    assert [one.exitcode for one in starts] == [0] * 4
    assert query(old, "SELECT count(*), min(policy) FROM api_keys") == [(1, "{}")]


@pytest.mark.parametrize("version", [0, schema.VERSION + 1])
def test_a_form_that_is_not_known_is_refused_and_left_alone(old, version):
    query(old, f"UPDATE meta SET value = {version} WHERE name = 'schema'")  # noqa: S608 - two integers
    before = form_of(old)
    with pytest.raises(ConfigurationError, match=f"its form is {version}") as caught:
        open_schema(old)
    assert "\n" not in str(caught.value)
    assert form_of(old) == before


def test_a_worker_does_not_touch_a_state_that_no_start_has_upgraded(old):
    state = SqliteState(old, worker_id="w1")
    with pytest.raises(Unavailable):
        state.epoch()
    open_schema(old)
    assert state.epoch() == 41
    state.close()
