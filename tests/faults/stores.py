"""F28, F30, and database or state gone: what the workers do while they cannot write."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.harness import Gateway, until
from tests.factories import chat_body
from tests.faults.death import age_the_dead
from tests.faults.load import Got
from tests.faults.site import Books, Site, Watchdog, budgeted_key, check_books, fill, load, small_disk

RECOVERED_S = 5.0
WELL_AGAIN_S, WATCHED_S = 2.5, 3.5
"""After so long nobody is refused any more; watched for a second."""
CALM = [chat_body("slow-50-10", stream=True), chat_body("slow-300"), chat_body("slow-100-30", stream=True)]
"""Light enough that no worker waits for a core: what the watchdog sees is then the hub's own doing."""

LOCKER = """
import sys, {module} as lib
connection = lib.connect(sys.argv[1], timeout=5, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""
APSW_LOCKER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.set_busy_timeout(5000)
connection.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@contextlib.contextmanager
def _locked(site: Site, path: Path) -> Iterator[None]:
    """Another process holds the write lock."""
    script = APSW_LOCKER if path.name.startswith("state") else LOCKER.format(module="sqlite3")
    locker = site.process("-c", script, str(path))
    yield
    locker.communicate("\n", timeout=10)


def _settled_watchdog(gateway: Gateway) -> Watchdog:
    """The watchdog, once each worker has answered: a worker's first answer imports what all others find."""
    for _ in range(2):
        gateway.on_each_worker("POST", "/v1/chat/completions", body=chat_body("ok"))
        gateway.on_each_worker("GET", "/metrics")
    return Watchdog(gateway)


def database_locked(site: Site, *, clients: int, locked_s: float) -> str:
    """Another process holds the database's write lock: nobody who asks for an answer notices."""
    gateway = site.gateway()
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    pids, watchdog = gateway.worker_pids(), _settled_watchdog(gateway)
    with load(gateway, key, clients, CALM) as running:
        time.sleep(1)
        with _locked(site, gateway.data / "tokenhub.sqlite"):
            time.sleep(locked_s)
        released = time.monotonic()
        waiting = books.outbox()
        time.sleep(1)
    assert waiting, "the outbox was empty: the row tests nothing"
    assert not running.failures(), running.failures()[:3]
    until(lambda: not books.outbox(), 2 * RECOVERED_S)
    recovered_s = time.monotonic() - released
    check_books(books, key, running.got, site.upstream, mark)
    assert gateway.worker_pids() == pids
    return (
        f"0 of {len(running.got)} failed; {waiting} rows waited and were written within {recovered_s:.1f} s; "
        f"{watchdog.check()}"
    )


def state_locked(site: Site, *, clients: int, locked_s: float) -> str:
    """Another process holds the state's write lock: new requests are told 503, streams flow, no row is lost."""
    gateway = site.gateway()
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    pids, watchdog = gateway.worker_pids(), _settled_watchdog(gateway)
    with load(gateway, key, 2, [chat_body("slow-100-30", stream=True)], name="early") as streams:
        streams.until_open(2)
        with load(gateway, key, clients, CALM) as running:
            time.sleep(0.5)
            with _locked(site, gateway.data / "state.sqlite"):
                # Those that run wait for their settlement first, these for their admission.
                fresh = load(gateway, key, clients, [chat_body("slow-300")], name="fresh")
                time.sleep(locked_s)
            released = time.monotonic()
            time.sleep(WATCHED_S)
            fresh.stop()
    got = [*running.got, *fresh.got, *streams.got]
    refused = _told_503(got)
    assert not [a for a in got if a.outcome != "ok" and a.started > released + WELL_AGAIN_S], "it has not recovered"
    assert not [a for a in got if a.outcome in ("cut", "event")], "a stream was cut"
    books.wait_until_closed(RECOVERED_S)
    until(lambda: not books.outbox(), 2 * RECOVERED_S)
    check_books(books, key, got, site.upstream, mark)
    assert gateway.worker_pids() == pids
    return f"{len(refused)} of {len(got)} told 503, 0 streams cut, 0 rows lost; {watchdog.check()}"


