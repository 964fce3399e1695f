"""Real threads for what blocks in C: databases, files, checkpoints. The one pool of a worker, away from its hub."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

from gevent import monkey
from gevent.threadpool import ThreadPool

T = TypeVar("T")


class ThreadOffload:
    """Runs work that blocks in C in real threads of its own, while the caller's greenlet waits and the hub goes on.

    Not gevent's shared pool: that one has 10 slots, and name resolution needs them. Where nothing is patched the
    caller is a real thread already and does the work itself.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPool | None = None

    def __call__(self, work: Callable[[], T]) -> T:
        """Do the work, with the caller's context variables; gives what it gives, raises what it raises."""
        if not monkey.is_module_patched("threading"):
            return work()
        if self._pool is None:
            self._pool = ThreadPool(self._threads)
        result: T
        result, failure = self._pool.apply(copy_context().run, (_outcome, work))
        if failure is not None:
            raise failure
        return result


def _outcome(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What came of the work. An exception is carried to the caller by hand: the pool would also print it, unredacted,
    to stderr."""
    try:
        return work(), None
    except Exception as failure:
        return None, failure
