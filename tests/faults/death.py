"""F21, F22: processes that die by SIGKILL."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.e2e.harness import until
from tests.faults.site import Books, Site, budgeted_key, check_books, kill_everything, load

RECONCILED_S = 60.0
READY_S = 5.0


def age_the_dead(books: Books, alive: list[int]) -> None:
    """Say that the time of workers that are not there any more is over, instead of waiting for it."""
    for worker_id, pid in books.ask("SELECT worker_id, pid FROM workers"):
        if pid not in alive:
            books.ask("UPDATE workers SET expires_ms = 0 WHERE worker_id = ?", worker_id)
            books.ask("UPDATE leases SET expires_ms = 0 WHERE holder = ?", worker_id)


def one_worker(site: Site, *, clients: int, before_s: float, after_s: float, at_once: bool) -> str:
    """SIGKILL one worker under load. `at_once` does not wait for the dead one's time to be over."""
    gateway = site.gateway()
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    with load(gateway, key, clients) as running:
        time.sleep(before_s)
        victim, *others = gateway.worker_pids()
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        time.sleep(after_s)
    until(lambda: len(gateway.worker_pids()) == len(others) + 1)
    assert set(others) < set(gateway.worker_pids()), "another worker died too"
    failures = running.failures()
    late = [got for got in failures if got.outcome != "cut" or not got.started <= killed + 0.1 <= got.ended + 0.2]
    assert not late, f"failures that the kill does not explain: {late[:3]}"
    assert failures, "nothing was in flight: the row tests nothing"
    served = sum(got.outcome == "ok" and got.started > killed for got in running.got)
    assert served >= clients, f"only {served} requests were served after the kill"
    if at_once:
        age_the_dead(books, gateway.worker_pids())
    books.wait_until_closed(RECONCILED_S)
    took = time.monotonic() - killed
    check_books(books, key, running.got, site.upstream, mark)
    dead = [rows[0] for rows in books.rows().values() if rows[0]["error_code"] == "worker_died"]
    assert dead, "no record of the dead worker was reconciled"
    return (
        f"{len(running.got)} requests, {len(failures)} cut, {served} served after; {len(dead)} reconciled "
        f"after {took:.0f} s; drift 0"
    )


def everything(site: Site, *, clients: int, before_s: float, at_once: bool) -> str:
    """SIGKILL to the master and all workers under load, then a start."""
    gateway = site.gateway()
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    running = load(gateway, key, clients)
    time.sleep(before_s)
    kill_everything(gateway)
    killed = time.monotonic()
    running.stop()
    left = books.open()
    assert left, "nothing was in flight: the row tests nothing"
    started = time.monotonic()
    gateway.start()
    ready_s = time.monotonic() - started
    assert ready_s <= READY_S, f"ready after {ready_s:.1f} s"
    if at_once:
        age_the_dead(books, gateway.worker_pids())
    books.wait_until_closed(RECONCILED_S)
    took = time.monotonic() - killed
    check_books(books, key, running.got, site.upstream, mark)
    return f"{left} open at the kill; ready after {ready_s:.1f} s; reconciled after {took:.0f} s; drift 0, integrity ok"


def the_master(site: Site) -> str:
    """SIGKILL to the master alone: its workers end by themselves, and a start takes over."""
    gateway = site.gateway()
    pids = gateway.worker_pids()
    os.kill(gateway.process.pid, signal.SIGKILL)
    gateway.process.wait()
    started = time.monotonic()
    until(lambda: not any(Path(f"/proc/{pid}/stat").exists() for pid in pids), 10)
    took = time.monotonic() - started
    gateway.start()
    return f"workers ended after {took:.1f} s; the next start was well"
