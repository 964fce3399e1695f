"""The drainer: every receipt reaches the log once, whatever breaks in between."""

from __future__ import annotations

import pytest

from tokenhub.errors import Unavailable
from tokenhub.observability.drain import BATCH, Drain


class FakeState:
    """An outbox that forgets only what it is told to."""

    def __init__(self, receipts: list[dict]) -> None:
        self.waiting = list(receipts)
        self.fails = False

    def outbox(self, limit: int) -> list[dict]:
        return self.waiting[:limit]

    def outbox_done(self, decision_ids) -> None:
        if self.fails:
            raise Unavailable("state is down")
        self.waiting = [receipt for receipt in self.waiting if receipt["id"] not in decision_ids]


class FakeLog:
    """A log that keeps the first of each id, and refuses what it is told to refuse, as a transaction does."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}
        self.is_down = False
        self.poison: set[str] = set()

    def write(self, receipts) -> None:
        if self.is_down:
            raise Unavailable("database is down")
        if any(receipt["id"] in self.poison for receipt in receipts):
            raise ValueError("value out of range")
        for receipt in receipts:
            self.rows.setdefault(receipt["id"], receipt)


@pytest.fixture
def rig(a_receipt):
    """A drainer over fakes, with `count` receipts waiting."""

    class Rig:
        def __init__(self, count: int) -> None:
            self.state, self.log, self.seen = FakeState([a_receipt(f"dec_{n}") for n in range(count)]), FakeLog(), []
            self.drain = Drain(self.state, self.log, [self.seen.extend])

    return Rig


def test_receipts_move_to_the_log_and_the_sinks_and_leave_the_outbox(rig):
    it = rig(3)
    assert it.drain.run_once() == 3
    assert list(it.log.rows) == ["dec_0", "dec_1", "dec_2"]
    assert [receipt["id"] for receipt in it.seen] == ["dec_0", "dec_1", "dec_2"]
    assert it.state.waiting == []


def test_an_empty_outbox_touches_nothing(rig):
    it = rig(0)
    it.log.is_down = True
    assert it.drain.run_once() == 0
    assert it.seen == []


def test_a_long_outbox_moves_in_batches_oldest_first(rig):
    it = rig(BATCH + 20)
    assert it.drain.run_once() == BATCH
    assert it.drain.run_once() == 20
    assert list(it.log.rows) == [f"dec_{n}" for n in range(BATCH + 20)]


def test_a_database_that_is_down_loses_nothing(rig):
    it = rig(3)
    it.log.is_down = True
    with pytest.raises(Unavailable):
        it.drain.run_once()
    assert len(it.state.waiting) == 3
    assert it.seen == []
    it.log.is_down = False
    assert it.drain.run_once() == 3
    assert len(it.log.rows) == len(it.seen) == 3


def test_a_state_that_fails_after_the_write_leaves_one_row_each_and_is_counted_once(rig):
    it = rig(3)
    it.state.fails = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            it.drain.run_once()
    it.state.fails = False
    assert it.drain.run_once() == 3
    assert len(it.log.rows) == 3
    assert len(it.seen) == 3


def test_a_broken_sink_holds_up_neither_the_log_nor_the_other_sinks(rig):
    it = rig(2)
    seen = []
    drain = Drain(it.state, it.log, [lambda receipts: 1 / 0, seen.extend])
    assert drain.run_once() == 2
    assert len(seen) == 2
    assert it.state.waiting == []


def test_a_sink_that_finds_the_state_locked_is_a_line_and_no_traceback(rig, caplog):
    it = rig(2)

    def locked(receipts):
        raise Unavailable("the state is locked", code="state_unavailable")

    assert Drain(it.state, it.log, [locked]).run_once() == 2
    assert [(line.message, line.reason, line.exc_info) for line in caplog.records] == [
        ("sink_skipped", "state_unavailable", None)
    ]


def test_one_bad_receipt_stops_only_itself_and_is_never_thrown_away(rig):
    it = rig(3)
    it.log.poison = {"dec_1"}
    assert it.drain.run_once() == 2
    assert list(it.log.rows) == ["dec_0", "dec_2"]
    assert [receipt["id"] for receipt in it.seen] == ["dec_0", "dec_2"]
    assert [receipt["id"] for receipt in it.state.waiting] == ["dec_1"]


def test_a_log_that_takes_nothing_is_an_error_so_that_the_job_backs_off(rig):
    it = rig(2)
    it.log.poison = {"dec_0", "dec_1"}
    with pytest.raises(ValueError, match="out of range"):
        it.drain.run_once()
    assert len(it.state.waiting) == 2
