"""What a simulation foretells is what a request meets: hints, aliases and fallbacks, over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import Gateway, until
from tests.factories import chat_body
from tests.upstream.process import UpstreamProcess


def foretold(gateway: Gateway, **question: Any) -> Any:
    answer = gateway.admin("POST", "/routing/simulate", question)
    assert answer.status == 200, answer
    return answer.json()


@pytest.fixture
def alias(gateway: Gateway) -> Any:
    """An alias whose first target fails, known to every worker."""
    made = gateway.admin("POST", "/aliases", {"name": "team/chat", "targets": ["status-503", "ok+spare"]})
    assert made.status == 200, made
    path, question = "/admin/v1/routing/simulate", {"model": "team/chat"}

    def is_known() -> bool:
        answers = gateway.on_each_worker("POST", path, body=question, key=gateway.admin_token)
        return all(answer.json()["hint"]["kind"] == "alias" for answer in answers)

    until(is_known)
    yield "team/chat"
    assert gateway.admin("DELETE", "/aliases/team/chat").status == 200


def test_an_alias_is_answered_by_its_next_target_where_the_first_fails(
    gateway: Gateway, upstream: UpstreamProcess, alias: str
) -> None:
    told = foretold(gateway, model=alias)
    order = [told["chosen"]["model"], *(row["model"] for row in told["then"])]
    assert order[:2] == ["status-503", "ok+spare"] and told["chosen"]["reason"] == f"routed-alias-{alias}"
    mark = upstream.mark()
    answer = gateway.chat(chat_body(alias))
    assert (answer.status, answer.headers["x-tokenhub-model"]) == (200, "ok+spare")
    assert [call["model"] for call in upstream.calls(mark)] == order[:2]


@pytest.mark.parametrize(
    ("fallback", "asked"),
    [("none", ["status-503"]), ("same_model", ["status-503"]), (["ok+spare"], ["status-503", "ok+spare"])],
)
def test_a_fallback_is_kept_to(gateway: Gateway, upstream: UpstreamProcess, fallback: Any, asked: list[str]) -> None:
    told = foretold(gateway, model="status-503", fallback=fallback)
    assert [told["chosen"]["model"], *(row["model"] for row in told["then"])] == asked
    mark = upstream.mark()
    answer = gateway.chat(chat_body("status-503", tokenhub={"fallback": fallback}))
    assert [call["model"] for call in upstream.calls(mark)] == asked
    assert answer.status == (200 if len(asked) > 1 else 502)


def test_a_simulation_asks_nobody_and_leaves_no_row(gateway: Gateway, upstream: UpstreamProcess) -> None:
    mark, rows = upstream.mark(), gateway.admin("GET", "/logs?limit=1").json()["logs"]
    told = foretold(gateway, mode="cheap", token_count=500)
    assert told["chosen"] and told["candidates_total"] > 1 and told["policy"]["mode"]["set_by"] == "request"
    assert upstream.calls(mark) == [] and gateway.admin("GET", "/logs?limit=1").json()["logs"] == rows


def test_the_engine_shows_its_models_and_adapters(gateway: Gateway) -> None:
    page = gateway.admin("GET", "/engine/models").json()
    assert set(page["adapters"]) == {"alpha", "beta"} <= {row["id"] for row in page["adapter_info"]}
    ok = next(row for row in page["models"] if row["id"] == "ok")
    assert ok["ready"] and ok["input_per_1k"] == 0.0005 and ok["price_source"] == "operator"
    assert "canary" not in gateway.admin("GET", "/engine/models").body.decode()
