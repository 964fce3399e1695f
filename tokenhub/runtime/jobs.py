"""Background jobs of a worker: each a thread of its own (a greenlet where gevent is patched in), none before `start()`.

What the jobs do is passed in by `wiring.py`. Small ones live here because they are only about time: the watches on the
catalog epoch and on the observations, and the watchdog of the hub.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent

from tokenhub.domain.ports import Offload, State
from tokenhub.errors import TokenHubError
from tokenhub.runtime.live import Live

log = logging.getLogger(__name__)

LEASE_S = 10.0
"""How long a leased job rests at most after its worker died."""
RENEW_AFTER_S = 3.0
ASK_AGAIN_S = 2.0
"""How often a worker asks for a lease that another one holds."""
BACK_OFF_S = 5.0
"""A job that fails waits up to this, or its own interval if that is longer."""
BREATH_S = 0.001
"""Between two runs of a job with more to do: the loop serves its sockets meanwhile."""
WATCHDOG_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do over and over."""

    name: str
    interval_s: float
    function: Callable[[], object]
    """Called again at once (after a breath) while it returns True; anything else means that it is done for now."""
    lease: str = ""
    """Only the worker that holds this lease runs the job; "": every worker."""
    pooled: bool = False
    """Whether it blocks in C, so that it must run in a real thread, away from the hub."""


class Jobs:
    """Runs jobs until stopped. A job that raises is logged and tried again, later and later; it never dies."""

    def __init__(self, jobs: Sequence[Job], *, state: State, holder: str, offload: Offload) -> None:
        self._jobs = tuple(jobs)
        self._state = state
        self._holder = holder
        self._offload = offload
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start every job. After the fork, never before; once."""
        for job in self._jobs:
            thread = threading.Thread(target=self._loop, args=(job,), name=f"job-{job.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let what runs end, start nothing anew, give leases back. Waits at most `timeout_s` in all."""
        self._stopping.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _loop(self, job: Job) -> None:
        lease = _Lease(self._state, job.lease, self._holder)
        failures = 0
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                pause_s = self._run(job, lease)
            except (Exception, gevent.Timeout) as failure:
                failures += 1
                pause_s = min(job.interval_s * 2 ** min(failures, 10), max(job.interval_s, BACK_OFF_S))
                _tell(job, failures, failure)
            else:
                if failures:
                    log.info("job_recovered", extra={"job": job.name, "failures": failures})
                failures = 0
        lease.give_back()

    def _run(self, job: Job, lease: _Lease) -> float:
        """Run the job once if it is ours to run; gives how long to wait, in seconds."""
        if not lease.is_held():
            return max(job.interval_s, ASK_AGAIN_S)
        has_more = self._offload(job.function) if job.pooled else job.function()
        return BREATH_S if has_more is True else job.interval_s


class _Lease:
    """A named lease as one job sees it; the one without a name is always held."""

    def __init__(self, state: State, name: str, holder: str) -> None:
        self._state = state
        self._name = name
        self._holder = holder
        self._renew_at = 0.0
        self._held = False

    def is_held(self) -> bool:
        """Whether this worker holds it, renewed where it is time. Raises Unavailable with the state."""
        if not self._name:
            return True
        now = time.monotonic()
        if not self._held or now >= self._renew_at:
            self._held = False
            self._held = self._state.lease(self._name, self._holder, LEASE_S)
            self._renew_at = now + RENEW_AFTER_S
        return self._held

    def give_back(self) -> None:
        """Let another worker take it at once."""
        if not self._held:
            return
        try:
            self._state.lease(self._name, self._holder, 0.0)
        except TokenHubError as failure:
            log.info("lease_not_given_back", extra={"lease": self._name, "reason": failure.code})


def _tell(job: Job, failures: int, failure: BaseException) -> None:
    """Log the 1st, 2nd, 4th, 8th ... failure in a row: a database that is down for an hour is not an hour of lines."""
    if failures & (failures - 1):
        return
    known = isinstance(failure, TokenHubError)
    log.error(
        "job_failed",
        exc_info=None if known else failure,
        extra={"job": job.name, "failures": failures, "reason": str(failure)},
    )


class EpochWatch:
    """Job: calls `moved` with the new epoch when it is not the one last handled. A call that raises is repeated."""

    def __init__(self, epoch: Callable[[], int], moved: Callable[[int], object], handled: int = -1) -> None:
        self._epoch = epoch
        self._moved = moved
        self._handled = handled

    def __call__(self) -> None:
        """Look once."""
        epoch = self._epoch()
        if epoch != self._handled:
            self._moved(epoch)
            self._handled = epoch


class ObservationWatch:
    """Job: hands what is new of the state's observations to this worker's memory."""

    def __init__(
        self, state: State, live: Live, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._state = state
        self._live = live
        self._clock_ms = clock_ms
        self._revision = 0

    def __call__(self) -> None:
        """Look once."""
        self._revision, rows = self._state.observations(self._revision)
        self._live.observe(rows, self._clock_ms())


class HubWatchdog:
    """Job, every WATCHDOG_INTERVAL_S: tells `late` by how many seconds it woke too late, which is how long the hub
    (or the interpreter lock) was held by somebody else."""

    def __init__(self, late: Callable[[float], object]) -> None:
        self._late = late
        self._due = float("inf")

    def __call__(self) -> None:
        """Note the time."""
        self._late(max(0.0, time.monotonic() - self._due))
        self._due = time.monotonic() + WATCHDOG_INTERVAL_S