def _told_503(got: Sequence[Got]) -> list[Got]:
    """Those that were refused, which must all be 503 with Retry-After."""
    refused = [answer for answer in got if answer.outcome != "ok"]
    odd = [answer for answer in refused if (answer.status, "retry-after" in answer.headers) != (503, True)]
    assert not odd, odd[:3]
    assert refused, "nothing was refused: the row tests nothing"
    return refused


def database_gone(site: Site, *, clients: int, gone_s: float, how: str) -> str:
    """The database is deleted, or its folder moved away: answers go on, receipts wait, a new worker does not die."""
    elsewhere = site.folder / "database"
    elsewhere.mkdir(mode=0o700)
    path = elsewhere / "tokenhub.sqlite"
    gateway = site.gateway(DB_DSN=str(path))
    key, books, mark = budgeted_key(gateway), Books(gateway.data, path), site.upstream.mark()
    before = gateway.chat(chat_body("ok"), key=key.secret).decision_id
    until(lambda: not books.outbox())
    pids = gateway.worker_pids()
    with load(gateway, key, clients, CALM) as running:
        time.sleep(0.5)
        away = _move_away(path if how == "file" else elsewhere)
        time.sleep(gone_s)
        assert not path.exists(), "somebody made an empty database in its place"
        early = gateway.get(f"/v1/decisions/{before}", key=key.secret)
        assert (early.status, "retry-after" in early.headers) == (503, True), early
        assert gateway.worker_pids() == pids
        os.kill(pids[0], signal.SIGKILL)  # The one that is started instead cannot read the catalog.
        until(lambda: set(gateway.worker_pids()) - set(pids))
        until(lambda: _states(gateway) == [200, 200, 200, 503])
        away.rename(path if how == "file" else elsewhere)
        restored = time.monotonic()
        until(lambda: all(a.status == 200 for a in gateway.on_each_worker("GET", "/readyz")), RECOVERED_S)
        ready_s = time.monotonic() - restored
        time.sleep(0.5)
    assert len(gateway.worker_pids()) == len(pids) and set(pids[1:]) < set(gateway.worker_pids())
    cut = [got for got in running.got if got.outcome == "cut"]
    others = [got for got in running.failures() if got.outcome != "cut"]
    assert len(cut) <= clients, cut[:3]
    assert all(got.status == 503 and "retry-after" in got.headers for got in others), others[:3]
    age_the_dead(books, gateway.worker_pids())
    books.wait_until_closed(30)
    until(lambda: not books.outbox(), 2 * RECOVERED_S)
    check_books(books, key, running.got, site.upstream, mark)
    return (
        f"{how} gone: {len(running.got)} requests, {len(cut)} cut by the kill, {len(others)} told 503, by the new "
        f"worker; all ready {ready_s:.1f} s after it was back; 0 rows lost"
    )


def _states(gateway: Gateway) -> list[int]:
    """What the workers answer to a chat; a 503 must say when to come again."""
    answers = gateway.on_each_worker("POST", "/v1/chat/completions", body=chat_body("ok"))
    assert all(answer.status == 200 or "retry-after" in answer.headers for answer in answers), answers
    return sorted(answer.status for answer in answers)


def _move_away(path: Path) -> Path:
    away = path.with_name(path.name + ".away")
    path.rename(away)
    return away


