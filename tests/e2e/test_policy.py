"""The policy of a request on a real server: who set each value, on every worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.e2e.conftest import GatewayFactory, catalogue
from tests.e2e.harness import HOLDS_WITHIN_S, Gateway, until
from tests.factories import chat_body
from tests.upstream.process import UpstreamProcess


def policy_of(gateway: Gateway, body: Any = None, **arguments: Any) -> dict[str, tuple[Any, str]]:
    """What one request's receipt says of its policy, by row."""
    answer = gateway.chat(body or chat_body("ok"), **arguments)
    assert answer.status == 200, answer
    told = gateway.receipt(answer.decision_id, key=arguments.get("key"))["policy"]
    return {name: (row["value"], row["set_by"]) for name, row in told.items()}


def test_a_body_wins_over_a_header_and_a_header_over_the_key(gateway: Gateway) -> None:
    key = gateway.new_key("terms", policy={"mode": "cheap", "max_latency_ms": 250_000, "max_budget_usd": 2}).secret
    body = chat_body("ok", tokenhub={"mode": "planning"})
    found = policy_of(gateway, body, key=key, headers={"x-tokenhub-mode": "normal", "x-tokenhub-max-budget-usd": "1.5"})
    assert found["mode"] == ("planning", "request")
    assert found["max_budget_usd"] == (1.5, "header")
    assert found["max_latency_ms"] == (250_000, "key")
    assert found["fallback"] == ("any", "default")


def test_a_keys_ceiling_brings_a_request_down_from_then_on(gateway: Gateway) -> None:
    key = gateway.new_key("bounded")
    ask = chat_body("ok", tokenhub={"max_budget_usd": 0, "fallback": "any"})
    assert policy_of(gateway, ask, key=key.secret)["max_budget_usd"] == (0, "request")
    ceilings = {"max_budget_usd": 0.5, "fallback": "same_model"}
    assert gateway.admin("PATCH", f"/apikeys/{key.id}", {"policy_ceilings": ceilings}).status == 200
    found = policy_of(gateway, ask, key=key.secret)
    assert found["max_budget_usd"] == (0.5, "key_ceiling")
    assert found["fallback"] == ("same_model", "key_ceiling")


def test_a_bad_header_is_refused_by_its_name(gateway: Gateway) -> None:
    refused = gateway.chat(chat_body("ok"), headers={"x-tokenhub-max-budget-usd": "lots"})
    assert (refused.status, refused.error["param"]) == (400, "x-tokenhub-max-budget-usd")
    later = gateway.chat(chat_body("ok"), headers={"x-tokenhub-mode": "thompson"})
    assert (later.status, later.error["message"]) == (400, "mode 'thompson' is not available yet")


def test_what_an_administrator_sets_holds_on_all_workers_and_outlives_a_reload(
    upstream: UpstreamProcess, start_gateway: GatewayFactory, tmp_path: Path
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("TOKENHUB_DEFAULT_MODE=planning\n")
    gateway = start_gateway(catalogue(upstream), {"TOKENHUB_ENV_FILE": str(env_file)})

    def everywhere(name: str) -> set[tuple[Any, str]]:
        answers = gateway.on_each_worker("POST", "/v1/chat/completions", body=chat_body("ok"))
        rows = [gateway.receipt(answer.decision_id)["policy"][name] for answer in answers]
        return {(row["value"], row["set_by"]) for row in rows}

    assert everywhere("mode") == {("planning", "server")}
    assert gateway.admin("PUT", "/routing-config", {"default_mode": "cheap"}).status == 200
    until(lambda: everywhere("mode") == {("cheap", "admin")}, HOLDS_WITHIN_S)
    env_file.write_text("TOKENHUB_DEFAULT_MODE=normal\nTOKENHUB_DEFAULT_MIN_WEIGHT=3\n")
    os.kill(gateway.process.pid, signal.SIGHUP)
    until(lambda: everywhere("min_weight") == {(3, "server")}, 5)
    assert everywhere("mode") == {("cheap", "admin")}
    shown = gateway.admin("GET", "/routing-config").json()
    assert (shown["default_mode"], shown["set_by"]["default_mode"]) == ("cheap", "admin")
    assert (shown["default_min_weight"], shown["set_by"]["default_min_weight"]) == (3, "server")
    assert gateway.admin("PUT", "/routing-config", {"default_mode": None}).status == 200
    until(lambda: everywhere("mode") == {("normal", "default")}, HOLDS_WITHIN_S)
