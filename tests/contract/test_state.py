"""What every implementation of the port `State` promises, on one worker and on many."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.conftest import DOLLAR, make_key, opening, secret
from tokenhub.domain.ports import Rate, Refused, State
from tokenhub.errors import Conflict, Unavailable


@pytest.fixture
def budgeted(state):
    """A state with the key k1, which may spend 100 nano-dollars."""
    state.add_key(make_key(monthly_budget_nanousd=100), secret("k1"))
    return state


def remaining(state: State, key_id: str = "k1") -> int:
    """What the budget of k1 has left, by asking for more than there can be."""
    refused = state.admit(opening("too-much", 10 * DOLLAR, key_id=key_id))
    assert refused is not None and refused.reason == "budget"
    return refused.remaining_nanousd


# ---------------------------------------------------------------- admit, advance, settle


def test_a_request_is_reserved_for_then_charged_what_it_cost(budgeted):
    assert budgeted.admit(opening("d1", 60)) is None
    assert remaining(budgeted) == 40
    assert budgeted.spend(["k1"]) == {"k1": 0}
    assert budgeted.settle("d1", 25, {"id": "d1", "status": "ok"}) is True
    assert remaining(budgeted) == 75
    assert budgeted.spend(["k1"]) == {"k1": 25}


def test_settling_twice_changes_nothing(budgeted):
    budgeted.admit(opening("d1", 60))
    assert budgeted.settle("d1", 25, {"id": "d1", "status": "ok"}) is True
    assert budgeted.settle("d1", 30, {"id": "d1", "status": "error"}) is False
    assert budgeted.spend(["k1"]) == {"k1": 25}
    assert budgeted.outbox(10) == [{"id": "d1", "status": "ok"}]
    budgeted.outbox_done(["d1"])
    assert budgeted.settle("d1", 30, {"id": "d1"}) is False
    assert budgeted.outbox(10) == []


def test_settling_what_was_never_admitted_does_nothing(budgeted):
    assert budgeted.settle("d9", 25, {"id": "d9"}) is False
    assert budgeted.outbox(10) == [] and budgeted.spend(["k1"]) == {"k1": 0}


def test_the_last_nano_dollar_can_be_reserved_and_not_one_more(budgeted):
    assert budgeted.admit(opening("d1", 101)) == Refused("budget", "k1", remaining_nanousd=100)
    assert budgeted.admit(opening("d2", 100)) is None
    assert budgeted.admit(opening("d3", 1)) == Refused("budget", "k1", remaining_nanousd=0)


def test_a_bill_over_its_reservation_is_charged_and_what_costs_nothing_still_passes(budgeted):
    budgeted.admit(opening("d1", 60))
    budgeted.settle("d1", 130, {"id": "d1"})
    assert budgeted.spend(["k1"]) == {"k1": 130}
    assert budgeted.admit(opening("d2", 1)) == Refused("budget", "k1", remaining_nanousd=0)
    assert budgeted.admit(opening("d3", 0)) is None


def test_a_key_without_a_budget_is_never_refused_and_its_spend_is_counted(state):
    state.add_key(make_key(), secret("k1"))
    assert state.admit(opening("d1", 10**15)) is None
    state.settle("d1", 10**15, {"id": "d1"})
    assert state.spend(["k1", "nobody"]) == {"k1": 10**15, "nobody": 0}


def test_a_budget_of_zero_lets_only_free_requests_in(state):
    state.add_key(make_key(monthly_budget_nanousd=0), secret("k1"))
    assert state.admit(opening("d1", 1)) == Refused("budget", "k1", remaining_nanousd=0)
    assert state.admit(opening("d2", 0)) is None


def test_advance_keeps_the_doubtful_and_reserves_the_next(budgeted):
    budgeted.admit(opening("d1", 50, doubtful_nanousd=10))
    assert (
        budgeted.advance("d1", keep_nanousd=10, reserve_nanousd=70, doubtful_nanousd=5, receipt={"id": "d1", "n": 2})
        is None
    )
    assert remaining(budgeted) == 20
    assert budgeted.receipt("d1") == {"id": "d1", "n": 2, "status": "pending"}
    assert budgeted.advance("d1", keep_nanousd=0, reserve_nanousd=30, doubtful_nanousd=5, receipt={"id": "d1"}) is None
    assert remaining(budgeted) == 60
    budgeted.settle("d1", 40, {"id": "d1"})
    assert remaining(budgeted) == 60


def test_an_advance_over_the_budget_is_refused_and_leaves_what_was_kept(budgeted):
    budgeted.admit(opening("d1", 50))
    budgeted.admit(opening("d2", 30))
    refused = budgeted.advance("d1", keep_nanousd=10, reserve_nanousd=61, doubtful_nanousd=3, receipt={"id": "d1"})
    assert refused == Refused("budget", "k1", remaining_nanousd=20)
    assert remaining(budgeted) == 60
    assert budgeted.settle("d1", 10, {"id": "d1"}) is True
    assert remaining(budgeted) == 60


def test_an_advance_of_a_deleted_key_is_refused(budgeted):
    budgeted.admit(opening("d1", 50))
    budgeted.delete_key("k1")
    refused = budgeted.advance("d1", keep_nanousd=0, reserve_nanousd=10, doubtful_nanousd=0, receipt={"id": "d1"})
    assert refused == Refused("key_changed", "k1")
    assert budgeted.settle("d1", 7, {"id": "d1"}) is True


def test_an_advance_without_a_record_spends_nothing(budgeted):
    with pytest.raises(Unavailable):
        budgeted.advance("d9", keep_nanousd=0, reserve_nanousd=10, doubtful_nanousd=0, receipt={"id": "d9"})
    assert remaining(budgeted) == 100


# ---------------------------------------------------------------- the key's version


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"enabled": False},
        {"scopes": ("chat", "plan")},
        {"policy": {"mode": "cheap"}, "policy_ceilings": {"max_budget_usd": 0.1}},
    ],
)
def test_a_key_that_was_changed_is_refused_until_it_is_read_again(budgeted, changes):
    changed = budgeted.change_key("k1", changes)
    assert changed == replace(make_key(monthly_budget_nanousd=100), version=2, **changes)
    assert budgeted.admit(opening("d1", 5)) == Refused("key_changed", "k1")
    again = budgeted.admit(opening("d1", 5, key_version=2))
    assert again == (None if changed.enabled else Refused("key_changed", "k1"))


def test_a_keys_policy_is_kept_as_it_was_given(state):
    own, ceilings = {"max_budget_usd": 0.1, "fallback": ["gpt-\u00fc", "b"]}, {"mode": ["cheap"]}
    key = make_key(policy=own, policy_ceilings=ceilings)
    state.add_key(key, secret("k1"))
    assert state.key("k1") == key == state.key_by_hash(secret("k1"))
    assert (state.key("k1").policy, state.key("k1").policy_ceilings) == (own, ceilings)
    cleared = state.change_key("k1", {"policy": {}})
    assert (cleared.policy, cleared.policy_ceilings) == ({}, ceilings)


def test_a_rotated_key_answers_to_its_new_secret_only(budgeted):
    budgeted.change_key("k1", {"prefix": "tokenhub_wxyz"}, secret("new"))
    assert budgeted.key_by_hash(secret("k1")) is None
    assert budgeted.key_by_hash(secret("new")).version == 2
    assert budgeted.admit(opening("d1")) == Refused("key_changed", "k1")


def test_a_deleted_key_is_refused_and_its_spend_stays(budgeted):
    budgeted.admit(opening("d1", 5))
    budgeted.settle("d1", 5, {"id": "d1"})
    assert budgeted.delete_key("k1") is True and budgeted.delete_key("k1") is False
    assert budgeted.key("k1") is None and budgeted.change_key("k1", {"name": "x"}) is None
    assert budgeted.admit(opening("d2")) == Refused("key_changed", "k1")
    assert budgeted.spend(["k1"]) == {"k1": 5}


def test_a_key_is_refused_from_the_moment_it_expires(house, state):
    state.add_key(make_key(expires_at_ms=house.now_ms + 1000), secret("k1"))
    house.pass_s(0.999)
    assert state.admit(opening("d1")) is None
    house.pass_s(0.001)
    assert state.admit(opening("d2")) == Refused("key_changed", "k1")


def test_a_key_is_stored_as_it_was_given_and_a_second_one_conflicts(state):
    key = make_key(
        scopes=("chat", "plan"),
        enabled=False,
        last_used_at_ms=2,
        expires_at_ms=3,
        rotation_days=4,
        monthly_budget_nanousd=5,
        budget_reset_at_ms=6,
        rate_limit_rps=-1,
        allowed_models=("a/b", "ü"),
    )
    state.add_key(key, secret("k1"))
    assert state.key("k1") == state.key_by_hash(secret("k1")) == key
    assert state.key("k2") is None and state.key_by_hash(secret("k2")) is None
    with pytest.raises(Conflict):
        state.add_key(make_key(), secret("other"))


def test_keys_are_listed_newest_first(state):
    for n in range(5):
        state.add_key(make_key(f"k{n}", created_at_ms=1000 + n), secret(f"k{n}"))
    page, total = state.keys(2, 1)
    assert [key.id for key in page] == ["k3", "k2"] and total == 5
    assert state.keys(10, 5) == ([], 5)


def test_last_use_is_noted_once_a_minute_and_never_undoes_a_change(house, state):
    state.add_key(make_key(), secret("k1"))
    state.admit(opening("d1"))
    first = house.now_ms
    house.pass_s(59.999)
    state.admit(opening("d2"))
    assert state.key("k1").last_used_at_ms == first
    state.change_key("k1", {"enabled": False, "last_used_at_ms": 1})
    assert state.key("k1").last_used_at_ms == first
    house.pass_s(0.001)
    assert state.admit(opening("d3", key_version=2)) == Refused("key_changed", "k1")
    assert state.key("k1").enabled is False
    state.change_key("k1", {"enabled": True})
    assert state.admit(opening("d3", key_version=3)) is None
    assert state.key("k1").last_used_at_ms == house.now_ms and state.key("k1").version == 3


# ---------------------------------------------------------------- budget periods


def test_a_new_month_begins_with_an_empty_budget_and_old_requests_charge_their_own(house, budgeted):
    budgeted.admit(opening("d1", 100))
    house.now_ms = int(datetime(2025, 3, 31, 23, 59, 59, 999_000, tzinfo=UTC).timestamp() * 1000)
    assert budgeted.admit(opening("d2", 1)).reason == "budget"
    house.now_ms += 1
    assert budgeted.admit(opening("d2", 40)) is None
    budgeted.settle("d1", 90, {"id": "d1"})
    assert remaining(budgeted) == 60 and budgeted.spend(["k1"]) == {"k1": 0}
    house.now_ms -= 1
    assert budgeted.spend(["k1"]) == {"k1": 90} and remaining(budgeted) == 10


def test_a_budget_reset_empties_the_budget_once(house, budgeted):
    budgeted.admit(opening("d1", 100))
    budgeted.settle("d1", 100, {"id": "d1"})
    house.pass_s(60)
    budgeted.change_key("k1", {"budget_reset_at_ms": house.now_ms})
    assert budgeted.admit(opening("d2", 70, key_version=2)) is None
    budgeted.settle("d2", 70, {"id": "d2"})
    assert budgeted.spend(["k1"]) == {"k1": 70}
    budgeted.change_key("k1", {"name": "other"})
    assert budgeted.admit(opening("d3", 31, key_version=3)) == Refused("budget", "k1", remaining_nanousd=30)


def test_a_reset_of_an_earlier_month_does_not_count(house, budgeted):
    budgeted.change_key("k1", {"budget_reset_at_ms": house.now_ms - 40 * 86_400_000})
    budgeted.admit(opening("d1", 70, key_version=2))
    assert budgeted.admit(opening("d2", 31, key_version=2)) == Refused("budget", "k1", remaining_nanousd=30)


# ---------------------------------------------------------------- rates


def test_a_burst_passes_at_once_and_then_exactly_the_rate(house, state):
    rate = Rate("address:1", per_s=10, burst=5)
    assert [state.take([rate]) for _ in range(5)] == [None] * 5
    assert state.take([rate]) == Refused("rate", "address:1", retry_after_s=0.1)
    house.pass_s(0.099)
    assert state.take([rate]) == Refused("rate", "address:1", retry_after_s=0.001)
    house.pass_s(0.001)
    assert state.take([rate]) is None
    assert state.take([rate]) == Refused("rate", "address:1", retry_after_s=0.1)
    house.pass_s(1000)
    assert [state.take([rate]) for _ in range(6)] == [None] * 5 + [Refused("rate", "address:1", retry_after_s=0.1)]


def test_the_wait_that_a_refusal_names_is_enough_and_no_millisecond_less_is(house, state):
    rate = Rate("address:1", per_s=3, burst=2)
    for _ in range(20):
        while (refused := state.take([rate])) is None:
            pass
        house.pass_s(refused.retry_after_s - 0.001)
        assert state.take([rate]) is not None
        house.pass_s(0.001)
        assert state.take([rate]) is None


def test_over_a_minute_no_more_than_the_burst_and_the_rate_pass(house, state):
    rate = Rate("address:1", per_s=7, burst=14)
    passed = 0
    for _ in range(6000):
        passed += state.take([rate]) is None
        house.pass_s(0.01)
    assert 14 + 7 * 60 - 2 <= passed <= 14 + 7 * 60


def test_rates_are_taken_together_or_not_at_all(state):
    narrow, wide = Rate("key:1", 1, 1), Rate("address:1", 1, 2)
    assert state.take([wide, narrow]) is None
    assert state.take([wide, narrow]).name == "key:1"
    assert state.take([wide]) is None
    assert state.take([wide]).name == "address:1"


def test_what_a_refused_request_took_from_its_rates_is_given_back(budgeted):
    rate = Rate("key:k1", 1, 1)
    assert budgeted.admit(opening("d1", 101, rates=(rate,))).reason == "budget"
    assert budgeted.admit(opening("d1", 100, rates=(rate,))) is None
    assert budgeted.admit(opening("d2", 0, rates=(rate,))) == Refused("rate", "key:k1", retry_after_s=1.0)
    assert budgeted.admit(opening("d3", 0, key_version=9, rates=(Rate("key:k2", 1, 1),))).reason == "key_changed"
    assert budgeted.take([Rate("key:k2", 1, 1)]) is None


def test_a_request_refused_by_a_rate_reserves_nothing_and_opens_nothing(budgeted):
    rate = Rate("key:k1", 1, 1)
    budgeted.take([rate])
    assert budgeted.admit(opening("d1", 60, rates=(rate,))).reason == "rate"
    assert remaining(budgeted) == 100 and budgeted.receipt("d1") is None


def test_a_rate_of_zero_is_no_limit(state):
    assert [state.take([Rate("address:1", 0, 0)]) for _ in range(50)] == [None] * 50


def test_rates_and_leases_do_not_mind_a_set_wall_clock_nor_a_restarted_machine(house, state):
    rate = Rate("address:1", 1, 1)
    assert state.take([rate]) is None and state.lease("drain", "w1", 10)
    for hours in (1, -2):
        house.now_ms += hours * 3_600_000
        assert state.take([rate]) == Refused("rate", "address:1", retry_after_s=1.0)
        assert not state.lease("drain", "w2", 10)
    house.up_ms = 1000
    assert state.take([rate]) is None and state.lease("drain", "w2", 10)


# ---------------------------------------------------------------- receipts and the outbox


def test_a_receipt_is_pending_then_settled_on_every_worker(house, budgeted):
    other = house.state("w2")
    assert other.receipt("d1") is None
    budgeted.admit(opening("d1", 5))
    assert other.receipt("d1") == {"id": "d1", "model": "m", "status": "pending"}
    budgeted.settle("d1", 5, {"id": "d1", "status": "ok", "text": "ü\n"})
    assert other.receipt("d1") == {"id": "d1", "status": "ok", "text": "ü\n"}


def test_the_outbox_gives_the_oldest_until_they_are_done(house, budgeted):
    for n in range(5):
        budgeted.admit(opening(f"d{n}"))
        house.pass_s(0.001)
    for n in (2, 0, 1, 4, 3):
        budgeted.settle(f"d{n}", 0, {"id": f"d{n}"})
        house.pass_s(0.001)
    assert [receipt["id"] for receipt in budgeted.outbox(3)] == ["d0", "d1", "d2"]
    assert budgeted.outbox_rows(100) == 5 and budgeted.outbox_rows(3) == 3
    budgeted.outbox_done(["d2", "d1", "unheard-of"])
    assert budgeted.outbox_rows(100) == 3
    assert [receipt["id"] for receipt in budgeted.outbox(10)] == ["d0", "d3", "d4"]
    assert budgeted.receipt("d2") is None


def test_a_receipt_that_json_cannot_say_is_not_lost(budgeted):
    budgeted.admit(opening("d1", 5))
    assert budgeted.settle("d1", 5, {"id": "d1", "model": "\ud800", "n": 2**70}) is True
    assert budgeted.outbox(1)[0]["id"] == "d1"


# ---------------------------------------------------------------- epoch, provider keys, leases


def test_the_epoch_moves_with_itself_and_with_provider_keys(house, state):
    other, epoch = house.state("w2"), state.epoch()
    assert state.move_epoch() == epoch + 1 == other.epoch()
    state.put_provider_key("p1", b"\x00sealed")
    state.put_provider_key("p2", b"2")
    state.put_provider_key("p1", b"\xffagain")
    assert other.provider_keys() == {"p1": b"\xffagain", "p2": b"2"} and other.epoch() == epoch + 4
    state.drop_provider_key("p1")
    state.drop_provider_key("never")
    assert other.provider_keys() == {"p2": b"2"} and other.epoch() == epoch + 6


def test_settings_are_replaced_as_a_whole_and_move_the_epoch(house, state):
    other, epoch = house.state("w2"), state.epoch()
    assert other.settings() == {}
    state.put_settings({"A": "1", "B": ""})
    assert other.settings() == {"A": "1", "B": ""} and other.epoch() == epoch + 1
    state.put_settings({"B": "ü"})
    assert other.settings() == {"B": "ü"} and other.epoch() == epoch + 2


def test_a_lease_has_one_holder_until_it_ends_or_is_given_back(house, state):
    assert state.lease("drain", "w1", 10)
    assert not state.lease("drain", "w2", 10) and state.lease("other", "w2", 10)
    house.pass_s(9)
    assert state.lease("drain", "w1", 10)
    house.pass_s(9.999)
    assert not state.lease("drain", "w2", 10)
    house.pass_s(0.001)
    assert state.lease("drain", "w2", 10) and not state.lease("drain", "w1", 10)
    assert state.lease("drain", "w2", 0.0)
    assert state.lease("drain", "w1", 10)


# ---------------------------------------------------------------- dead workers


def test_records_of_a_dead_worker_are_settled_and_those_of_a_slow_one_are_not(house, budgeted):
    dead, slow = house.state("dead"), house.state("slow")
    dead.alive("dead", 1, 10)
    slow.alive("slow", 2, 10)
    slow.admit(opening("d-slow", 20))
    dead.admit(opening("d1", 30, doubtful_nanousd=7, receipt={"id": "d1", "model": "m", "key_id": "k1"}))
    dead.advance("d1", keep_nanousd=7, reserve_nanousd=30, doubtful_nanousd=4, receipt={"id": "d1", "model": "n"})
    reconciled = []
    for _ in range(120):  # The slow request runs for ten minutes.
        reconciled.append(budgeted.reconcile(10))
        house.pass_s(5)
        slow.alive("slow", 2, 10)
    assert reconciled == [0, 0, 1] + [0] * 117
    assert budgeted.spend(["k1"]) == {"k1": 11} and remaining(budgeted) == 100 - 11 - 20
    assert dead.settle("d1", 30, {"id": "d1"}) is False
    (receipt,) = budgeted.outbox(10)
    assert receipt["id"] == "d1" and receipt["model"] == "n"
    assert receipt["status"] == "cancelled" and receipt["error_code"] == "worker_died"
    assert receipt["cost_nanousd"] == 11 and receipt["cost_usd"] == "0.000000011"
    assert receipt["usage"]["estimated"] is True and receipt["attempts"] == []
    assert slow.settle("d-slow", 20, {"id": "d-slow"}) is True


def test_a_refused_attempt_is_not_charged_when_its_worker_dies(house, budgeted):
    budgeted.admit(opening("d1", 50, doubtful_nanousd=9))
    budgeted.advance("d1", keep_nanousd=9, reserve_nanousd=1000, doubtful_nanousd=5, receipt={"id": "d1"})
    house.pass_s(100)
    assert budgeted.reconcile(10) == 1
    assert budgeted.spend(["k1"]) == {"k1": 9} and remaining(budgeted) == 91


def test_a_worker_counts_as_dead_when_its_time_is_over_and_not_before(house, budgeted):
    budgeted.alive("w1", 1, 10)
    budgeted.admit(opening("d1", 30))
    house.pass_s(9.999)
    assert budgeted.reconcile(10) == 0
    house.pass_s(0.001)
    assert budgeted.reconcile(10) == 1


def test_records_of_a_worker_that_never_said_it_lives_are_given_up_after_a_while(house, budgeted):
    budgeted.admit(opening("d1", 30))
    house.pass_s(59)
    assert budgeted.reconcile(10) == 0
    house.pass_s(2)
    assert budgeted.reconcile(10) == 1
    assert remaining(budgeted) == 100


def test_a_set_wall_clock_kills_no_worker_and_a_restarted_machine_kills_all(house, budgeted):
    budgeted.alive("w1", 1, 10)
    budgeted.admit(opening("d1", 30))
    house.state("unheard-of").admit(opening("d2", 30))
    house.now_ms += 3_600_000
    assert budgeted.reconcile(10) == 0
    house.up_ms = 1000
    assert budgeted.reconcile(10) == 0
    house.hear_all()
    assert budgeted.reconcile(10) == 2


def test_after_an_outage_of_the_state_nobody_is_dead_before_all_could_say_that_they_live(house, budgeted):
    late, dead = house.state("late"), house.state("dead")
    for worker in (budgeted, late, dead):
        worker.admit(opening(f"d-{worker._worker_id}", 20))
        worker.alive(worker._worker_id, 1, 20)
    house.pass_s(300)  # In which nobody could write.
    reconciled = [budgeted.reconcile(10)]
    budgeted.alive("w1", 1, 20)
    for _ in range(12):
        reconciled.append(budgeted.reconcile(10))
        house.pass_s(5)
        budgeted.alive("w1", 1, 20)
        late.alive("late", 1, 20)
    assert reconciled == [0, 0, 0, 1] + [0] * 9
    assert [receipt["id"] for receipt in budgeted.outbox(10)] == ["d-dead"]


def test_reconciling_goes_on_where_its_limit_stopped_it(house, budgeted):
    for n in range(5):
        budgeted.admit(opening(f"d{n}", 1))
    house.pass_s(100)
    assert [budgeted.reconcile(2) for _ in range(4)] == [2, 2, 1, 0]
    assert len(budgeted.outbox(10)) == 5


# ---------------------------------------------------------------- many at once


def test_four_processes_of_fifty_threads_overspend_by_nothing(house, state, in_processes):
    state.add_key(make_key(monthly_budget_nanousd=100 * 7 + 3), secret("k1"))

    def process(number: int) -> int:
        mine, admitted = house.state(f"w{number}", busy_wait_s=60.0), []

        def thread(n: int) -> None:
            for m in range(3):
                decision_id = f"d-{number}-{n}-{m}"
                if mine.admit(opening(decision_id, 7)) is None:
                    admitted.append(decision_id)

        house.at_once(50, thread)
        for decision_id in admitted:
            mine.settle(decision_id, 7, {"id": decision_id})
        return len(admitted)

    assert sum(in_processes(4, process)) == 100
    assert state.spend(["k1"]) == {"k1": 700} and remaining(state) == 3
    assert len(state.outbox(1000)) == 100


def test_one_lease_has_one_holder_among_processes(house, in_processes):
    assert sum(in_processes(4, lambda n: house.state(f"w{n}").lease("drain", f"w{n}", 10))) == 1


def test_a_key_revoked_by_one_process_is_refused_by_the_others_at_once(house, state):
    other = house.state("w2")
    state.add_key(make_key(), secret("k1"))
    assert other.admit(opening("d1")) is None
    state.change_key("k1", {"enabled": False})
    assert other.admit(opening("d2")) == Refused("key_changed", "k1")


_numbers = itertools.count()
_amounts = st.integers(min_value=0, max_value=60)
_steps = st.lists(st.tuples(st.sampled_from(["admit", "advance", "settle"]), st.integers(0, 9), _amounts, _amounts))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
def test_whatever_the_order_the_budget_holds_and_the_books_are_exact(state, steps):
    key_id, cap, spent = f"key{next(_numbers)}", 100, 0
    state.add_key(make_key(key_id, monthly_budget_nanousd=cap), secret(key_id))
    running: dict[str, tuple[int, int]] = {}  # decision id -> (kept, bound of the attempt that runs)

    def settle(decision_id: str, part: int) -> int:
        kept, bound = running.pop(decision_id)
        assert state.settle(decision_id, kept + min(part, bound), {"id": decision_id})
        return kept + min(part, bound)

    for what, which, first, second in steps:
        decision_id = f"{key_id}-{which}"
        free = cap - spent - sum(kept + bound for kept, bound in running.values())
        if what == "admit" and decision_id not in running:
            refused = state.admit(opening(decision_id, first, key_id=key_id))
            assert (refused is None) == (first <= free)
            if refused is None:
                running[decision_id] = (0, first)
                state.outbox_done([decision_id])
        elif what == "advance" and decision_id in running:
            kept, bound = running[decision_id]
            keep = min(second, bound)
            refused = state.advance(
                decision_id, keep_nanousd=keep, reserve_nanousd=first, doubtful_nanousd=0, receipt={"id": decision_id}
            )
            assert (refused is None) == (keep + first - bound <= max(free, 0))
            running[decision_id] = (kept + keep, first if refused is None else 0)
        elif what == "settle" and decision_id in running:
            spent += settle(decision_id, first)
        free = cap - spent - sum(kept + bound for kept, bound in running.values())
        assert remaining(state, key_id) == free >= 0
        assert state.spend([key_id]) == {key_id: spent}
    spent += sum(settle(decision_id, 1) for decision_id in list(running))
    assert remaining(state, key_id) == cap - spent and state.spend([key_id]) == {key_id: spent}
