"""The books are exact: receipts against the upstream's ledger, and a budget under 200 requests at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.e2e.conftest import EDGE, EDGE_OUTPUT_PER_1K, EDGE_TOKENS
from tests.e2e.harness import Answer, Gateway, Key, until
from tests.factories import INPUT_NANOUSD, OUTPUT_NANOUSD, chat_body
from tests.upstream.process import UpstreamProcess

PRICES = {"ok": (INPUT_NANOUSD // 2, OUTPUT_NANOUSD // 2), "ok+spare": (INPUT_NANOUSD // 2, OUTPUT_NANOUSD // 2)}
EDGE_COST_NANOUSD = EDGE_TOKENS * round(EDGE_OUTPUT_PER_1K * 1_000_000)


def at_once(count: int, ask: Callable[[int], Answer]) -> list[Answer]:
    """`count` requests, all begun at the same moment."""
    barrier = threading.Barrier(count)
    answers: list[Answer | None] = [None] * count

    def one(number: int) -> None:
        barrier.wait()
        answers[number] = ask(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in answers
    return [answer for answer in answers if answer is not None]


def spend_usd(gateway: Gateway, key: Key) -> float:
    """What the admin's list says that a budgeted key spent."""
    keys = gateway.admin("GET", "/apikeys?limit=1000").json()["keys"]
    (found,) = [row for row in keys if row["id"] == key.id]
    return float(found["current_spend_usd"])


def test_the_sum_of_receipts_is_the_upstreams_ledger(gateway: Gateway, upstream: UpstreamProcess, key: Key) -> None:
    models = ["ok", "ok-3", "ok-40", "cached", "tools", "tools-parallel", "json", "empty", "usage-twice", "status-500"]
    mark = upstream.mark()

    def ask(number: int) -> Answer:
        body = chat_body(models[number % len(models)], f"question {number} " * (number + 1), stream=number % 2 == 1)
        return gateway.chat(body, key=key.secret, headers={"x-request-id": f"books-{number}"})

    answers = at_once(60, ask)
    assert [answer.status for answer in answers] == [200] * 60
    calls = upstream.closed_calls(mark)
    billed = {call["request_id"]: call for call in calls if call["status"] == 200}
    assert len(billed) == 60
    total: Counter[str] = Counter()
    for number, answer in enumerate(answers):
        receipt = gateway.receipt(answer.decision_id, key.secret)
        call = billed[f"books-{number}"]
        usage = receipt["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (call["usage"]["prompt"], call["usage"]["completion"])
        assert usage["cache_read_tokens"] == call["usage"]["cached"]
        input_price, output_price = PRICES.get(call["model"], (INPUT_NANOUSD, OUTPUT_NANOUSD))
        assert receipt["cost_nanousd"] == (
            usage["input_tokens"] * input_price + usage["output_tokens"] * output_price
        ), receipt
        total["cost"] += receipt["cost_nanousd"]
        total["input"] += usage["input_tokens"]
        total["output"] += usage["output_tokens"]
    assert total["input"] == sum(call["usage"]["prompt"] for call in billed.values())
    assert total["output"] == sum(call["usage"]["completion"] for call in billed.values())
    until(lambda: len(gateway.logs(key)) == 60)
    rows = gateway.logs(key)
    assert sum(row["cost_nanousd"] for row in rows) == total["cost"]
    assert {row["request_id"] for row in rows} == set(billed)


def test_two_hundred_requests_at_once_never_overspend_a_budget(gateway: Gateway, upstream: UpstreamProcess) -> None:
    affordable = 20
    budget_nanousd = affordable * EDGE_COST_NANOUSD
    key = gateway.new_key("edge", monthly_budget_usd=budget_nanousd / 1e9)
    mark = upstream.mark()

    def ask(number: int) -> Answer:
        body = chat_body(EDGE, max_tokens=EDGE_TOKENS, stream=number % 3 == 0)
        return gateway.chat(body, key=key.secret)

    answers = at_once(200, ask)
    statuses = Counter(answer.status for answer in answers)
    assert statuses == {200: affordable, 429: 200 - affordable}
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.error["code"] for answer in refused} == {"insufficient_quota"}
    assert {answer.error["type"] for answer in refused} == {"insufficient_quota"}
    assert {answer.headers.get("x-should-retry") for answer in refused} == {"false"}
    assert len(upstream.closed_calls(mark)) == affordable
    costs = [
        gateway.receipt(answer.decision_id, key.secret)["cost_nanousd"] for answer in answers if answer.status == 200
    ]
    assert sum(costs) == budget_nanousd, "overspend 0, and nothing left unused"
    assert round(spend_usd(gateway, key) * 1e9) == budget_nanousd
    until(lambda: len(gateway.logs(key)) == 200)
    assert Counter(row["status_code"] for row in gateway.logs(key)) == statuses, "every request has its row"


def test_reservations_that_were_too_large_are_given_back(gateway: Gateway) -> None:
    body = chat_body("ok", max_tokens=8)
    probe = gateway.new_key("probe", monthly_budget_usd=1)
    cost = gateway.receipt(gateway.chat(body, key=probe.secret).decision_id, probe.secret)["cost_nanousd"]
    bound = 2_000_000
    key = gateway.new_key("tight", monthly_budget_usd=(bound + 30 * cost) / 1e9)
    answers = [gateway.chat(body, key=key.secret).status for _ in range(25)]
    assert answers == [200] * 25, "each settles at what it cost before the next is admitted"
    assert round(spend_usd(gateway, key) * 1e9) == 25 * cost


def test_a_raised_budget_is_at_hand_on_every_worker(gateway: Gateway) -> None:
    key = gateway.new_key("poor", monthly_budget_usd=0.000001)
    body = chat_body(EDGE, max_tokens=EDGE_TOKENS)
    assert [a.status for a in gateway.on_each_worker("POST", "/v1/chat/completions", body=body, key=key.secret)] == [
        429,
        429,
    ]
    assert gateway.admin("PATCH", f"/apikeys/{key.id}", {"monthly_budget_usd": 1}).status == 200
    answers = gateway.on_each_worker("POST", "/v1/chat/completions", body=body, key=key.secret)
    assert [answer.status for answer in answers] == [200, 200]


def test_a_request_whose_cost_nothing_bounds_is_refused_on_a_budget(gateway: Gateway) -> None:
    key = gateway.new_key("careful", monthly_budget_usd=5)
    by_reference: Any = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    answer = gateway.chat({"model": "ok", "messages": by_reference}, key=key.secret)
    assert answer.status == 400
    assert "cost_unbounded" in answer.error["message"]


def test_an_upstream_error_costs_nothing(gateway: Gateway) -> None:
    key = gateway.new_key("unlucky", monthly_budget_usd=1)
    assert gateway.chat(chat_body("status-400"), key=key.secret).status == 400
    assert spend_usd(gateway, key) == 0
