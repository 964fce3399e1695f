from __future__ import annotations

import logging
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.errors import ProviderRateLimited, ProviderTransient
from tokenhub.providers.vllm.rotation import MAX_COOL_S, Rotation, Turn

DOWN = ProviderTransient("down", code="connect_failed", blame="provider")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Even(Random):
    """Dice that always give the most."""

    def uniform(self, a: float, b: float) -> float:
        return b

    def randrange(self, *given: int) -> int:  # type: ignore[override]
        return 0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rotation(clock: Clock, members: str = "abc") -> Rotation[str]:
    return Rotation(list(members), clock, Even())


def first(turns: Rotation[str]) -> Turn[str]:
    return next(turns.turns())


def order(turns: Rotation[str]) -> str:
    return "".join(turn.member for turn in turns.turns())


def fail(turns: Rotation[str], member: str, failure: Exception = DOWN) -> None:
    turn = next(turn for turn in turns.turns() if turn.member == member)
    turn.failed(failure)  # type: ignore[arg-type]


def test_calls_take_turns_and_each_call_may_try_all(clock: Clock) -> None:
    turns = rotation(clock)
    assert [first(turns).member for _ in range(4)] == ["a", "b", "c", "a"]
    assert order(turns) == "bca"


def test_the_rest_share_evenly_while_one_is_out(clock: Clock) -> None:
    turns = rotation(clock)
    fail(turns, "b")
    assert sorted(first(turns).member for _ in range(10)) == ["a"] * 5 + ["c"] * 5


def test_one_that_failed_is_left_out_for_a_while_tried_by_one_and_back_when_it_answers(clock: Clock) -> None:
    turns = rotation(clock, "ab")
    fail(turns, "a")
    clock.now += 0.99
    assert [first(turns).member for _ in range(3)] == ["b", "b", "b"]
    clock.now += 0.02
    probe = first(turns)
    assert probe.member == "a"
    assert [first(turns).member for _ in range(3)] == ["b", "b", "b"], "one request tries it"
    probe.answered()
    assert {first(turns).member for _ in range(2)} == {"a", "b"}


def test_the_pause_doubles_with_each_failure_in_a_row_up_to_half_a_minute(clock: Clock) -> None:
    turns = rotation(clock, "ab")
    pauses = []
    for _ in range(8):
        fail(turns, "a")
        failed_at = clock.now
        while first(turns).member != "a":
            clock.now += 0.25
        pauses.append(clock.now - failed_at)
        clock.now += MAX_COOL_S  # that trial told nothing
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    turn = next(turn for turn in turns.turns() if turn.member == "a")
    turn.answered()
    fail(turns, "a")
    clock.now += 1
    assert "a" in {first(turns).member for _ in range(2)}, "an answer makes it start anew"


def test_a_trial_that_is_never_told_of_does_not_lock_an_endpoint_out(clock: Clock) -> None:
    turns = rotation(clock, "ab")
    fail(turns, "a")
    for _ in range(2):
        clock.now += 1
        assert [first(turns).member for _ in range(4)].count("a") == 1


def test_many_that_fail_together_count_once(clock: Clock) -> None:
    turns = rotation(clock, "ab")
    taken = [turn for _ in range(20) if (turn := first(turns)).member == "a"]
    for turn in taken:
        turn.failed(DOWN)
    clock.now += 1
    assert first(turns).member == "a"


def test_where_all_are_out_the_one_due_first_is_tried(clock: Clock) -> None:
    turns = rotation(clock, "ab")
    fail(turns, "b")
    clock.now += 0.5
    fail(turns, "a")
    assert [order(turns) for _ in range(3)] == ["b", "b", "b"]


def test_after_those_that_work_the_one_due_first_is_the_last_hope(clock: Clock) -> None:
    turns = rotation(clock)
    fail(turns, "b")
    assert order(turns)[-1] == "b" and len(order(turns)) == 3


def test_a_server_that_says_how_long_is_believed_within_bounds(clock: Clock) -> None:
    turns = rotation(clock, "ab")
    fail(turns, "a", ProviderRateLimited("slow", retry_after_s=5.0))
    clock.now += 4.9
    assert {first(turns).member for _ in range(3)} == {"b"}
    clock.now += 0.1
    assert first(turns).member == "a"
    fail(turns, "b", ProviderRateLimited("slow", retry_after_s=9_999.0))
    clock.now += MAX_COOL_S
    assert "b" in order(turns)[:2]


def test_workers_start_at_different_places_and_do_not_come_back_in_step(clock: Clock) -> None:
    starts = {first(Rotation(list("abcdefgh"), clock, Random(seed))).member for seed in range(50)}
    assert len(starts) == 8

    def back_after(seed: int) -> float:
        at = Clock()
        turns = Rotation(["a"], at, Random(seed))
        first(turns).failed(DOWN)
        return turns._places[0].due - at.now

    waits = {back_after(seed) for seed in range(20)}
    assert len(waits) == 20 and all(0.8 <= wait <= 1.0 for wait in waits)


def test_going_and_coming_back_are_logged(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    turns = rotation(clock, "a")
    turn = first(turns)
    turn.failed(DOWN)
    turn.answered()
    turn.answered()
    assert [record.message for record in caplog.records] == ["endpoint_cooling", "endpoint_back"]
    assert caplog.records[0].__dict__["why"] == "connect_failed"


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["fail", "answer", "nothing"]), st.floats(0, 40)), max_size=30),
)
def test_a_call_always_has_an_endpoint_to_try_and_none_twice(count: int, events: list[tuple[str, float]]) -> None:
    clock = Clock()
    turns = Rotation(list(range(count)), clock, Random(1))
    for what, later in events:
        turn = next(turns.turns())
        if what == "fail":
            turn.failed(DOWN)
        elif what == "answer":
            turn.answered()
        clock.now += later
        tried = [turn.member for turn in turns.turns()]
        assert tried and len(set(tried)) == len(tried)
