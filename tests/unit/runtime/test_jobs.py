"""Jobs: run over and over, never die, one worker at a time where leased, off the hub where pooled."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.observed import Observation
from tokenhub.errors import Unavailable
from tokenhub.runtime import jobs as module
from tokenhub.runtime.jobs import EpochWatch, HubWatchdog, Job, Jobs, ObservationWatch
from tokenhub.runtime.live import Belief, Live
from tokenhub.runtime.offload import ThreadOffload

SOON_S = 5.0


class FakeState:
    """Leases with a real clock."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[str, float]] = {}
        self.asked = 0
        self.is_down = False

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        self.asked += 1
        if self.is_down:
            raise Unavailable("state is down")
        owner, until = self.held.get(name, (holder, 0.0))
        if owner != holder and until > time.monotonic():
            return False
        self.held[name] = (holder, time.monotonic() + seconds)
        return True


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def run(state):
    """Starts jobs that are stopped after the test."""
    started = []

    def run(*jobs: Job, holder: str = "w1") -> Jobs:
        running = Jobs(jobs, state=state, holder=holder, offload=ThreadOffload(1))
        running.start()
        started.append(running)
        return running

    yield run
    for running in started:
        running.stop()


def until(condition) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def job_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("job-")]


def test_nothing_runs_before_start_and_nothing_after_stop(state):
    runs = []
    jobs = Jobs([Job("count", 0.001, lambda: runs.append(1))], state=state, holder="w1", offload=ThreadOffload(1))
    assert (runs, job_threads()) == ([], [])
    jobs.start()
    until(lambda: len(runs) > 3)
    jobs.stop()
    assert job_threads() == []
    after = len(runs)
    time.sleep(0.02)
    assert len(runs) == after


def test_a_job_waits_its_interval_between_runs(run):
    runs = []
    run(Job("slow", 0.1, lambda: runs.append(time.monotonic())))
    until(lambda: len(runs) >= 3)
    assert all(later - earlier >= 0.1 for earlier, later in zip(runs, runs[1:], strict=False))


def test_a_job_with_more_to_do_runs_again_at_once(run):
    left = list(range(50))

    def work() -> bool:
        if left:
            left.pop()
        return bool(left)

    run(Job("drain", 60.0, work))
    until(lambda: not left)


def test_a_job_that_raises_goes_on_and_tells_less_and_less(run, caplog):
    runs = []

    def fail_nine_times() -> None:
        runs.append(1)
        if len(runs) <= 9:
            raise ValueError("broken")

    with caplog.at_level(logging.INFO, logger=module.__name__):
        run(Job("shaky", 0.0001, fail_nine_times))
        until(lambda: len(runs) > 10)
    told = [(record.message, record.failures) for record in caplog.records]
    assert told == [("job_failed", 1), ("job_failed", 2), ("job_failed", 4), ("job_failed", 8), ("job_recovered", 9)]
    assert caplog.records[0].exc_info
    assert caplog.records[0].reason == "broken"


def test_a_known_failure_is_told_without_a_traceback(run, caplog):
    def fail() -> None:
        raise Unavailable("database is down")

    run(Job("drain", 0.01, fail))
    until(lambda: caplog.records)
    assert not caplog.records[0].exc_info
    assert caplog.records[0].reason == "database is down"


def test_failures_back_off_and_the_pause_is_bounded(run, monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF_S", 0.08)
    runs = []

    def fail() -> None:
        runs.append(time.monotonic())
        raise ValueError("broken")

    run(Job("broken", 0.005, fail))
    until(lambda: len(runs) >= 8)
    pauses = [later - earlier for earlier, later in zip(runs, runs[1:], strict=False)]
    assert pauses[0] < pauses[2] < 0.08
    assert all(0.08 <= pause < 0.5 for pause in pauses[4:])


def test_a_failing_heartbeat_keeps_its_interval(run, monkeypatch):
    monkeypatch.setattr(module, "BACK_OFF_S", 0.01)
    runs = []

    def fail() -> None:
        runs.append(time.monotonic())
        raise ValueError("broken")

    run(Job("heartbeat", 0.05, fail))
    until(lambda: len(runs) >= 5)
    assert runs[4] - runs[0] < 4 * 0.05 + 0.2


def test_a_leased_job_runs_at_one_worker_only(run, monkeypatch):
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.01)
    ran = []
    first = run(Job("drain", 0.001, lambda: ran.append("w1"), lease="drain"), holder="w1")
    until(lambda: ran)
    run(Job("drain", 0.001, lambda: ran.append("w2"), lease="drain"), holder="w2")
    time.sleep(0.1)
    assert set(ran) == {"w1"}
    first.stop()
    until(lambda: ran[-1] == "w2")


