"""Receipts survive the state whatever is in them."""

from __future__ import annotations

import pytest

from tokenhub.domain.keys import ApiKey, Caller
from tokenhub.domain.receipt import Receipt
from tokenhub.state.receipts import decode, died, encode


def receipt() -> Receipt:
    key = ApiKey("k1", "a key", "tokenhub_abcd", ("chat",), 1, True, 1000)
    return Receipt("dec_1", "req_1", 1_700_000_000_000, Caller(key, "127.0.0.1"), "openai", True, "auto")


def test_a_receipt_comes_back_as_it_went_in():
    whole = receipt().as_json()
    assert decode(encode(whole)) == whole


@pytest.mark.parametrize(
    ("odd", "becomes"),
    [("a\ud800b", "a?b"), (float("nan"), None), (2**70, float(2**70)), ({1, 2}, "{1, 2}"), ({1: 2}, {"1": 2})],
)
def test_what_json_cannot_say_is_replaced_and_the_rest_kept(odd, becomes):
    assert decode(encode({"id": "ü", "odd": odd})) == {"id": "ü", "odd": becomes}
    beside = {"lone": "\udfff", "none": float("inf")}
    assert decode(encode({"id": "ü", "odd": odd, **beside})) == {"id": "ü", "odd": becomes, "lone": "?", "none": None}


def test_the_last_word_on_a_dead_workers_request_has_every_field_of_a_receipt():
    whole, last = receipt().as_json(), died(receipt().as_opening(), 1_500_000_000)
    assert set(last) == set(whole) and set(last["usage"]) == set(whole["usage"])
    assert (last["status"], last["error_code"], last["cost_usd"]) == ("cancelled", "worker_died", "1.5")
    assert last["id"] == "dec_1" and last["usage"]["estimated"] is True
