"""Slowing admission down while the request log cannot keep up, so that no answer is ever without its row."""

from __future__ import annotations

import time
from collections.abc import Callable

from tokenhub.errors import Unavailable

SLOW_ROWS, FULL_ROWS = 20_000, 200_000
"""Receipts waiting for the log: from the first number on admission takes longer, at the second it stops. At 2.5 KB
each that is half a gigabyte in the state, or minutes of a database that is away under full load."""
LONGEST_PAUSE_S = 1.0


class Pace:
    """How fast requests may come in. `rows` is set by a job of the worker."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self.rows = 0
        self._sleep = sleep

    def hold(self) -> None:
        """Wait as long as the backlog asks for. Raises Unavailable where there is no room for another receipt."""
        if self.rows <= SLOW_ROWS:
            return
        if self.rows >= FULL_ROWS:
            raise Unavailable("the request log is too far behind", code="log_behind", retry_after_s=5.0)
        self._sleep(LONGEST_PAUSE_S * (self.rows - SLOW_ROWS) / (FULL_ROWS - SLOW_ROWS))