def state_gone(site: Site, *, clients: int, gone_s: float, model: str) -> str:
    """The state's files are moved away and back: 503 meanwhile, running streams go on, all settled afterwards."""
    gateway = site.gateway()
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    pids = gateway.worker_pids()
    files = [gateway.data / name for name in ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm")]
    slow = load(gateway, key, 4, [chat_body(model, stream=True)], rounds=1, name="slow")
    slow.until_open(4)
    time.sleep(1)
    with load(gateway, key, clients, CALM) as running:
        time.sleep(1)
        for file in files:
            _move_away(file)
        time.sleep(gone_s)
        assert not files[0].exists(), "somebody made an empty state in its place"
        ready = gateway.get("/readyz")
        assert (ready.status, ready.json()["failed"]) == (503, ["state"]), ready
        assert gateway.get("/healthz").status == 200
        for file in reversed(files):
            file.with_name(file.name + ".away").rename(file)
        restored = time.monotonic()
        time.sleep(WATCHED_S)
    slow.wait()
    got = [*running.got, *slow.got]
    refused = _told_503(got)
    assert dict(slow.outcomes) == {"ok": 4}, slow.got
    assert not [a for a in got if a.outcome != "ok" and a.started > restored + WELL_AGAIN_S], "it has not recovered"
    assert gateway.worker_pids() == pids
    books.wait_until_closed(RECOVERED_S)
    until(lambda: not books.outbox(), 2 * RECOVERED_S)
    check_books(books, key, got, site.upstream, mark)
    return f"{len(refused)} of {len(got)} told 503, 4/4 long streams complete and settled once, 0 rows lost"


def folder_gone(site: Site) -> str:
    """The whole data folder is moved away; a worker dies meanwhile, and somebody reloads. Nothing ends for it."""
    gateway = site.gateway(ENV="production")
    pids = gateway.worker_pids()
    elsewhere = gateway.data.with_name("elsewhere")
    gateway.data.rename(elsewhere)
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: len(set(gateway.worker_pids()) - set(pids)) == 1)
    os.kill(gateway.process.pid, signal.SIGHUP)
    until(lambda: "reload_refused" in gateway.log())
    until(lambda: _states(gateway) == [503] * 4)
    assert all(answer.status in (200, 503) for answer in gateway.on_each_worker("GET", "/healthz"))
    alive = gateway.worker_pids()
    assert len(alive) == 4 and set(pids[1:]) < set(alive)
    assert not gateway.data.exists()
    elsewhere.rename(gateway.data)
    restored = time.monotonic()
    until(lambda: _states(gateway) == [200] * 4, RECOVERED_S)
    took = time.monotonic() - restored
    assert gateway.worker_pids() == alive
    return f"503, a killed worker was replaced, a reload refused; all four answer {took:.1f} s after it was back"


def disk_full(site: Site, *, clients: int, full_s: float, megabytes: int = 6, is_alone: bool = True) -> str:
    """No room for data: 503 for what must be recorded, the rest goes on, and all is well when there is room again."""
    folder = site.folder / "small"
    folder.mkdir()
    with small_disk(folder / "data", megabytes) as disk:
        gateway = site.gateway(folder=folder)
        key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
        before = gateway.chat(chat_body("ok"), key=key.secret).decision_id
        pids, watchdog = gateway.worker_pids(), _settled_watchdog(gateway)
        with load(gateway, key, clients, CALM) as running:
            time.sleep(1)
            fill(disk / "filler")
            # There is room left in the state's write-ahead log for a while.
            until(lambda: running.outcomes["error"], 20)
            until(lambda: gateway.admin("POST", "/apikeys", {"name": "one too many"}).status == 503)
            time.sleep(full_s)
            assert shutil.disk_usage(disk).free < 16_384
            assert gateway.get("/healthz").status == 200
            assert gateway.get(f"/v1/decisions/{before}", key=key.secret).status == 200
            assert gateway.admin("GET", "/logs?limit=5").status == 200
            (disk / "filler").unlink()
            freed = time.monotonic()
            time.sleep(WATCHED_S)
        refused = _told_503(running.got)
        late = [a for a in running.failures() if a.started > freed + WELL_AGAIN_S]
        assert not late, late[:3]
        last = max((a.ended for a in refused), default=freed) - freed
        assert gateway.worker_pids() == pids
        books.wait_until_closed(RECOVERED_S)
        until(lambda: not books.outbox(), 2 * RECOVERED_S)
        check_books(books, key, running.got, site.upstream, mark)
        stalls = watchdog.check() if is_alone else "hub stalls not looked at"
        gateway.stop()
    return (
        f"{len(refused)} of {len(running.got)} told 503; reads and health went on; the last refusal "
        f"{max(last, 0):.1f} s after there was room; 0 corrupt; {stalls}"
    )
