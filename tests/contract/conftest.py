"""The state under test, whatever database it is on: `house.state()` is one worker's, `house.check()` its integrity."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import gevent
import pytest

from tokenhub.domain.keys import ApiKey
from tokenhub.domain.ports import Opening, Rate
from tokenhub.state.sqlite import SqliteState
from tokenhub.state.sqlite_file import open_schema

DOLLAR = 1_000_000_000


class SqliteHouse:
    """An empty state, and the two clocks that all its workers read."""

    group_commit = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.sqlite"
        self.now_ms = int(datetime(2025, 3, 15, 12, tzinfo=UTC).timestamp()) * 1000
        self.up_ms = 500_000
        self._states: list[SqliteState] = []
        open_schema(self.path)

    def state(self, worker_id: str = "w1", busy_wait_s: float = 2.0) -> SqliteState:
        state = SqliteState(
            self.path,
            worker_id=worker_id,
            clock_ms=lambda: self.now_ms,
            uptime_ms=lambda: self.up_ms,
            busy_wait_s=busy_wait_s,
            group_commit=self.group_commit,
        )
        self._states.append(state)
        return state

    def pass_s(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.up_ms += round(seconds * 1000)

    def at_once(self, count: int, work: Callable[[int], None]) -> None:
        """Do the work `count` times at once, in threads of one process."""
        threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    def hear_all(self) -> None:
        """Let so much time pass, in which the state can be reached, that every worker that lives has said so."""
        witness = self.state("witness")
        for _ in range(3):
            witness.alive("witness", 1, 20)
            self.pass_s(5)

    def check(self) -> None:
        connection = apsw.Connection(str(self.path))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()

    def close(self) -> None:
        for state in self._states:
            state.close()


class GroupCommitHouse(SqliteHouse):
    """The same as gunicorn's workers have it: what comes in one turn of the hub is one transaction."""

    group_commit = True

    def at_once(self, count: int, work: Callable[[int], None]) -> None:
        """As above, in greenlets of one hub."""
        gevent.joinall([gevent.spawn(work, n) for n in range(count)], raise_error=True)


HOUSES = {"sqlite": SqliteHouse, "sqlite-group-commit": GroupCommitHouse}


@pytest.fixture(params=HOUSES)
def house(request, tmp_path):
    house = HOUSES[request.param](tmp_path)
    yield house
    house.close()


@pytest.fixture
def state(house):
    return house.state()


@pytest.fixture
def in_processes():
    """Run a function of one number in processes of their own, all at once; gives what each returned."""

    def run(count: int, function: Callable[[int], Any]) -> list[Any]:
        context = multiprocessing.get_context("fork")
        ends = [context.Pipe(duplex=False) for _ in range(count)]
        children = [
            context.Process(target=lambda n=n, end=end: (gevent.reinit(), end.send(function(n))))
            for n, (_, end) in enumerate(ends)
        ]
        for child in children:
            child.start()
        results = [receiver.recv() for receiver, _ in ends]
        for child in children:
            child.join()
        return results

    return run


def make_key(key_id: str = "k1", **fields: Any) -> ApiKey:
    given = {"name": "a key", "prefix": "tokenhub_abcd", "scopes": ("chat",), "version": 1, "enabled": True}
    return ApiKey(id=key_id, **{**given, "created_at_ms": 1_000, **fields})


def secret(key_id: str) -> bytes:
    return key_id.encode().ljust(32, b"#")


def opening(decision_id: str, reserve: int = 0, *, rates: tuple[Rate, ...] = (), **fields: Any) -> Opening:
    given = {"key_id": "k1", "key_version": 1, "doubtful_nanousd": 0, "receipt": {"id": decision_id, "model": "m"}}
    return Opening(decision_id=decision_id, reserve_nanousd=reserve, rates=rates, **{**given, **fields})
