"""What holds on one worker holds on all of them: receipts, keys, the catalog. Every worker is asked by its own
connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.harness import HOLDS_WITHIN_S, Answer, Gateway, Key
from tests.factories import chat_body, model_entry, provider_entry
from tests.upstream.process import UpstreamProcess

CHAT = "/v1/chat/completions"


def chat_on_each(gateway: Gateway, key: Key, model: str = "ok") -> list[Answer]:
    return gateway.on_each_worker("POST", CHAT, body=chat_body(model), key=key.secret)


def statuses(answers: list[Answer]) -> list[int]:
    return [answer.status for answer in answers]


@pytest.mark.parametrize("stream", [False, True])
def test_a_receipt_is_on_every_worker_as_soon_as_the_answer_is_out(gateway: Gateway, key: Key, stream: bool) -> None:
    with gateway.each_worker() as connections:
        for asked in [*connections.values()] * 10:
            answer = gateway.chat(chat_body("ok", stream=stream), key=key.secret, connection=asked)
            for other in connections.values():
                found = gateway.ask("GET", f"/v1/decisions/{answer.decision_id}", key=key.secret, connection=other)
                assert found.status == 200, found
                assert (found.json()["status"], found.json()["id"]) == ("ok", answer.decision_id)


def test_a_receipt_stays_readable_while_it_moves_into_the_log(gateway: Gateway, key: Key) -> None:
    decision_id = gateway.chat(chat_body("ok"), key=key.secret).decision_id
    first = gateway.receipt(decision_id, key.secret)
    while not gateway.logs(key):
        assert gateway.receipt(decision_id, key.secret) == first
    assert gateway.receipt(decision_id, key.secret) == first


def test_another_keys_receipt_is_not_there(gateway: Gateway, key: Key) -> None:
    decision_id = gateway.chat(chat_body("ok"), key=key.secret).decision_id
    stranger = gateway.new_key("stranger")
    theirs = gateway.get(f"/v1/decisions/{decision_id}", key=stranger.secret)
    nowhere = gateway.get(f"/v1/decisions/dec_{'0' * 32}", key=stranger.secret)
    assert (theirs.status, nowhere.status) == (404, 404)
    assert theirs.error == nowhere.error
    assert gateway.get(f"/v1/decisions/{decision_id}").status == 401


# ---------------------------------------------------------------- keys


def disable(gateway: Gateway, key: Key) -> Answer:
    return gateway.admin("PATCH", f"/apikeys/{key.id}", {"enabled": False})


def delete(gateway: Gateway, key: Key) -> Answer:
    return gateway.admin("DELETE", f"/apikeys/{key.id}")


def rotate(gateway: Gateway, key: Key) -> Answer:
    return gateway.admin("POST", f"/apikeys/{key.id}/rotate")


@pytest.mark.parametrize("revoke", [disable, delete, rotate])
def test_a_revoked_key_is_refused_on_every_worker_from_that_moment(
    gateway: Gateway, upstream: UpstreamProcess, key: Key, revoke: Callable[[Gateway, Key], Answer]
) -> None:
    with gateway.each_worker() as connections:

        def hammer(path: str, body: Any = None) -> list[int]:
            method = "POST" if body else "GET"
            return [
                gateway.ask(method, path, body, key=key.secret, connection=connection).status
                for connection in connections.values()
            ]

        assert hammer(CHAT, chat_body("ok")) == [200, 200], "both know the key now"
        assert revoke(gateway, key).status == 200
        mark = upstream.mark()
        for _ in range(5):
            assert hammer(CHAT, chat_body("ok")) == [401, 401]
            assert hammer(CHAT, chat_body("ok", stream=True)) == [401, 401]
            assert hammer("/v1/models") == [401, 401]
        assert upstream.calls(mark) == []


def test_a_rotated_keys_new_secret_works_at_once(gateway: Gateway, key: Key) -> None:
    made = rotate(gateway, key).json()
    assert made["key"] != key.secret
    assert statuses(chat_on_each(gateway, Key(key.id, made["key"]))) == [200, 200]


def test_a_disabled_key_works_again_when_it_is_enabled(gateway: Gateway, key: Key) -> None:
    disable(gateway, key)
    assert statuses(chat_on_each(gateway, key)) == [401, 401]
    gateway.admin("PATCH", f"/apikeys/{key.id}", {"enabled": True})
    assert statuses(chat_on_each(gateway, key)) == [200, 200]


def test_an_expired_key_is_refused(gateway: Gateway) -> None:
    key = gateway.new_key("short", expires_in="1s")
    assert statuses(chat_on_each(gateway, key)) == [200, 200]
    time.sleep(1.1)
    assert statuses(chat_on_each(gateway, key)) == [401, 401]


@pytest.mark.parametrize(("change", "status"), [({"scopes": ["plan"]}, 403), ({"allowed_models": ["ok+spare"]}, 403)])
def test_a_narrowed_key_is_narrow_on_every_worker(gateway: Gateway, key: Key, change: Any, status: int) -> None:
    assert statuses(chat_on_each(gateway, key)) == [200, 200]
    assert gateway.admin("PATCH", f"/apikeys/{key.id}", change).status == 200
    time.sleep(HOLDS_WITHIN_S)
    assert statuses(chat_on_each(gateway, key)) == [status, status]


def test_the_model_list_shows_what_the_key_may_use(gateway: Gateway) -> None:
    key = gateway.new_key("narrow", allowed_models=["ok", "meta-llama/Llama-3"])
    listed = gateway.get("/v1/models", key=key.secret).json()["data"]
    assert {model["id"] for model in listed} == {"ok", "meta-llama/Llama-3"}
    assert all(model["object"] == "model" and isinstance(model["created"], int) for model in listed)
    assert gateway.get("/v1/models/meta-llama/Llama-3", key=key.secret).json()["owned_by"] == "beta"
    assert gateway.get("/v1/models/meta-llama%2FLlama-3", key=key.secret).status == 200
    assert gateway.get("/v1/models/echo", key=key.secret).status == 404
    assert gateway.get("/v1/models").status == 401


def test_a_limited_key_is_never_routed_or_failed_over_to_another_model(
    gateway: Gateway, upstream: UpstreamProcess
) -> None:
    key = gateway.new_key("narrow", allowed_models=["status-500", "ok+spare"])
    mark = upstream.mark()
    assert gateway.chat(chat_body("ok"), key=key.secret).status == 403
    assert gateway.chat(chat_body("auto"), key=key.secret).headers["x-tokenhub-model"] == "ok+spare"
    assert gateway.chat(chat_body("status-500"), key=key.secret).headers["x-tokenhub-model"] == "ok+spare"
    assert [call["model"] for call in upstream.calls(mark)] == ["ok+spare", "status-500", "ok+spare"]


# ---------------------------------------------------------------- the catalog


def holds_on_every_worker(gateway: Gateway, check: Callable[[Any], bool]) -> None:
    """Within the promised time (and a little, for a busy machine) all workers say so."""
    with gateway.each_worker() as connections:
        end = time.monotonic() + HOLDS_WITHIN_S + 1
        while True:
            if all(check(connection) for connection in connections.values()):
                return
            assert time.monotonic() < end, "not on all workers in time"
            time.sleep(0.05)


def listed(gateway: Gateway, connection: Any) -> set[str]:
    answer = gateway.ask("GET", "/v1/models", connection=connection)
    return {model["id"] for model in answer.json()["data"]}


def test_models_and_providers_change_on_all_workers(gateway: Gateway, upstream: UpstreamProcess) -> None:
    provider = provider_entry("gamma", f"{upstream.url}/v1/")
    assert gateway.admin("POST", "/providers", provider).status in (200, 201)
    model = model_entry("team/new-model", "gamma", upstream_name="ok-3")
    assert gateway.admin("POST", "/models", model).status in (200, 201)
    holds_on_every_worker(gateway, lambda each: "team/new-model" in listed(gateway, each))
    mark = upstream.mark()
    for answer in gateway.on_each_worker("POST", CHAT, body=chat_body("team/new-model")):
        assert (answer.status, answer.headers["x-tokenhub-provider"]) == (200, "gamma")
    assert [call["model"] for call in upstream.calls(mark)] == ["ok-3", "ok-3"]

    assert gateway.admin("PATCH", "/models/team/new-model", {"upstream_name": "ok-5", "weight": 2}).status == 200

    def says_five(each: Any) -> bool:
        answer = gateway.chat(chat_body("team/new-model"), connection=each)
        return bool(answer.json()["usage"]["completion_tokens"] == 5)

    holds_on_every_worker(gateway, says_five)

    assert gateway.admin("PATCH", "/providers/gamma", {"enabled": False}).status == 200
    holds_on_every_worker(gateway, lambda each: "team/new-model" not in listed(gateway, each))
    assert gateway.admin("PATCH", "/providers/gamma", {"enabled": True}).status == 200
    holds_on_every_worker(gateway, lambda each: "team/new-model" in listed(gateway, each))

    assert gateway.admin("DELETE", "/models/team/new-model").status == 200
    holds_on_every_worker(gateway, lambda each: "team/new-model" not in listed(gateway, each))
    assert gateway.admin("DELETE", "/providers/gamma").status == 200
    ids = {row["id"] for row in gateway.admin("GET", "/providers").json()["items"]}
    assert "gamma" not in ids


def test_a_providers_new_key_is_used_by_all_workers(gateway: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    gateway.on_each_worker("POST", CHAT, body=chat_body("meta-llama/Llama-3"))
    (old,) = {call["authorization_sha256"] for call in upstream.calls(mark)}
    assert gateway.admin("PATCH", "/providers/beta", {"api_key": "sk-beta-canary-second"}).status == 200

    def uses_the_new_one(each: Any) -> bool:
        mark = upstream.mark()
        gateway.chat(chat_body("meta-llama/Llama-3"), connection=each)
        return bool(upstream.calls(mark)[0]["authorization_sha256"] != old)

    holds_on_every_worker(gateway, uses_the_new_one)