def test_a_lease_is_taken_over_from_a_worker_that_died(run, state, monkeypatch):
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.01)
    state.held["drain"] = ("dead", time.monotonic() + 0.1)
    ran = []
    run(Job("drain", 0.001, lambda: ran.append(time.monotonic()), lease="drain"))
    until(lambda: ran)
    assert ran[0] >= state.held["drain"][1] - module.LEASE_S


def test_a_held_lease_is_not_asked_for_at_every_run(run, state):
    ran = []
    run(Job("drain", 0.0001, lambda: ran.append(1), lease="drain"))
    until(lambda: len(ran) > 50)
    assert state.asked == 1


def test_a_lease_is_renewed_long_before_it_ends(run, state, monkeypatch):
    monkeypatch.setattr(module, "RENEW_AFTER_S", 0.02)
    run(Job("drain", 0.001, lambda: None, lease="drain"))
    until(lambda: state.asked >= 3)
    assert module.RENEW_AFTER_S < module.LEASE_S / 2


def test_without_a_state_a_leased_job_does_not_run_and_comes_back(run, state):
    state.is_down = True
    ran = []
    run(Job("drain", 0.01, lambda: ran.append(1), lease="drain"))
    until(lambda: state.asked >= 2)
    assert not ran
    state.is_down = False
    until(lambda: ran)


def test_the_epoch_watch_calls_once_for_each_move():
    epochs, moved = [3], []
    watch = EpochWatch(lambda: epochs[-1], moved.append, handled=3)
    for epoch in (3, 4, 4, 6):
        epochs.append(epoch)
        watch()
    assert moved == [4, 6]


def test_the_epoch_watch_repeats_a_call_that_failed():
    calls = []

    def moved(epoch: int) -> None:
        calls.append(epoch)
        if len(calls) == 1:
            raise Unavailable("database is down")

    watch = EpochWatch(lambda: 7, moved)
    with pytest.raises(Unavailable):
        watch()
    watch()
    watch()
    assert calls == [7, 7]


def test_the_watchdog_tells_how_late_it_was():
    late = []
    watchdog = HubWatchdog(late.append)
    watchdog()
    time.sleep(module.WATCHDOG_INTERVAL_S + 0.05)
    watchdog()
    watchdog()
    assert late[0] == 0
    assert 0.05 <= late[1] < 0.5
    assert late[2] == 0


PATCHED = """
from gevent import monkey; monkey.patch_all()
import threading, time
import gevent
from tokenhub.runtime.jobs import HubWatchdog, Job, Jobs, WATCHDOG_INTERVAL_S
from tokenhub.runtime.offload import ThreadOffload

class State:
    def lease(self, name, holder, seconds): return True

real_sleep = monkey.get_original("time", "sleep")
real_thread = monkey.get_original("threading", "get_ident")
hub_thread = real_thread()
late, ran = [], []

def blocks_in_c():
    ran.append(real_thread() != hub_thread)
    real_sleep(0.3)

offload = ThreadOffload(1)
jobs = Jobs(
    [Job("watchdog", WATCHDOG_INTERVAL_S, HubWatchdog(late.append)), Job("house", 0.01, blocks_in_c, pooled=True)],
    state=State(), holder="w", offload=offload,
)
assert gevent.get_hub().threadpool.size == 0
jobs.start()
gevent.sleep(0.5)
assert ran and all(ran), "a pooled job must run in a real thread"
assert gevent.get_hub().threadpool.size == 0, "gevent's own pool must stay free"
quiet = max(late)
real_sleep(0.2)
gevent.sleep(0.1)
stalled = max(late)
jobs.stop()

print(f"{quiet:.3f} {stalled:.3f}")
"""


def test_under_gevent_pooled_jobs_leave_the_hub_alone_and_the_watchdog_sees_a_stall():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PATCHED)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    quiet, stalled = map(float, done.stdout.split())
    assert quiet < 0.1
    assert 0.15 <= stalled < 0.5


class FakeRows:
    """A state's observations."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.news: list[tuple[int, dict]] = []

    def observations(self, since: int) -> tuple[int, dict]:
        self.asked.append(since)
        return self.news.pop(0) if self.news else (since, {})


def test_observations_are_read_from_where_the_last_reading_ended():
    rows, live = FakeRows(), Live(Belief(Catalog.build(1, [Provider("p", "openai")], [Model("m", "p", "m")])))
    watch = ObservationWatch(rows, live, lambda: 1000)
    watch()
    assert live.observed.slowest_ms == 0
    rows.news.append((7, {("m", "p"): Observation(latency_ms=5.0)}))
    watch()
    watch()
    assert rows.asked == [0, 0, 7] and live.observed.slowest_ms == 5
