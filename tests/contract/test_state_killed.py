"""SIGKILL at any point: nothing that was acknowledged is lost, and what was reserved comes back."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest

from tests.contract.conftest import make_key, opening, secret
from tokenhub.domain.ports import Rate

CALLS = (
    lambda state: state.alive("victim", os.getpid(), 10),
    lambda state: state.take([Rate("address:1", 1000, 1000)]),
    lambda state: state.admit(opening("d1", 30, doubtful_nanousd=4)),
    lambda state: state.advance(
        "d1", keep_nanousd=4, reserve_nanousd=20, doubtful_nanousd=3, receipt={"id": "d1", "model": "m2"}
    ),
    lambda state: state.settle("d1", 9, {"id": "d1", "status": "ok"}),
    lambda state: state.lease("drain", "victim", 10),
    lambda state: state.outbox_done(["d1"]),
    lambda state: state.change_key("k1", {"name": "other"}),
    lambda state: state.put_provider_key("p1", b"sealed"),
)
EXPECTED_SPEND = (0, 0, 0, 4, 7, 9, 9, 9, 9, 9)
"""By the number of calls that were made before the kill, after reconciling."""


def victim(function):
    """Run `function(sender)` in a child that the test kills; gives the child and the receiving end."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=function, args=(sender,))
    child.start()
    sender.close()
    return child, receiver


def left_by(house):
    """The state as the next worker finds it when the victim's time is over."""
    house.check()
    state = house.state("next")
    house.pass_s(100)
    house.hear_all()
    while state.reconcile(100):
        pass
    assert state.admit(opening("too-much", 10**12, key_version=state.key("k1").version)).remaining_nanousd == (
        10**6 - state.spend(["k1"])["k1"]
    ), "a reservation is left"
    return state


@pytest.mark.parametrize("calls", range(len(CALLS) + 1))
def test_killed_after_any_call_loses_nothing(house, calls):
    house.state().add_key(make_key(monthly_budget_nanousd=10**6), secret("k1"))

    def work(sender):
        state = house.state("victim")
        for call in CALLS[:calls]:
            call(state)
        sender.send("done")
        signal.pause()

    child, receiver = victim(work)
    assert receiver.recv() == "done"
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    state = left_by(house)
    assert state.spend(["k1"]) == {"k1": EXPECTED_SPEND[calls]}
    receipts = {receipt["id"]: receipt["status"] for receipt in state.outbox(10)}
    assert receipts == ({} if calls < 3 or calls > 6 else {"d1": "cancelled" if calls < 5 else "ok"})
    assert state.key("k1").version == (2 if calls > 7 else 1)
    assert (state.provider_keys() == {"p1": b"sealed"}) == (calls > 8)
    assert state.lease("drain", "next", 10)


@pytest.mark.parametrize("seed", range(6))
def test_killed_in_the_middle_of_anything_loses_nothing_that_was_acknowledged(house, seed):
    house.state().add_key(make_key(monthly_budget_nanousd=10**6), secret("k1"))

    def work(sender):
        state = house.state("victim")
        state.alive("victim", os.getpid(), 10)
        for n in range(10**6):
            decision_id = f"d{n}"
            state.admit(opening(decision_id, 10, doubtful_nanousd=3))
            if n % 3 == 0:
                state.advance(
                    decision_id, keep_nanousd=3, reserve_nanousd=5, doubtful_nanousd=2, receipt={"id": decision_id}
                )
            if n % 5:
                state.settle(decision_id, 1, {"id": decision_id, "status": "ok"})
                sender.send(decision_id)

    child, receiver = victim(work)
    acknowledged = [receiver.recv()]
    time.sleep(random.Random(seed).uniform(0.01, 0.15))
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    try:
        while True:
            acknowledged.append(receiver.recv())
    except EOFError:
        pass
    state = left_by(house)
    receipts = state.outbox(10**6)
    settled = {receipt["id"] for receipt in receipts if receipt["status"] == "ok"}
    assert set(acknowledged) <= settled and len(settled) <= len(acknowledged) + 1
    cost = len(settled) + sum(receipt["cost_nanousd"] for receipt in receipts if receipt["status"] == "cancelled")
    assert state.spend(["k1"]) == {"k1": cost}
