"""Group commit: what the greenlets of one hub write in one turn of its loop goes into one transaction.

A transaction's begin, commit and page writes cost more than what most of them do; under load ten or more come in a
turn. No SQL here, and no database: the driver commits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Generic, TypeVar

from gevent.hub import Waiter, get_hub

from tokenhub.errors import Unavailable
from tokenhub.state.driver import Execute

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.05


class Locked(Exception):
    """Another process writes; nothing was done, try again a little later."""


class Entry(Generic[T]):
    """One caller's work, and what came of it."""

    __slots__ = ("_result", "error", "since", "waiter", "work")

    def __init__(self, work: Callable[[Execute], T]) -> None:
        self.work = work
        self.error: Exception | None = None
        self.since = 0.0
        """When it was first found locked, as time.monotonic()."""
        self.waiter: Any = None
        self._result: Any = None

    def run(self, execute: Execute) -> None:
        """Do the work and keep what it gives."""
        self.error, self._result = None, self.work(execute)

    def outcome(self) -> T:
        """What the work gave; raises what it raised."""
        if self.error is not None:
            raise self.error
        result: T = self._result
        return result


class GroupCommit:
    """Collects entries until the hub has served what was ready, then has them committed at once."""

    def __init__(self, commit: Callable[[Sequence[Entry[Any]]], None], *, busy_wait_s: float) -> None:
        """`commit` leaves in each entry its result or error, or raises Locked; it runs in the hub and waits for
        nothing. A work that finds the database locked for `busy_wait_s` gets Unavailable."""
        self._commit = commit
        self._busy_wait_s = busy_wait_s
        self._entries: list[Entry[Any]] = []
        self._pause_s = 0.0
        self._timer: Any = None

    def __call__(self, work: Callable[[Execute], T]) -> T:
        """Do the work in this turn's transaction; gives what it gives, raises what it raises. For greenlets."""
        entry = Entry(work)
        entry.waiter = Waiter()
        self._entries.append(entry)
        if len(self._entries) == 1:
            get_hub().loop.run_callback(self._turn)
        try:
            entry.waiter.get()
        finally:
            # Somebody ended this greenlet while it waited: what it wanted is not done behind its back.
            if entry in self._entries:
                self._entries.remove(entry)
        return entry.outcome()

    def _turn(self) -> None:
        """In the hub: commit what is there, and let each caller go on."""
        entries, self._entries = self._entries, []
        if not entries:
            return
        try:
            self._commit(entries)
        except Locked:
            self._again(entries)
            return
        except Exception as error:  # Whatever it is: nobody may wait for ever.
            for entry in entries:
                entry.error = error
        self._pause_s = 0.0
        for entry in entries:
            entry.waiter.switch(None)

    def _again(self, entries: list[Entry[Any]]) -> None:
        now = monotonic()
        late: list[Entry[Any]] = []
        for entry in entries:
            entry.since = entry.since or now
            (late if now - entry.since >= self._busy_wait_s else self._entries).append(entry)
        self._pause_s = min(2 * self._pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
        if self._entries:
            self._timer = get_hub().loop.timer(self._pause_s)
            self._timer.start(self._turn)
        for entry in late:
            entry.error = Unavailable("the state is locked", code="state_unavailable")
            entry.waiter.switch(None)
