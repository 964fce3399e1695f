"""Processes that die, and databases that are locked, full or gone: no row is lost, and all is well by itself later.

The rows are in `tests/faults/`; `python -m tests.faults` tries them with their full figures."""

from __future__ import annotations

import pytest

from tests.faults.crew import Crew
from tests.faults.rows import DEATH, STORES, Row, fast

ROWS = fast([*DEATH, *STORES])


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_row_holds(crew: Crew, row: Row) -> None:
    crew.check(row)
