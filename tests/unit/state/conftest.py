"""A state file with one key, and ways to do it harm."""

from __future__ import annotations

import contextlib

import apsw
import pytest

from tokenhub.domain.keys import ApiKey
from tokenhub.state.sqlite import SqliteState
from tokenhub.state.sqlite_file import open_schema

SECRET = b"s" * 32


def furnish(path):
    """Make the state file and put one key in it."""
    open_schema(path)
    state = SqliteState(path, worker_id="setup")
    state.add_key(ApiKey("k1", "a key", "tokenhub_abcd", ("chat",), 1, True, 1000), SECRET)
    state.close()


@pytest.fixture
def path(tmp_path):
    furnish(tmp_path / "state.sqlite")
    return tmp_path / "state.sqlite"


@pytest.fixture
def naps():
    """What the state asked its sleep for."""
    return []


@pytest.fixture
def state(path, naps):
    state = SqliteState(path, worker_id="w1", sleep=naps.append)
    yield state
    state.close()


@pytest.fixture
def locked(path):
    """A context in which another connection holds the write lock."""

    @contextlib.contextmanager
    def lock():
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
        other.close()

    return lock
