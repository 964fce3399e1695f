"""The walk through the rooms: whatever happens, one receipt and an exact bill."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.services.conftest import Bench, Line, ScriptedStream, chunk, command, model, reply
from tokenhub.domain.catalog import Catalog
from tokenhub.domain.chat import Usage
from tokenhub.domain.ports import Rate
from tokenhub.errors import (
    AllAttemptsFailed,
    ClientGone,
    Forbidden,
    NoEligibleModel,
    ProviderFatal,
    ProviderTransient,
    RateLimited,
    SpendLimitReached,
    Unauthenticated,
    Unavailable,
)

Make = Callable[..., Bench]
INPUT = 14  # 40 Latin characters and the overhead of a message


def test_a_whole_answer_is_billed_by_the_providers_usage(bench: Make) -> None:
    b = bench({"a": reply(usage=Usage(10, 5))})
    result = b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert result.reply.usage == Usage(10, 5)
    receipt = b.receipt()
    assert receipt["cost_nanousd"] == 10 * 1000 + 5 * 2000 == b.spent()
    assert receipt["status"] == "ok" and receipt["reason"] == "routed-hint-exact" and receipt["model"] == "a"
    assert b.open_records() == 0


@pytest.mark.parametrize("usage", [None, Usage(10, 0)])
def test_usage_that_cannot_be_true_is_counted_by_us(bench: Make, usage: Usage | None) -> None:
    b = bench({"a": reply(text_bytes=40, usage=usage)})
    result = b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert result.reply.usage == Usage(INPUT, 10, estimated=True)
    assert b.spent() == INPUT * 1000 + 10 * 2000


def test_a_failing_model_is_replaced_and_both_attempts_are_told(bench: Make) -> None:
    b = bench({"a": ProviderTransient("down", code="connect_failed"), "b": reply(usage=Usage(1, 1))})
    b.chat.complete(command("a"), b.caller, "req_1", Line())
    receipt = b.receipt()
    assert b.providers.asked == ["a", "b"]
    assert [(a["model"], a["outcome"], a["kept_nanousd"]) for a in receipt["attempts"]] == [
        ("a", "connect_failed", 0),
        ("b", "ok", 0),
    ]
    assert receipt["reason"] == "failover-connect-failed" and b.spent() == 3000


def test_a_doubtful_attempt_keeps_its_input(bench: Make) -> None:
    b = bench({"a": ProviderTransient("lost", doubtful=True), "b": reply(usage=Usage(1, 1))})
    b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert b.receipt()["attempts"][0]["kept_nanousd"] == INPUT * 1000
    assert b.spent() == INPUT * 1000 + 3000


def test_a_request_that_fails_everywhere_is_settled_with_what_was_doubtful(bench: Make) -> None:
    b = bench({"a": ProviderTransient("lost", doubtful=True), "b": ProviderTransient("down")})
    with pytest.raises(AllAttemptsFailed):
        b.chat.complete(command("a"), b.caller, "req_1", Line())
    receipt = b.receipt()
    assert receipt["status"] == "error" and receipt["status_code"] == 599 and len(receipt["attempts"]) == 2
    assert b.spent() == receipt["cost_nanousd"] == INPUT * 1000 and b.open_records() == 0


def test_the_callers_own_mistake_is_not_tried_elsewhere(bench: Make) -> None:
    failure = ProviderFatal("bad tools", status=400, blame="caller", code="invalid_tools")
    b = bench({"a": failure, "b": reply()})
    with pytest.raises(AllAttemptsFailed) as caught:
        b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert b.providers.asked == ["a"] and caught.value.cause is failure and caught.value.message == "bad tools"
    assert b.spent() == 0


def test_a_bug_in_the_middle_is_settled_as_doubtful(bench: Make) -> None:
    b = bench({"a": ZeroDivisionError()})
    with pytest.raises(ZeroDivisionError):
        b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert b.receipt()["status"] == "cancelled" and b.spent() == INPUT * 1000 and b.open_records() == 0


def test_a_stream_is_settled_before_it_ends(bench: Make) -> None:
    stream = ScriptedStream([chunk("he"), chunk("llo", finish_reason="stop"), chunk(usage=Usage(9, 2), choice_count=0)])
    b = bench({"a": stream})
    chunks = iter(b.chat.stream(command("a", stream=True), b.caller, "req_1", Line()))
    assert next(chunks).text_bytes == 2 and b.open_records() == 1
    assert len(list(chunks)) == 2
    assert b.receipt()["usage"]["output_tokens"] == 2 and b.spent() == 9 * 1000 + 2 * 2000
    assert stream.closed == 1 and b.receipt()["ttft_ms"] is not None


def test_growing_usage_is_billed_once_at_its_last_value(bench: Make) -> None:
    chunks = [chunk("a", usage=Usage(9, 1)), chunk("b", usage=Usage(9, 2)), chunk("c", usage=Usage(9, 3))]
    b = bench({"a": ScriptedStream(chunks)})
    assert len(list(b.chat.stream(command("a", stream=True), b.caller, "req_1", Line()))) == 3
    assert b.spent() == 9 * 1000 + 3 * 2000


def test_a_stream_that_fails_before_its_first_token_is_replaced(bench: Make) -> None:
    dead = ScriptedStream([chunk()], ProviderTransient("reset"))
    b = bench({"a": dead, "b": ScriptedStream([chunk("hi")])})
    stream = b.chat.stream(command("a", stream=True), b.caller, "req_1", Line())
    assert [c.text_bytes for c in stream] == [2] and dead.closed == 1
    assert [a["outcome"] for a in b.receipt()["attempts"]] == ["provider_unavailable", "ok"]


def test_a_stream_that_breaks_is_billed_for_what_was_delivered(bench: Make) -> None:
    b = bench(
        {"a": ScriptedStream([chunk("abcd" * 4), chunk("efgh")], ProviderTransient("cut", code="connection_lost"))}
    )
    stream = b.chat.stream(command("a", stream=True), b.caller, "req_1", Line())
    with pytest.raises(ProviderTransient):
        list(stream)
    stream.close()
    receipt = b.receipt()
    assert receipt["status"] == "error" and receipt["error_code"] == "connection_lost" and receipt["usage"]["estimated"]
    assert b.spent() == INPUT * 1000 + 5 * 2000 and b.open_records() == 0


@pytest.mark.parametrize("read", [0, 1, 2])
def test_a_caller_who_leaves_is_billed_for_what_was_delivered(bench: Make, read: int) -> None:
    upstream = ScriptedStream([chunk("abcd"), chunk("abcd"), chunk("abcd")])
    b = bench({"a": upstream})
    stream = b.chat.stream(command("a", stream=True), b.caller, "req_1", Line())
    for _ in range(read):
        next(stream)
    stream.close()
    stream.close()
    receipt = b.receipt()
    assert receipt["status"] == "cancelled" and receipt["error_code"] == "client_closed_request"
    assert b.spent() == INPUT * 1000 + read * 2000 and upstream.closed >= 1 and b.open_records() == 0


def test_a_budget_is_reserved_and_refused_exactly(bench: Make) -> None:
    b = bench({"a": reply(usage=Usage(10, 5))}, monthly_budget_nanousd=10_000)
    with pytest.raises(SpendLimitReached):
        b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert b.providers.asked == [] and b.spent() == 0
    receipt = b.receipt()
    assert receipt["error_code"] == "insufficient_quota" and receipt["status_code"] == 599


def test_a_smaller_budget_still_pays_for_a_cheaper_model(bench: Make) -> None:
    from tokenhub.domain.money import Price

    free = model("free", price=Price(0, 0), weight=1)
    b = bench(
        {"dear": reply(), "free": reply(usage=Usage(1, 1))}, [model("dear", weight=99), free], monthly_budget_nanousd=5
    )
    b.chat.complete(command("auto"), b.caller, "req_1", Line())
    assert b.providers.asked == ["free"] and b.receipt()["status"] == "ok"


def test_a_budget_that_does_not_cover_the_next_attempt_ends_it(bench: Make) -> None:
    first = model("a", weight=99)
    dear = model("b", weight=98, max_context_tokens=100_000)
    script = {"a": ProviderTransient("lost", doubtful=True), "b": reply()}
    bound = (200 + 1024) * 1000 + 100 * 2000
    b = bench(script, [first, dear], monthly_budget_nanousd=bound)
    with pytest.raises(SpendLimitReached):
        b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert b.providers.asked == ["a"] and b.spent() == INPUT * 1000 and b.open_records() == 0


def test_a_key_that_was_revoked_after_it_was_seen_gets_nothing(bench: Make) -> None:
    b = bench({"a": reply()})
    caller = b.caller
    b.state.change_key("key_1", {"enabled": False})
    with pytest.raises(Unauthenticated):
        b.chat.complete(command("a"), caller, "req_1", Line())
    assert b.providers.asked == []


def test_a_key_that_only_changed_is_looked_up_again(bench: Make) -> None:
    b = bench({"a": reply(usage=Usage(1, 1)), "b": reply()})
    caller = b.caller
    b.state.change_key("key_1", {"allowed_models": ("b",)})
    with pytest.raises(Forbidden):
        b.chat.complete(command("a"), caller, "req_1", Line())
    b.state.change_key("key_1", {"name": "renamed", "allowed_models": ()})
    assert b.chat.complete(command("a"), caller, "req_1", Line()).receipt.caller.key.name == "renamed"


def test_a_rate_limit_is_told_with_its_wait(bench: Make) -> None:
    b = bench({"a": reply(usage=Usage(1, 1))}, rates=(Rate("key:key_1", 1, 1),))
    b.chat.complete(command("a"), b.caller, "req_1", Line())
    with pytest.raises(RateLimited) as caught:
        b.chat.complete(command("a"), b.caller, "req_1", Line())
    assert 0 < caught.value.retry_after_s <= 1 and b.providers.asked == ["a"]


def test_a_request_that_no_model_can_take_has_its_row(bench: Make) -> None:
    b = bench({"a": reply()})
    with pytest.raises(NoEligibleModel):
        b.chat.complete(command("a", policy={"max_budget_usd": 0.000001}), b.caller, "req_1", Line())
    receipt = b.receipt()
    assert receipt["error_code"] == "no_eligible_model" and receipt["rejected"][0]["reason"] == "budget_exceeded"


def test_before_the_catalog_is_loaded_nothing_is_answered(bench: Make) -> None:
    b = bench({"a": reply()})
    b.live.catalog = Catalog()
    with pytest.raises(Unavailable):
        b.chat.complete(command("a"), b.caller, "req_1", Line())


def test_a_wished_latency_bounds_the_call(bench: Make) -> None:
    b = bench({"a": reply(usage=Usage(1, 1))})
    b.chat.complete(command("a", policy={"max_latency_ms": 1500}), b.caller, "req_1", Line())
    assert b.providers.deadlines[0].total_s <= 1.5 and b.providers.deadlines[0].headers_s <= 1.5


def test_an_answer_is_given_even_if_it_cannot_be_settled_at_once(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench({"a": reply(usage=Usage(10, 5))})
    settle = b.state.settle

    def down(*arguments: object) -> bool:
        raise Unavailable("full")

    monkeypatch.setattr(b.state, "settle", down)
    b.chat.complete(command("a"), b.caller, "req_1", Line())
    b.chat.complete(command("a"), b.caller, "req_2", Line())
    assert len(b.backlog) == 2 and b.backlog.is_full
    with pytest.raises(Unavailable):
        b.chat.complete(command("a"), b.caller, "req_3", Line())
    assert b.backlog.retry() == 0
    monkeypatch.setattr(b.state, "settle", settle)
    assert b.backlog.retry() == 2 and b.spent() == 2 * 20_000 and b.open_records() == 0


def test_a_caller_who_leaves_while_a_provider_is_silent_is_billed_for_the_input(bench: Make) -> None:
    b = bench({"a": ProviderTransient("down"), "b": reply()})
    with pytest.raises(ClientGone):
        b.chat.complete(command("a"), b.caller, "req_1", Line(leaves_at=2))
    receipt = b.receipt()
    assert receipt["status"] == "cancelled" and receipt["error_code"] == "client_closed_request"
    assert b.providers.asked == ["a"] and b.spent() == INPUT * 1000 and b.open_records() == 0


def test_a_caller_who_leaves_in_the_middle_of_a_stream_is_noticed_there(bench: Make) -> None:
    upstream = ScriptedStream([chunk("abcd"), chunk("abcd"), chunk("abcd")])
    b = bench({"a": upstream})
    stream = b.chat.stream(command("a", stream=True), b.caller, "req_1", Line(leaves_at=3))
    with pytest.raises(ClientGone):
        list(stream)
    assert b.receipt()["status"] == "cancelled" and b.spent() == INPUT * 1000 + 2 * 2000 and upstream.closed >= 1


def test_the_line_is_only_armed_while_a_provider_is_waited_for(bench: Make) -> None:
    line = Line()
    b = bench({"a": ScriptedStream([chunk("abcd"), chunk("abcd")])})
    for _ in b.chat.stream(command("a", stream=True), b.caller, "req_1", line):
        assert not line.armed
    assert not line.armed and line.times == 3
