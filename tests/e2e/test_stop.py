"""SIGTERM: what runs is finished, or ended by us with a settled bill.

The rows are in `tests/faults/`; `python -m tests.faults` tries them with their full figures."""

from __future__ import annotations

import pytest

from tests.faults.crew import Crew
from tests.faults.rows import STOP, Row, fast

ROWS = fast(STOP)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_row_holds(crew: Crew, row: Row) -> None:
    crew.check(row)
