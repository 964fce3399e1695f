"""What the greenlets of one hub write in one turn goes into one transaction."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from tokenhub.domain.ports import Rate
from tokenhub.errors import Unavailable
from tokenhub.state import sqlite
from tokenhub.state.sqlite import SqliteDriver, SqliteState

COUNT = "SELECT value FROM meta WHERE name = 'epoch'"
RAISE = "UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value"


@pytest.fixture
def driver(path):
    driver = SqliteDriver(str(path), sleep=time.sleep, busy_wait_s=0.2, group_commit=True)
    yield driver
    driver.close()


@pytest.fixture
def sizes(monkeypatch):
    """How many works each transaction had."""
    found: list[int] = []
    real = sqlite._transact

    def counted(cursor: Any, entries: Any) -> None:
        found.append(len(entries))
        real(cursor, entries)

    monkeypatch.setattr(sqlite, "_transact", counted)
    return found


def raised(execute: Any) -> int:
    return int(execute(RAISE, ())[0][0])


def fails(execute: Any) -> None:
    raised(execute)
    raise KeyError("a bug")


def test_what_comes_in_one_turn_is_one_transaction_and_each_gets_its_own_result(driver, sizes):
    found = [gevent.spawn(driver.write, raised) for _ in range(10)]
    assert [one.get() for one in found] == list(range(2, 12))
    assert sizes == [10]
    assert driver.write(raised) == 12 and sizes == [10, 1]


def test_one_that_raises_undoes_its_own_work_and_nobody_elses(driver, sizes):
    found = [gevent.spawn(driver.write, work) for work in (raised, fails, raised)]
    gevent.joinall(found)
    assert [one.value for one in found] == [2, None, 3] and isinstance(found[1].exception, KeyError)
    assert sizes == [3] and driver.read(COUNT) == [(3,)]


def test_nothing_is_done_for_a_greenlet_that_was_ended_before_its_turn(driver, sizes):
    ended, kept = gevent.spawn(driver.write, raised), gevent.spawn(driver.write, raised)
    # Callbacks are run in order: both greenlets begin to wait, this one ends the first, and only then comes the turn.
    gevent.get_hub().loop.run_callback(ended.throw, gevent.GreenletExit)
    gevent.joinall([ended, kept])
    assert sizes == [1] and kept.value == 2 and driver.read(COUNT) == [(2,)]


def test_a_lock_is_waited_for_while_the_hub_goes_on(driver, locked):
    ticks = []

    def tick():
        while True:
            gevent.sleep(0.002)
            ticks.append(time.monotonic())

    ticking = gevent.spawn(tick)
    with locked():
        found = [gevent.spawn(driver.write, raised) for _ in range(5)]
        gevent.joinall(found)
        assert all(isinstance(one.exception, Unavailable) for one in found)
    assert len(ticks) > 20 and max(b - a for a, b in zip(ticks, ticks[1:], strict=False)) < 0.1
    ticking.kill()
    assert driver.write(raised) == 2


def test_what_waits_goes_through_as_soon_as_the_lock_is_gone(driver, locked):
    with locked():
        found = [gevent.spawn(driver.write, raised) for _ in range(3)]
        gevent.sleep(0.02)
    gevent.joinall(found)
    assert sorted(one.value for one in found) == [2, 3, 4]


def test_a_state_that_is_gone_is_told_to_each(driver, path):
    path.unlink()
    found = [gevent.spawn(driver.write, raised) for _ in range(3)]
    gevent.joinall(found)
    assert {getattr(one.exception, "code", None) for one in found} == {"state_unavailable"}


def test_whatever_goes_wrong_with_the_transaction_nobody_waits_for_ever(driver, monkeypatch):
    def broken(cursor: Any, entries: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(sqlite, "_transact", broken)
    found = [gevent.spawn(driver.write, raised) for _ in range(3)]
    gevent.joinall(found, timeout=5)
    assert [type(one.exception) for one in found] == [RuntimeError] * 3


def test_a_refusal_gives_back_what_it_took_and_leaves_the_neighbours_alone(path):
    state = SqliteState(path, worker_id="w1", group_commit=True)
    rates = (Rate("a", 1, 3), Rate("b", 1, 1))
    found = [gevent.spawn(state.take, rates) for _ in range(3)]
    gevent.joinall(found)
    assert [one.value and one.value.name for one in found] == [None, "b", "b"]
    # Of "a" one was taken, not three.
    assert [state.take(rates[:1]) is None for _ in range(3)] == [True, True, False]
    state.close()
