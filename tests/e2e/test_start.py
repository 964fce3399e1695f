"""A start that must fail is one clear line and exit code 2; the others are well.

The rows are in `tests/faults/`; `python -m tests.faults` tries them with their full figures."""

from __future__ import annotations

import pytest

from tests.faults.crew import Crew
from tests.faults.rows import START, Row, fast

ROWS = fast(START)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_row_holds(crew: Crew, row: Row) -> None:
    crew.check(row)
