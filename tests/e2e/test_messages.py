"""`POST /v1/messages`: what only this door has. What it shares with the others is in test_matrix.py."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from tests.e2e.conftest import PROTOCOLS, TIERED
from tests.e2e.harness import Answer, Gateway, Key, until
from tests.e2e.test_money import at_once, spend_usd
from tests.factories import INPUT_NANOUSD, OUTPUT_NANOUSD, JsonObject, cost_nanousd
from tests.grammar import check_anthropic_error, parse_events
from tests.upstream.answers import digest_of
from tests.upstream.process import UpstreamProcess

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
VERSION = {"anthropic-version": "2023-06-01"}
ANTHROPIC = "ok+anthropic"


def body_of(model: str = ANTHROPIC, **fields: Any) -> JsonObject:
    return {"model": model, "max_tokens": 100, "messages": HELLO, **fields}


def send(trio: Gateway, body: object, path: str = "", **arguments: Any) -> Answer:
    return trio.ask("POST", f"/v1/messages{path}", body, **arguments)


@pytest.fixture
def paid(trio: Gateway) -> Key:
    """A key with a budget."""
    return trio.new_key("paid", monthly_budget_usd=50, rate_limit_rps=-1)


@pytest.fixture
def sdk(trio: Gateway) -> Iterator[Anthropic]:
    with Anthropic(base_url=trio.url, api_key=trio.first_key, max_retries=0, timeout=30) as made:
        yield made


# ---------------------------------------------------------------- who may ask


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_either_header_carries_the_key(trio: Gateway, key: Key, header: str) -> None:
    secret = trio.new_key("either").secret
    given = {header: secret if header == "x-api-key" else f"Bearer {secret}"}
    assert send(trio, body_of(), key="", headers=given | VERSION).status == 200


@pytest.mark.parametrize("given", [{"api_key": "tokenhub_wrong"}, {"auth_token": "tokenhub_wrong"}])
def test_a_wrong_key_is_an_authentication_error(trio: Gateway, given: dict[str, str]) -> None:
    with Anthropic(base_url=trio.url, **{"api_key": None, **given}, max_retries=0) as wrong:  # type: ignore[arg-type]
        with pytest.raises(anthropic.AuthenticationError) as caught:
            wrong.messages.create(model=ANTHROPIC, max_tokens=9, messages=HELLO)
    check_anthropic_error(caught.value.body)


def test_both_headers_may_be_sent_if_they_agree(trio: Gateway) -> None:
    both = {"x-api-key": trio.first_key}
    assert send(trio, body_of(), headers=both).status == 200
    answer = send(trio, body_of(), headers={"x-api-key": trio.new_key("other").secret})
    assert answer.status == 400
    check_anthropic_error(answer.json())


def test_the_version_header_is_not_insisted_on(trio: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    assert send(trio, body_of()).status == 200
    assert upstream.calls(mark)[0]["headers"]["anthropic-version"] == "2023-06-01"


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ANTHROPIC, "messages": HELLO}, "max_tokens"),
        (body_of(max_tokens=0), "max_tokens"),
        (body_of(temperature=1.5), "temperature"),
        (body_of(messages=[]), "messages"),
        (body_of(messages=[{"role": "robot", "content": "x"}]), "role"),
        (body_of(messages=[{"role": "user", "content": [{"text": "no type"}]}]), "content"),
        (body_of(tool_choice={"type": "perhaps"}), "tool_choice"),
        (body_of(stream="yes"), "stream"),
        (b"{", ""),
    ],
)
def test_what_is_wrong_with_a_body_is_told_in_this_dialect(
    trio: Gateway, upstream: UpstreamProcess, body: Any, param: str
) -> None:
    mark = upstream.mark()
    answer = send(trio, body, headers={"x-request-id": "mine-1"})
    assert answer.status == 400, answer
    check_anthropic_error(answer.json())
    assert answer.error["type"] == "invalid_request_error"
    assert param in answer.error["message"]
    assert answer.headers["request-id"] == answer.json()["request_id"] == "mine-1"
    assert upstream.calls(mark) == []


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "", 405), ("POST", "/batches", 404)])
def test_what_is_not_there_is_told_in_this_dialect_too(trio: Gateway, method: str, path: str, status: int) -> None:
    answer = trio.ask(method, f"/v1/messages{path}", body_of() if method == "POST" else None)
    assert answer.status == status
    check_anthropic_error(answer.json())


def test_a_spent_budget_is_not_asked_for_again(trio: Gateway, upstream: UpstreamProcess) -> None:
    poor = trio.new_key("poor", monthly_budget_usd=0.000001)
    mark = upstream.mark()
    with Anthropic(base_url=trio.url, api_key=poor.secret, max_retries=3) as client:
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model=ANTHROPIC, max_tokens=9, messages=HELLO)
    check_anthropic_error(caught.value.body)
    assert caught.value.response.headers["x-should-retry"] == "false"
    until(lambda: len(trio.logs(poor)) == 1)
    assert upstream.calls(mark) == []


def test_a_rate_limit_says_when_to_come_back(trio: Gateway) -> None:
    hasty = trio.new_key("hasty", rate_limit_rps=1)
    answers = [send(trio, body_of(), key=hasty.secret) for _ in range(6)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused and answers[0].status == 200
    assert {answer.error["type"] for answer in refused} == {"rate_limit_error"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 2 for answer in refused)


def test_an_error_in_a_stream_is_the_sdks_error(trio: Gateway) -> None:
    answer = send(trio, body_of("error-in-stream+openai", stream=True))
    *_, last = parse_events(answer.body)
    assert last.name == "error"
    assert last.data["request_id"] == answer.headers["request-id"]
    assert "scripted" not in json.dumps(last.data) or last.data["error"]["message"]


# ---------------------------------------------------------------- what passes through

OWN: JsonObject = {
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"},
            ],
        },
    ],
    "metadata": {"user_id": "u-1"},
    "service_tier": "auto",
    "top_k": 7,
    "temperature": 0.25,
    "tools": [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        {"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "container": None,
    "mcp_servers": [{"type": "url", "url": "https://example.test/sse", "name": "m"}],
    "vendor": {"deep": [1, {"x": None}], "text": "ünï𝄞", "big": 9007199254740993, "small": 1e-7},
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_reaches_a_provider_of_this_dialect_as_it_is(
    trio: Gateway, upstream: UpstreamProcess, stream: bool
) -> None:
    mark = upstream.mark()
    sent = body_of(**OWN) | ({"stream": True} if stream else {})
    answer = send(trio, sent | {"tokenhub": {"mode": "cheap"}})
    assert answer.status == 200, answer
    assert "x-tokenhub-not-forwarded" not in answer.headers
    (call,) = upstream.closed_calls(mark)
    assert call["body"] == sent


def test_what_another_protocol_has_no_place_for_is_left_out_and_told(trio: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    answer = send(trio, body_of("ok+openai", top_k=7, vendor={"x": 1}, service_tier="auto", metadata={"user_id": "u"}))
    assert answer.status == 200, answer
    told = {name.strip() for name in answer.headers["x-tokenhub-not-forwarded"].split(",")}
    assert {"vendor", "top_k"} <= told
    (call,) = upstream.calls(mark)
    assert not {"vendor", "top_k", "metadata", "max_tokens_to_sample"} & call["body"].keys()


def test_only_the_beta_header_goes_on_and_only_where_it_is_understood(trio: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    given = {"anthropic-beta": "files-api-2025-04-14,context-1m-2025-08-07", "x-secret": "canary", "cookie": "a=b"}
    for model in (ANTHROPIC, "ok+openai"):
        assert send(trio, body_of(model), headers=given | VERSION).status == 200
    there, elsewhere = upstream.calls(mark)
    assert there["headers"]["anthropic-beta"] == given["anthropic-beta"]
    assert not {"anthropic-beta", "anthropic-version"} & elsewhere["headers"].keys()
    for call in (there, elsewhere):
        assert not {"x-secret", "cookie"} & call["headers"].keys()
    assert there["credential"] == "x-api-key" and trio.first_key not in str(there)


def test_the_sdks_betas_arrive(sdk: Anthropic, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    sdk.beta.messages.create(model=ANTHROPIC, max_tokens=9, messages=HELLO, betas=["context-1m-2025-08-07"])
    (call,) = upstream.calls(mark)
    assert call["headers"]["anthropic-beta"] == "context-1m-2025-08-07"


@pytest.mark.parametrize("value", ["x" * 5000, "a\tb", "caf\xe9"])
def test_a_beta_header_that_cannot_be_one_is_refused(trio: Gateway, upstream: UpstreamProcess, value: str) -> None:
    mark = upstream.mark()
    assert send(trio, body_of(), headers={"anthropic-beta": value}).status == 400
    assert upstream.calls(mark) == []


@pytest.mark.parametrize("provider", PROTOCOLS)
def test_the_answer_tells_who_answered(trio: Gateway, provider: str) -> None:
    for stream in (False, True):
        headers = send(trio, body_of(f"ok+{provider}", stream=stream), headers={"x-request-id": "mine"}).headers
        assert headers["x-tokenhub-model"] == f"ok+{provider}" and headers["x-tokenhub-provider"] == provider
        assert headers["request-id"] == headers["x-request-id"] == "mine"
        assert "set-cookie" not in headers
        receipt = trio.receipt(headers["x-tokenhub-decision-id"])
        assert (receipt["dialect"], receipt["stream"], receipt["request_id"]) == ("anthropic", stream, "mine")


# ---------------------------------------------------------------- counting, listing


def test_tokens_are_counted_here_and_cost_nothing(sdk: Anthropic, trio: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    short = sdk.messages.count_tokens(model=ANTHROPIC, messages=HELLO).input_tokens
    long = sdk.messages.count_tokens(model=ANTHROPIC, messages=[{"role": "user", "content": "hello " * 400}])
    framed = sdk.messages.count_tokens(model=ANTHROPIC, messages=HELLO, system="be brief " * 100)
    assert 1 <= short < 40 and 200 < long.input_tokens < 1600 and framed.input_tokens > short + 50
    assert upstream.calls(mark) == []


def test_pictures_and_tools_count(sdk: Anthropic) -> None:
    picture: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    tool: Any = {"name": "f", "description": "d " * 300, "input_schema": {"type": "object"}}
    plain = sdk.messages.count_tokens(model=ANTHROPIC, messages=HELLO).input_tokens
    shown: Any = [{"role": "user", "content": [{"type": "text", "text": "hello"}, picture]}]
    assert sdk.messages.count_tokens(model=ANTHROPIC, messages=shown).input_tokens > plain + 20
    assert sdk.messages.count_tokens(model=ANTHROPIC, messages=HELLO, tools=[tool]).input_tokens > plain + 100


def test_counting_needs_a_key(trio: Gateway) -> None:
    answer = send(trio, {"model": ANTHROPIC, "messages": HELLO}, "/count_tokens", key="")
    assert answer.status == 401
    check_anthropic_error(answer.json())


def test_the_sdk_lists_models_in_its_own_shape(sdk: Anthropic) -> None:
    listed = sdk.models.list()
    assert {f"ok+{provider}" for provider in PROTOCOLS} <= {model.id for model in listed.data}
    assert {model.type for model in listed.data} == {"model"}
    assert sdk.models.retrieve(ANTHROPIC).id == ANTHROPIC


# ---------------------------------------------------------------- the bill, and who leaves


def test_cached_tokens_have_their_own_prices(trio: Gateway, upstream: UpstreamProcess) -> None:
    for stream in (False, True):
        mark = upstream.mark()
        answer = send(trio, body_of(TIERED, messages=[{"role": "user", "content": "hello " * 100}], stream=stream))
        usage = upstream.closed_calls(mark)[0]["usage"]
        fresh = usage["prompt"] - usage["cached"] - usage["cache_write"]
        cost = fresh * INPUT_NANOUSD + usage["cached"] * 100 + usage["cache_write"] * 1250
        assert usage["cached"] > 50 and usage["cache_write"] > 20
        cost += usage["completion"] * OUTPUT_NANOUSD
        assert trio.receipt(answer.decision_id)["cost_nanousd"] == cost


def test_the_bill_is_the_upstreams_ledger(trio: Gateway, upstream: UpstreamProcess, paid: Key) -> None:
    scripts = ["ok", "cached", "thinking", "ok-40", "usage-growing", "tools-parallel", "stop", "splitutf8"]
    mark = upstream.mark()

    def ask(number: int) -> Answer:
        provider = PROTOCOLS[number % 3]
        text = [{"role": "user", "content": f"question {number} " * (number + 1)}]
        body = body_of(f"{scripts[number % 8]}+{provider}", messages=text, stream=number % 2 == 1)
        return send(trio, body, key=paid.secret)

    answers = at_once(48, ask)
    assert [answer.status for answer in answers] == [200] * 48
    calls = upstream.closed_calls(mark)
    assert len(calls) == 48
    billed = sum(trio.receipt(answer.decision_id, paid.secret)["cost_nanousd"] for answer in answers)
    assert billed == sum(cost_nanousd(call["usage"]) for call in calls)
    assert round(spend_usd(trio, paid) * 1e9) == billed


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
@pytest.mark.parametrize("script", ["slow-20-2000", "hang-stream", "hang"])
def test_a_caller_who_hangs_up_closes_the_upstream_and_pays_for_what_came(
    trio: Gateway, upstream: UpstreamProcess, paid: Key, script: str, provider: str
) -> None:
    mark = upstream.mark()
    raw = json.dumps(body_of(f"{script}+{provider}", max_tokens=4000, stream=script != "hang")).encode()
    with socket.create_connection(("127.0.0.1", trio.port), timeout=10) as sock:
        sock.sendall(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (paid.secret.encode(), len(raw), raw)
        )
        read = b""
        while script != "hang" and b"word2" not in read:
            read += sock.recv(65536)
        until(lambda: bool(upstream.calls(mark)))
    (call,) = upstream.closed_calls(mark, within_s=0.9)  # sooner than any deadline
    assert call["outcome"] == "client_gone"
    until(lambda: bool(trio.logs(paid)))
    (row,) = trio.logs(paid)
    assert (row["status"], row["error_code"]) == ("cancelled", "client_closed_request")
    assert row["usage"]["estimated"] is (script != "hang"), "of what was delivered; where nothing was, what may be due"
    assert row["cost_nanousd"] >= INPUT_NANOUSD + (3 * OUTPUT_NANOUSD if script != "hang" else 0)
    assert round(spend_usd(trio, paid) * 1e9) == row["cost_nanousd"]


def test_the_answer_of_another_protocol_is_streamed_as_it_comes(trio: Gateway) -> None:
    connection = trio.connect()
    try:
        headers = {"content-type": "application/json", "x-api-key": trio.first_key}
        raw = json.dumps(body_of("slow-20-2000+openai", stream=True, max_tokens=4000))
        connection.request("POST", "/v1/messages", raw, headers)
        response = connection.getresponse()
        first = response.read1(65536)
        while digest_of("hello").encode() not in first:
            first += response.read1(65536)
        assert b"word9" not in first
        response.close()
    finally:
        connection.close()
