"""Rows as tests: most of a row's time is waiting, so those of a file are tried beside each other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from tests.faults.rows import Row, site
from tests.faults.site import Skipped

AT_ONCE = 4


class Crew:
    """Tries rows in their fast form; those that watch for stalls when nothing else runs."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._tried = {str(row): self._pool.submit(_try, row) for row in rows if not row.alone}

    def check(self, row: Row) -> None:
        """The row holds. One that cannot be tried here is skipped, or fails where the pipeline could have tried it."""
        try:
            self._outcome(row).result()
        except Skipped as why:
            if os.environ.get("CI") and not why.is_excused:
                pytest.fail(f"this must be tried in CI: {why}")
            pytest.skip(str(why))

    def _outcome(self, row: Row) -> Future[str]:
        if str(row) not in self._tried:
            wait(self._tried.values())
            self._tried[str(row)] = self._pool.submit(_try, row)
        return self._tried[str(row)]

    def close(self) -> None:
        """Wait for what still runs."""
        self._pool.shutdown(cancel_futures=True)


def _try(row: Row) -> str:
    with site() as here:
        return row.run(here, **(row.fast or {}))
