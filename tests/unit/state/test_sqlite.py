"""The SQLite driver when things go wrong: it says Unavailable, nothing else, and is back by itself."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import stat
import threading
import time

import apsw
import gevent
import pytest

from tests.unit.state.conftest import SECRET, furnish
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.ports import Opening, Rate
from tokenhub.errors import ConfigurationError, Unavailable
from tokenhub.state import schema, sqlite, sqlite_file
from tokenhub.state.sqlite import SqliteState
from tokenhub.state.sqlite_file import open_schema


def opening(decision_id, receipt=None):
    return Opening(decision_id, "k1", 1, 5, 0, receipt or {"id": decision_id})


CALLS = {
    "admit": lambda s: s.admit(opening("d1")),
    "advance": lambda s: s.advance("d1", keep_nanousd=0, reserve_nanousd=0, doubtful_nanousd=0, receipt={}),
    "settle": lambda s: s.settle("d1", 1, {"id": "d1"}),
    "take": lambda s: s.take([Rate("a", 1, 1)]),
    "receipt": lambda s: s.receipt("d1"),
    "key_by_hash": lambda s: s.key_by_hash(SECRET),
    "key": lambda s: s.key("k1"),
    "keys": lambda s: s.keys(1, 0),
    "add_key": lambda s: s.add_key(ApiKey("k2", "", "", (), 1, True, 1), b"2"),
    "change_key": lambda s: s.change_key("k1", {"name": "x"}),
    "delete_key": lambda s: s.delete_key("k1"),
    "spend": lambda s: s.spend(["k1"]),
    "epoch": lambda s: s.epoch(),
    "move_epoch": lambda s: s.move_epoch(),
    "provider_keys": lambda s: s.provider_keys(),
    "put_provider_key": lambda s: s.put_provider_key("p", b"x"),
    "drop_provider_key": lambda s: s.drop_provider_key("p"),
    "settings": lambda s: s.settings(),
    "put_settings": lambda s: s.put_settings({"A": "1"}),
    "outbox": lambda s: s.outbox(1),
    "outbox_done": lambda s: s.outbox_done(["d1"]),
    "lease": lambda s: s.lease("l", "w1", 1),
    "alive": lambda s: s.alive("w1", 1, 1),
    "reconcile": lambda s: s.reconcile(1),
    "housekeeping": lambda s: s.housekeeping(),
}
READS = {"receipt", "key_by_hash", "key", "keys", "spend", "epoch", "provider_keys", "settings", "outbox"}


def remove(path):
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


# ---------------------------------------------------------------- locked


@pytest.mark.parametrize("call", [name for name in CALLS if name not in READS | {"housekeeping"}])
def test_a_write_that_meets_a_lock_for_too_long_is_unavailable_and_works_afterwards(state, naps, locked, call):
    with locked():
        started = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            CALLS[call](state)
        assert time.monotonic() - started < 0.5, "slept in C"
    assert raised.value.code == "state_unavailable"
    assert naps[:7] == [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.05] and set(naps[6:]) == {0.05}
    assert 2.0 <= sum(naps) < 2.1
    assert state.admit(opening("d9")) is None


def test_a_lock_does_not_keep_reads_waiting(state, naps, locked):
    with locked():
        for call in READS:
            CALLS[call](state)
    assert naps == []


def test_a_write_goes_through_as_soon_as_the_lock_is_gone(path, locked):
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked())
        naps = []

        def sleep(seconds):
            naps.append(seconds)
            if len(naps) == 3:
                stack.close()

        state = SqliteState(path, worker_id="w1", sleep=sleep)
        assert state.admit(opening("d1")) is None
    assert naps == [0.001, 0.002, 0.004]
    state.close()


def test_the_hub_goes_on_while_a_greenlet_waits_for_the_lock(path, locked):
    state = SqliteState(path, worker_id="w1", sleep=gevent.sleep, busy_wait_s=0.3)
    state.epoch()
    gaps = []

    def tick():
        last = time.monotonic()
        while True:
            gevent.sleep(0.002)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    ticking = gevent.spawn(tick)
    with locked():
        waiting = [gevent.spawn(state.admit, opening(f"d{n}")) for n in range(20)]
        for one in waiting:
            with pytest.raises(Unavailable):
                one.get()
    assert len(gaps) > 30 and max(gaps) < 0.1
    waiting = [gevent.spawn(state.admit, opening(f"d{n}")) for n in range(20)]
    assert [one.get() for one in waiting] == [None] * 20
    ticking.kill()
    state.close()


# ---------------------------------------------------------------- gone, replaced, broken


@pytest.mark.parametrize("call", CALLS)
def test_without_its_file_every_method_is_unavailable_and_back_when_it_is_remade(path, state, call):
    state.epoch()
    remove(path)
    with pytest.raises(Unavailable):
        CALLS[call](state)
    furnish(path)
    if call == "advance":
        state.admit(opening("d1"))
    CALLS[call](state)


def test_a_file_that_never_was_is_unavailable_and_not_made_by_a_worker(tmp_path):
    state = SqliteState(tmp_path / "none.sqlite", worker_id="w1")
    with pytest.raises(Unavailable):
        state.epoch()
    assert list(tmp_path.iterdir()) == []
    furnish(tmp_path / "none.sqlite")
    assert state.epoch() == 1
    state.close()


def test_a_file_that_was_moved_away_and_back_goes_on_where_it_was(path, state):
    state.admit(opening("d1"))
    away = path.with_name("away.sqlite")
    path.rename(away)
    with pytest.raises(Unavailable):
        state.receipt("d1")
    away.rename(path)
    assert state.receipt("d1")["status"] == "pending" and state.settle("d1", 1, {"id": "d1"})


@pytest.mark.parametrize("all_of_it", [True, False], ids=["with its log", "without its log"])
def test_a_file_that_was_deleted_and_remade_in_between_is_noticed_by_all(path, state, all_of_it):
    other = SqliteState(path, worker_id="w2")
    for n in range(50):
        state.admit(opening(f"d{n}"))
        other.settle(f"d{n}", 1, {"id": f"d{n}"})
    if all_of_it:
        remove(path)
    else:
        path.unlink()
    furnish(path)
    for number, one in enumerate((state, other)):
        assert one.receipt("d1") is None
        assert one.admit(opening(f"new{number}")) is None
    assert other.settle("new0", 1, {"id": "new0"}) and state.settle("new1", 1, {"id": "new1"})
    state.close()
    other.close()
    check = apsw.Connection(str(path))
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert check.execute("SELECT count(*) FROM outbox").fetchall() == [(2,)]


def test_a_file_can_be_remade_while_another_process_still_has_the_old_one(path):
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def work():
        state = SqliteState(path, worker_id="w2")
        for n in range(300):
            state.admit(opening(f"old{n}", {"text": "x" * 500}))
        theirs.send("full of memories")
        theirs.recv()
        theirs.send(state.admit(opening("new")))
        state.close()

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    ours.recv()
    path.unlink()  # Its -wal and -shm are left lying about, and the child has both of them open.
    furnish(path)
    state = SqliteState(path, worker_id="w1")
    assert state.receipt("old0") is None and state.admit(opening("d1")) is None
    ours.send("go on")
    assert ours.recv() is None
    child.join()
    assert state.receipt("new") is not None and state.settle("d1", 1, {"id": "d1"})
    state.close()


@pytest.mark.parametrize("content", [b"garbage" * 4096, b"SQLite format 3\0" + b"\xff" * 8192, b""])
def test_a_file_that_is_no_state_is_unavailable_and_back_when_it_is_good(path, content):
    remove(path)
    path.write_bytes(content)
    state = SqliteState(path, worker_id="w1")
    for call in CALLS.values():
        with pytest.raises(Unavailable):
            call(state)
    remove(path)
    furnish(path)
    assert state.admit(opening("d1")) is None
    state.close()


def test_a_file_that_breaks_under_way_is_unavailable(path, state):
    for n in range(400):
        state.admit(opening(f"d{n}", {"id": f"d{n}", "text": "x" * 500}))
    state.housekeeping()
    state.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    with pytest.raises(Unavailable):
        for n in range(400):
            state.settle(f"d{n}", 1, {"id": f"d{n}"})
    remove(path)
    furnish(path)
    assert state.admit(opening("d1")) is None


def test_a_state_of_another_form_is_unavailable_to_a_worker(path, state):
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    with pytest.raises(Unavailable):
        state.epoch()
    connection.execute(schema.WRITE_VERSION, (schema.VERSION,))
    assert state.epoch() == 1
    connection.close()


# ---------------------------------------------------------------- full


def test_a_full_disk_is_unavailable_keeps_what_was_and_is_over_when_there_is_room(path, state):
    assert state.admit(opening("d0")) is None
    connection = state._driver._cursor.connection
    pages = connection.execute("PRAGMA page_count").fetchall()[0][0]
    connection.execute(f"PRAGMA max_page_count = {pages + 4}").fetchall()
    big = {"text": "x" * 3000}
    with pytest.raises(Unavailable, match="no room"):
        for n in range(1, 100):
            admitted = n
            assert state.admit(opening(f"d{n}", {"id": f"d{n}", **big})) is None
    assert state.receipt(f"d{admitted}") is None and state.receipt("d0")["status"] == "pending"
    assert state.spend(["k1"]) == {"k1": 0}
    connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert state.admit(opening(f"d{admitted}", big)) is None
    assert state._driver._cursor.connection is connection, "a full disk is no reason to open the file again"


# ---------------------------------------------------------------- transactions, threads, forks


def test_an_exception_in_a_transaction_leaves_nothing_behind(state):
    class Strange(BaseException):
        pass

    def work(execute):
        execute("UPDATE meta SET value = 77 WHERE name = 'epoch'", ())
        raise Strange

    with pytest.raises(Strange):
        state._driver.write(work)
    assert state.epoch() == 1 and state.move_epoch() == 2


def test_threads_share_a_state_without_mixing_their_transactions(path):
    state = SqliteState(path, worker_id="w1", busy_wait_s=20)
    failures = []

    def work(number):
        for n in range(50):
            decision_id = f"d{number}-{n}"
            if state.admit(opening(decision_id)) is not None or not state.settle(decision_id, 2, {"id": decision_id}):
                failures.append(decision_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and state.spend(["k1"]) == {"k1": 1000}
    state.close()


def test_a_child_does_not_inherit_a_connection_and_both_go_on(state):
    state.admit(opening("d1"))
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work():
        inherited = state._driver._cursor is not None
        sender.send((inherited, state.settle("d1", 3, {"id": "d1"})))

    child = context.Process(target=work)
    child.start()
    assert receiver.recv() == (False, True)
    child.join()
    assert state.spend(["k1"]) == {"k1": 3} and state.admit(opening("d2")) is None


# ---------------------------------------------------------------- housekeeping


def test_housekeeping_keeps_the_log_small(path, state):
    wal = path.with_name(path.name + "-wal")
    state.housekeeping()
    for n in range(300):
        state.admit(opening(f"a{n}"))
    size = wal.stat().st_size
    for m in range(5):
        state.housekeeping()
        for n in range(200):
            state.admit(opening(f"b{m}-{n}"))
    assert wal.stat().st_size <= size * 1.1
    assert state.receipt("a0") and state.receipt("b4-199")


def test_a_long_read_neither_fails_housekeeping_nor_keeps_writers_waiting(path):
    wal = path.with_name(path.name + "-wal")
    state = SqliteState(path, worker_id="w1", busy_wait_s=1.0)
    state.admit(opening("d0"))
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM requests").fetchall()
    state.admit(opening("d1"))
    keeping = threading.Thread(target=state.housekeeping)
    keeping.start()
    for n in range(100):
        state.admit(opening(f"a{n}"))
        time.sleep(0.002)
    keeping.join(1.5)
    assert not keeping.is_alive()
    reader.execute("COMMIT")
    reader.close()
    size = wal.stat().st_size
    state.housekeeping()
    for n in range(50):
        state.admit(opening(f"b{n}"))
    assert wal.stat().st_size == size
    state.close()


def test_housekeeping_meets_writers_of_other_processes_without_failing(path):
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()

    def write():
        state, n = SqliteState(path, worker_id="w2"), 0
        while not stop.is_set():
            state.admit(opening(f"d{n}"))
            n += 1
            if n == 10:
                ready.set()

    writer = context.Process(target=write)
    writer.start()
    assert ready.wait(10)
    state = SqliteState(path, worker_id="w1")
    for _ in range(20):
        state.housekeeping()
    stop.set()
    writer.join()
    assert writer.exitcode == 0


def test_housekeeping_sweeps_what_says_nothing_any_more(path):
    up_ms = [1_000_000]
    state = SqliteState(path, worker_id="gone", uptime_ms=lambda: up_ms[0])
    state.take([Rate("idle", 10, 5), Rate("slow", 1, 100)])
    state.lease("short", "gone", 1)
    state.lease("long", "w1", 100)
    for worker_id in ("gone", "left", "here"):
        state.alive(worker_id, 1, 100 if worker_id == "here" else 1)
    state.admit(opening("d1"))

    def names(statement):
        return {name for (name,) in state._driver.read(statement)}

    up_ms[0] += 900
    state.housekeeping()
    assert names("SELECT name FROM rates") == {"slow"}
    assert names("SELECT name FROM leases") == {"short", "long"}
    up_ms[0] += 1000
    state.housekeeping()
    assert names("SELECT name FROM rates") == set()
    assert names("SELECT name FROM leases") == {"long"}
    assert names("SELECT worker_id FROM workers") == {"gone", "here"}, "a dead worker stays until it is reconciled"
    for _ in range(3):
        up_ms[0] += 5000
        state.alive("here", 1, 100)
    assert state.reconcile(10) == 1
    state.housekeeping()
    assert names("SELECT worker_id FROM workers") == {"here"}
    state.close()


# ---------------------------------------------------------------- the master makes the file


def test_the_file_is_private_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        open_schema(tmp_path / "a.sqlite")
        state = SqliteState(tmp_path / "a.sqlite", worker_id="w1")
        state.move_epoch()
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"a.sqlite": 0o600, "a.sqlite-wal": 0o600, "a.sqlite-shm": 0o600}
    state.close()


def test_opening_again_keeps_everything_and_closes_the_file_to_others(path, state):
    state.admit(opening("d1"))
    path.chmod(0o644)
    open_schema(path)
    assert state.receipt("d1") is not None and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_four_starts_at_once_make_one_state(tmp_path):
    context = multiprocessing.get_context("fork")
    path = tmp_path / "a.sqlite"
    for _ in range(5):

        def start():
            open_schema(path)
            SqliteState(path, worker_id="w", busy_wait_s=10).move_epoch()

        starts = [context.Process(target=start) for _ in range(4)]
        for one in starts:
            one.start()
        for one in starts:
            one.join()
        assert [one.exitcode for one in starts] == [0] * 4
        state = SqliteState(path, worker_id="w")
        assert state.epoch() == 5
        state.close()
        remove(path)


def test_a_newer_form_is_refused_at_start_and_left_alone(path):
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    connection.execute("DROP TABLE rates")
    with pytest.raises(ConfigurationError, match="newer"):
        open_schema(path)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'rates'").fetchall() == [(0,)]
    connection.close()


def test_what_cannot_be_a_state_file_is_refused_at_start(tmp_path):
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 50)
    (tmp_path / "folder").mkdir()
    for name in ("text", "folder", "missing/state.sqlite"):
        with pytest.raises(ConfigurationError):
            open_schema(tmp_path / name)
    assert (tmp_path / "text").read_text().startswith("no database")


def test_a_copy_of_the_file_and_its_log_is_a_whole_state(path, state, tmp_path):
    state.admit(opening("d1"))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{tmp_path}/copy{suffix}")
    copy = SqliteState(tmp_path / "copy", worker_id="w1")
    assert copy.receipt("d1") is not None
    copy.close()


def test_nothing_is_opened_before_the_first_call(tmp_path):
    state = SqliteState(tmp_path / "none", worker_id="w1")
    assert state._driver._cursor is None and state not in sqlite._open_drivers
    state.close()


def damage(path, table):
    with contextlib.closing(apsw.Connection(str(path))) as file:
        ((root, size),) = file.execute(
            "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema WHERE name = ?", (table,)
        ).fetchall()
        file.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("table", ["api_keys", "requests"])
def test_a_damaged_state_is_refused_in_one_line(path, monkeypatch, table, is_large):
    if is_large:
        monkeypatch.setattr(sqlite_file, "CHECKED_WHOLE_BYTES", 0)
    open_schema(path)
    damage(path, table)
    with pytest.raises(ConfigurationError, match="the state file is damaged .*: restore it from a backup") as caught:
        open_schema(path)
    assert "\n" not in str(caught.value)


def test_what_waits_in_a_large_state_is_not_read_at_start(path, monkeypatch):
    damage(path, "outbox")
    with pytest.raises(ConfigurationError, match="is damaged"):
        open_schema(path)
    monkeypatch.setattr(sqlite_file, "CHECKED_WHOLE_BYTES", 0)
    open_schema(path)


def test_what_others_may_do_with_the_file_is_taken_away_and_nothing_is_given(path):
    path.chmod(0o644)
    open_schema(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o400)
    with contextlib.suppress(ConfigurationError):  # Root may write to it all the same.
        open_schema(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
