"""How gunicorn measures its grace: by the wall clock, so that a clock that is set meanwhile ends a drain at once (and
cuts its streams), or never. `install` gives the two modules that do so a clock that nobody sets."""

from __future__ import annotations

import time
from typing import Any


class _Steady:
    """The module `time`, whose `time()` only ever goes on."""

    time = staticmethod(time.monotonic)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def install() -> None:
    """For this process and all that are forked from it. Only differences are taken of these readings."""
    from gunicorn import arbiter
    from gunicorn.workers import ggevent

    arbiter.time = ggevent.time = _Steady()
