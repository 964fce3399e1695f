"""Observations in the state: one row a target, seen by all workers, kept over restarts."""

from __future__ import annotations

import apsw
import pytest

from tokenhub.domain.observed import Observation
from tokenhub.errors import Unavailable
from tokenhub.state.sqlite import SqliteState

A, B = ("a", "p"), ("b/c", "q")
ROW = Observation(3, 100.5, None, 40.0, 120.0, 100.0, 2.5, 0.5, 1_700_000_000_000)


def test_rows_come_back_as_they_were_put(state):
    state.put_observations({A: ROW, B: Observation()})
    assert state.observations(0)[1] == {A: ROW, B: Observation()}
    assert state.observations_of([A, ("nobody", "p")]) == {A: ROW}


def test_only_what_changed_since_is_given(state):
    assert state.observations(0) == (0, {})
    state.put_observations({A: ROW, B: ROW})
    newest, _ = state.observations(0)
    assert state.observations(newest) == (newest, {})
    state.put_observations({B: Observation(samples=9)})
    assert state.observations(newest)[0] > newest and state.observations(newest)[1] == {B: Observation(samples=9)}


def test_another_worker_and_a_restarted_one_see_the_rows(path, state):
    state.put_observations({A: ROW})
    state.close()
    other = SqliteState(path, worker_id="w2")
    assert other.observations(0)[1] == {A: ROW}
    other.close()


def test_a_clock_that_is_set_back_hides_nothing(path):
    now = [2_000]
    state = SqliteState(path, worker_id="w1", clock_ms=lambda: now[0])
    state.put_observations({A: ROW})
    newest, _ = state.observations(0)
    now[0] = 1_000
    state.put_observations({A: Observation()})
    assert state.observations(newest)[1] == {A: Observation()}
    state.close()


def test_a_field_of_a_later_version_is_passed_over(path, state):
    state.put_observations({A: ROW})
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE observations SET observed = replace(observed, '{', '{\"later\":1,')")
    connection.close()
    assert state.observations(0)[1] == {A: ROW}


def test_a_locked_state_says_so_and_keeps_what_was_there(path, locked):
    state = SqliteState(path, worker_id="w1", busy_wait_s=0.0)
    with locked(), pytest.raises(Unavailable):
        state.put_observations({A: ROW})
    assert state.observations(0) == (0, {})
    state.close()
