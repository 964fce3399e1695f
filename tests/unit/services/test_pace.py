"""Admission is free, slow or closed by how many receipts wait for the log."""

from __future__ import annotations

import pytest

from tokenhub.errors import Unavailable
from tokenhub.services.pace import FULL_ROWS, LONGEST_PAUSE_S, SLOW_ROWS, Pace


def paused(rows: int) -> float:
    slept = [0.0]
    pace = Pace(slept.append)
    pace.rows = rows
    pace.hold()
    return slept[-1]


def test_an_ordinary_backlog_costs_nothing() -> None:
    assert paused(0) == paused(SLOW_ROWS) == 0.0


def test_a_growing_backlog_slows_down_more_and_more() -> None:
    waits = [paused(SLOW_ROWS + n) for n in (1, 1_000, 100_000, FULL_ROWS - SLOW_ROWS - 1)]
    assert waits == sorted(waits) and 0 < waits[0] and waits[-1] < LONGEST_PAUSE_S


def test_a_full_backlog_stops_admission_and_says_for_how_long() -> None:
    with pytest.raises(Unavailable) as caught:
        paused(FULL_ROWS)
    assert caught.value.code == "log_behind" and caught.value.retry_after_s > 0
