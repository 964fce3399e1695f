"""SIGHUP, and workers that gunicorn replaces: nobody who asks for an answer notices.

The rows are in `tests/faults/`; `python -m tests.faults` tries them with their full figures."""

from __future__ import annotations

import pytest

from tests.faults.crew import Crew
from tests.faults.rows import RELOAD, Row, fast

ROWS = fast(RELOAD)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_row_holds(crew: Crew, row: Row) -> None:
    crew.check(row)
