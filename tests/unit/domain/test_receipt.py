"""The receipt's one outside form."""

from __future__ import annotations

import json

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Message, Text, Usage
from tokenhub.domain.eligibility import Rejection
from tokenhub.domain.keys import ApiKey, Caller
from tokenhub.domain.money import Price
from tokenhub.domain.policy import DEFAULTS
from tokenhub.domain.receipt import MAX_REJECTED, AttemptRecord, Receipt, timestamp
from tokenhub.domain.selection import prepare, select
from tokenhub.errors import ProviderTransient

KEY = ApiKey("key_1", "app", "tokenhub_abcd", ("chat",), 1, True, 0)


def receipt() -> Receipt:
    return Receipt("dec_1", "req_1", 1_700_000_000_123, Caller(KEY, "127.0.0.1", b"secret"), "openai", False, "auto")


def test_times_leave_as_utc() -> None:
    assert timestamp(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"


def test_a_fresh_receipt_is_complete_json() -> None:
    body = json.loads(json.dumps(receipt().as_json()))
    assert body["id"] == "dec_1" and body["model"] == "" and body["attempts"] == [] and body["cost_usd"] == "0"
    assert "secret" not in json.dumps(body)


def test_the_opening_is_part_of_the_whole() -> None:
    made = receipt()
    assert made.as_opening().items() <= made.as_json().items()


def test_routing_attempts_and_bill_are_told() -> None:
    made = receipt()
    policy = {"mode": "cheap", "min_weight": 90}
    command = ChatCommand("openai", {}, 10, [Message("user", [Text("hi")])], max_output_tokens=7, policy=policy)
    made.prepared = prepare(command, KEY, DEFAULTS)
    models = [Model("a", "p", "a", price=Price(1, 2), price_source="operator"), Model("b", "p", "b", enabled=False)]
    made.itinerary = select(made.prepared, Catalog.build(1, [Provider("p", "openai")], models), {"p"}, "dec_1")
    attempt = made.itinerary.first()
    assert attempt is not None
    record = made.attempted(attempt)
    made.failed(record, ProviderTransient("cut", code="connection_lost", status=503), 12)
    made.usage, made.cost_nanousd = Usage(3, 4), 1_250
    body = made.as_json()
    assert body["policy"]["mode"] == {"value": "cheap", "set_by": "request"}
    assert [c["model"] for c in body["candidates"]] == ["a"]
    assert body["rejected"] == [
        {"model": "b", "provider": "p", "reason": "disabled", "detail": "the model or its provider is disabled"}
    ]
    assert body["attempts"][0] | {"outcome": "connection_lost", "status": 503, "latency_ms": 12} == body["attempts"][0]
    assert body["cost_usd"] == "0.00000125" and body["usage"]["output_tokens"] == 4
    assert body["attempts"][0]["blame"] == "target" and body["hint"] == ""
    assert body["price"] == {"source": "operator", "input_per_1m_nanousd": 1, "output_per_1m_nanousd": 2}
    assert set(body["candidates"][0]["parts"]) == {"cost", "latency", "errors", "weight"}
    assert (body["input_tokens_estimated"], body["max_output_tokens"], body["choices"]) == (5, 7, 1)
    assert body["set_aside"] == [] and body["clamped"] == {"min_weight": [90, 50]}


def test_the_price_is_the_price_of_the_model_that_was_tried_last() -> None:
    made = receipt()
    assert made.as_json()["price"] is None
    made.answering = Model("a", "p", "a")
    assert made.as_json()["price"] is None
    made.answering = Model("a", "p", "a", price=Price(1, 2), price_source="list 2026-01-01")
    assert made.as_json()["price"]["source"] == "list 2026-01-01"


def test_an_attempt_is_told_whole() -> None:
    record = AttemptRecord(1, "a", "p", "why")
    assert record.as_json() == {name: getattr(record, name) for name in AttemptRecord.__dataclass_fields__}


def test_an_unknown_price_is_not_shown_as_nothing() -> None:
    made = receipt()
    made.price_known = False
    assert made.as_json()["cost_usd"] is None


def test_long_lists_are_cut() -> None:
    made = receipt()
    made.rejections = [Rejection(f"m{i}", "p", "disabled") for i in range(MAX_REJECTED * 2)]
    body = made.as_json()
    assert len(body["rejected"]) == MAX_REJECTED and body["rejected_total"] == MAX_REJECTED * 2
