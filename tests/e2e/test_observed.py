"""What the gateway learns from its answers: on every worker, and over a restart."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.conftest import GatewayFactory
from tests.e2e.harness import Gateway, until
from tests.factories import JsonObject, chat_body, model_entry, provider_entry
from tests.upstream.process import UpstreamProcess


def start(start_gateway: GatewayFactory, upstream: UpstreamProcess, **weights: int) -> Gateway:
    models = [model_entry(name.replace("_", "-"), weight=weight) for name, weight in weights.items()]
    return start_gateway({"providers": [provider_entry("alpha", upstream.url)], "models": models})


def first_choices(gateway: Gateway) -> list[str]:
    """What each worker would try first."""
    answers = gateway.on_each_worker("POST", "/v1/chat/completions", body=chat_body("auto"))
    return [gateway.receipt(answer.decision_id)["candidates"][0]["model"] for answer in answers]


def all_choose(gateway: Gateway, model: str) -> Callable[[], bool]:
    return lambda: set(first_choices(gateway)) == {model}


def learned(gateway: Gateway, model: str, samples: int) -> dict[str, JsonObject]:
    """What one worker knows of each model, once it has seen so many answers of this one."""
    known: dict[str, JsonObject] = {}

    def is_there() -> bool:
        page = gateway.admin("GET", "/engine/models").json()["models"]
        known.update({row["id"]: row["observed"] or {} for row in page})
        return bool(known[model].get("samples") == samples)

    until(is_there, 10)
    return known


def test_a_model_that_fails_is_avoided_by_every_worker_and_after_a_restart(
    start_gateway: GatewayFactory, upstream: UpstreamProcess
) -> None:
    # The weights differ less than the failures will.
    gateway = start(start_gateway, upstream, status_500=52, ok=50, ok_40=0)
    assert set(first_choices(gateway)) == {"status-500"}
    until(all_choose(gateway, "ok"), 10)
    parts = gateway.receipt(gateway.chat(chat_body("auto")).decision_id)["candidates"]
    failing = next(candidate for candidate in parts if candidate["model"] == "status-500")
    assert failing["parts"]["errors"] > 0
    assert learned(gateway, "status-500", 0)["status-500"]["error_rate"] > 0.05
    gateway.stop()
    gateway.start()
    until(all_choose(gateway, "ok"), 10)


def test_requests_that_are_bad_or_left_say_nothing_of_a_model(
    start_gateway: GatewayFactory, upstream: UpstreamProcess
) -> None:
    gateway = start(start_gateway, upstream, status_400=52, ok=50)
    for _ in range(5):
        assert gateway.chat(chat_body("status-400")).status == 400
    assert gateway.chat(chat_body("ok")).status == 200
    assert learned(gateway, "ok", 1)["status-400"] == {}


def test_what_an_answer_takes_and_how_long_it_is_are_learned(
    start_gateway: GatewayFactory, upstream: UpstreamProcess
) -> None:
    gateway = start(start_gateway, upstream, ok=50)
    for stream in (False, True):
        assert gateway.chat(chat_body("auto", stream=stream)).status == 200
    row = learned(gateway, "ok", 2)["ok"]
    assert row["output_tokens"] == 8 and row["ttft_ms"] is not None and row["latency_ms"] < 1000
    receipt = gateway.receipt(gateway.chat(chat_body("auto")).decision_id)
    assert receipt["price"]["source"] == "operator" and receipt["hint"] == "" and receipt["attempts"][0]["blame"] == ""


def test_a_receipt_tells_how_long_an_answer_was_expected_to_take(
    start_gateway: GatewayFactory, upstream: UpstreamProcess
) -> None:
    gateway = start(start_gateway, upstream, ok=50)

    def is_told() -> bool:
        receipt = gateway.receipt(gateway.chat(chat_body("auto")).decision_id)
        return receipt["candidates"][0]["predicted_latency_ms"] is not None

    assert not is_told()
    until(is_told, 10)
