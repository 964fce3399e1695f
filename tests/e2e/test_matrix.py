"""Every SDK over every type of provider: what a caller asks arrives, and what the model says comes back, as it is.

One gateway has a provider of each type; all of them are the scripted upstream, which refuses what the real APIs
refuse, knows the signatures of its own reasoning, and whose ledger says what a call cost. A model's name is a script
and, after the plus, its provider. Nothing else answers for a model that fails.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.conftest import PROTOCOLS
from tests.e2e.harness import Gateway
from tests.e2e.sdks import MORE, RESULTS, Errand, Failure, JsonObject, Report, Sdk, Turn
from tests.e2e.sdks.anthropic_sdk import AnthropicSdk
from tests.e2e.sdks.older import OlderOpenAISdk
from tests.e2e.sdks.openai_sdk import OpenAISdk
from tests.factories import cost_nanousd
from tests.grammar import (
    check_anthropic_error,
    check_anthropic_message,
    check_anthropic_stream,
    check_openai_completion,
    check_openai_stream,
    parse_events,
)
from tests.upstream.answers import digest_of, sealed_of, signature_of
from tests.upstream.process import UpstreamProcess

SDKS = ("openai 3", "openai 2", "anthropic")

Body = JsonObject


@pytest.fixture(scope="module")
def sdks(running_trio: Gateway) -> Iterator[Mapping[str, Sdk]]:
    """The callers by name."""
    older = OlderOpenAISdk(running_trio.url, running_trio.first_key)
    assert older.version.startswith("2."), older.version
    assert openai.__version__.startswith("3.") and int(anthropic.__version__.split(".")[0]) >= 2
    yield {
        "openai 3": OpenAISdk(running_trio.url, running_trio.first_key),
        "openai 2": older,
        "anthropic": AnthropicSdk(running_trio.url, running_trio.first_key),
    }
    older.close()


# ---------------------------------------------------------------- what is expected


def words_after(*texts: str, count: int = 8) -> str:
    """What the upstream answers to a conversation of these texts."""
    return " ".join([digest_of("\n".join(texts)), *(f"word{number}" for number in range(1, count))])


def thoughts_on(*texts: str) -> str:
    return f"I think of {digest_of(chr(10).join(texts))} — and so on."


@dataclass(frozen=True)
class Expected:
    """A turn, whoever asked and whoever answered."""

    text: str = ""
    finish: str = "stop"
    """In OpenAI's words, or "stop_sequence"."""
    calls: tuple[tuple[str, str, int], ...] = ()
    """(id, name, the number among its arguments)"""
    thinking: str = ""
    sealed: str = ""


FINISH = {
    "openai": {"stop_sequence": "stop"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"},
}
"""Dialect -> how it says why an answer ended."""
PREFIX = {"openai": "chatcmpl-", "anthropic": "msg_"}
PICTURE = base64.b64encode(bytes(range(256)) * 12).decode()
TOOLS = ("get_weather", "get_forecast")
HELLO = digest_of("hello")
CALLED = tuple((f"call_{HELLO}_{number}", name, number) for number, name in enumerate(TOOLS))


@dataclass(frozen=True)
class Row:
    """One line of the table: an errand (its model is a script without a provider) and what each turn gives."""

    name: str
    errand: Errand
    turns: tuple[Expected, ...]
    pictures: int = 0
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Provider type -> another script, where its protocol says less or more."""
    openais_helper: str = ""
    """What OpenAI's stream helper raises for such an end of an answer."""

    def __str__(self) -> str:
        return self.name


ROUND_TRIP = (Expected(finish="tool_calls", calls=CALLED), Expected(words_after("hello", *RESULTS)))
THOUGHT = Expected(words_after("hello"), thinking=thoughts_on("hello"))
ONCE_MORE = ("hello", THOUGHT.text, MORE)
ROWS = [
    Row("plain", Errand("ok"), (Expected(words_after("hello")),)),
    Row("a system text", Errand("ok", system="be brief ☂"), (Expected(words_after("be brief ☂", "hello")),)),
    Row("an empty answer", Errand("empty"), (Expected(),)),
    Row("another turn", Errand("ok", then="more"), (Expected(words_after("hello")), Expected(words_after(*ONCE_MORE)))),
    Row(
        "a cap",
        Errand("ok-40", max_tokens=3),
        (Expected(words_after("hello", count=3), "length"),),
        openais_helper="LengthFinishReasonError",
    ),
    Row(
        "filtered",
        Errand("filtered"),
        (Expected(words_after("hello", count=3), "content_filter"),),
        openais_helper="ContentFilterFinishReasonError",
    ),
    Row("characters cut in two", Errand("splitutf8"), (Expected(HELLO + "".join(f" hé€𝄞{n}" for n in range(1, 8))),)),
    Row("a tool", Errand("tools", tools=TOOLS), (Expected(finish="tool_calls", calls=CALLED[:1]),)),
    Row("a round trip of two tools", Errand("tools-parallel", tools=TOOLS, then="results"), ROUND_TRIP),
    Row("a picture", Errand("ok", picture=PICTURE), (Expected(words_after("hello")),), pictures=1),
    Row("a schema", Errand("json", has_schema=True), (Expected('{"city": "text", "unit": "text", "number": 7}'),)),
    Row(
        "a stop text",
        Errand("stop", stop=("word6", "word3")),
        (Expected(words_after("hello", count=3) + " ", "stop_sequence"),),
        scripts={"vllm": "stop-named"},
    ),
    Row(
        "thinking",
        Errand("thinking", thinks=True, then="more"),
        (THOUGHT, Expected(words_after(*ONCE_MORE), thinking=thoughts_on(*ONCE_MORE))),
    ),
    Row(
        "thinking that is not shown",
        Errand("thinking-sealed", thinks=True, then="more"),
        (
            replace(THOUGHT, sealed=sealed_of(HELLO)),
            Expected(
                words_after(*ONCE_MORE),
                thinking=thoughts_on(*ONCE_MORE),
                sealed=sealed_of(digest_of("\n".join(ONCE_MORE))),
            ),
        ),
    ),
    Row(
        "thinking before a tool",
        Errand("thinking-tools", thinks=True, tools=TOOLS[:1], then="results"),
        (
            Expected(finish="tool_calls", calls=CALLED[:1], thinking=thoughts_on("hello")),
            Expected(words_after("hello", RESULTS[0]), thinking=thoughts_on("hello", RESULTS[0])),
        ),
    ),
    Row("usage with a cache", Errand("cached", text="hello " * 20), (Expected(words_after("hello " * 20)),)),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_sdk_over_a_provider(
    trio: Gateway,
    upstream: UpstreamProcess,
    sdks: Mapping[str, Sdk],
    row: Row,
    sdk: str,
    provider: str,
    stream: bool,
) -> None:
    mark = upstream.mark()
    model = f"{row.scripts.get(provider, row.errand.model)}+{provider}"
    report = sdks[sdk].run(replace(row.errand, model=model, stream=stream))
    calls = upstream.calls(mark)
    assert [call["complaint"] for call in calls] == [""] * len(row.turns)
    if row.openais_helper and stream and sdk != "anthropic":
        assert failure_of(report).kind == row.openais_helper
        return
    assert report.failure is None
    for turn, expected, call in zip(report.turns, row.turns, calls, strict=True):
        check_answer(turn, expected, sdk.split()[0], call)
        check_books(trio, turn, call, model, provider)
        assert (call["images"], call["stream"]) == (row.pictures, stream)
    if row.errand.thinks and len(calls) == 2:
        check_second_thoughts(calls, row.turns[0], provider)


def check_answer(turn: Turn, expected: Expected, dialect: str, call: JsonObject) -> None:
    """The turn is what the upstream said, in this dialect's words."""
    provider = call["model"].split("+")[1]
    assert turn.text == expected.text
    assert turn.id.startswith(PREFIX[dialect]) and len(turn.id) > 10
    assert turn.model == call["model"]
    names_stop = expected.finish == "stop_sequence" and provider != "openai"  # OpenAI's protocol does not tell it
    finish = "stop" if expected.finish == "stop_sequence" and not names_stop else expected.finish
    assert turn.finish == FINISH[dialect].get(finish, finish)
    assert dialect == "openai" or turn.stop == ("word3" if names_stop else None)
    assert [(i, name, arguments["number"]) for i, name, arguments in turn.calls] == list(expected.calls)
    assert all(arguments.keys() == {"city", "unit", "number"} for _, _, arguments in turn.calls)
    assert turn.thinking == expected.thinking
    sealed = [expected.sealed] if expected.sealed else []
    signed = [signature_of(expected.thinking)] if expected.thinking else []
    assert turn.seals == (signed + sealed if provider == "anthropic" else [])


def check_books(gateway: Gateway, turn: Turn, call: JsonObject, model: str, provider: str) -> None:
    """The caller, the receipt and the upstream's ledger agree to the token."""
    assert turn.usage == call["usage"]
    receipt = gateway.receipt(turn.headers["x-tokenhub-decision-id"])
    assert (receipt["status"], receipt["model"], receipt["provider"]) == ("ok", model, provider)
    assert turn.headers["x-tokenhub-model"] == model
    names = {"input": "prompt", "output": "completion", "cache_read": "cached", "cache_write": "cache_write"}
    names["reasoning"] = "reasoning"
    counts = {f"{ours}_tokens": call["usage"][theirs] for ours, theirs in names.items()}
    assert receipt["usage"] == counts | {"cache_write_1h_tokens": 0, "estimated": False}
    assert receipt["cost_nanousd"] == cost_nanousd(call["usage"])


def check_second_thoughts(calls: list[JsonObject], first: Expected, provider: str) -> None:
    """The model that thought before finds its reasoning again, where the protocol has a place for it."""
    (said,) = [message for message in calls[1]["body"]["messages"] if message["role"] == "assistant"]
    if provider == "anthropic":
        thought: JsonObject = {"type": "thinking", "thinking": first.thinking}
        assert said["content"][0] == thought | {"signature": signature_of(first.thinking)}
        sealed = [block["data"] for block in said["content"] if block["type"] == "redacted_thinking"]
        assert sealed == ([first.sealed] if first.sealed else [])
        assert calls[1]["body"]["thinking"]["type"] == "enabled"


MOVES = [(one, other) for one in PROTOCOLS for other in (*PROTOCOLS, "elsewhere") if one != other]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("before", "after"), MOVES, ids=[f"from {one} to {other}" for one, other in MOVES])
@pytest.mark.parametrize("sdk", SDKS)
def test_a_conversation_moves_to_another_provider(
    trio: Gateway, upstream: UpstreamProcess, sdks: Mapping[str, Sdk], sdk: str, before: str, after: str, stream: bool
) -> None:
    """Tool calls go with it; reasoning does not where another one signed it, or nobody did."""
    mark = upstream.mark()
    errand = Errand(f"thinking-tools+{before}", thinks=True, tools=TOOLS[:1], stream=stream, then="results")
    report = sdks[sdk].run(replace(errand, then_model=f"ok+{after}"))
    _, call = upstream.calls(mark)
    assert (call["complaint"], report.failure) == ("", None)
    assert report.turns[1].text == words_after("hello", RESULTS[0])
    thoughts = str([message["content"] for message in call["body"]["messages"]]).count("'type': 'thinking'")
    knows_issuer = sdk != "anthropic"  # Anthropic's dialect has no place for it: a signature is then believed
    assert thoughts == (after == "elsewhere" and before == "anthropic" and not knows_issuer)


# ---------------------------------------------------------------- what the upstream is asked


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("sdk", SDKS)
def test_a_request_arrives_in_the_providers_own_words(
    upstream: UpstreamProcess, sdks: Mapping[str, Sdk], sdk: str, provider: str
) -> None:
    mark = upstream.mark()
    errand = Errand(f"ok+{provider}", system="s", picture=PICTURE, tools=TOOLS, stop=("x", "y"), max_tokens=77)
    assert sdks[sdk].run(errand).failure is None
    (call,) = upstream.calls(mark)
    assert call["credential"] == ("x-api-key" if provider == "anthropic" else "authorization")
    assert call["dialect"] == ("anthropic" if provider == "anthropic" else "openai")
    assert (call["path"], call["images"]) == (
        "/v1/messages" if provider == "anthropic" else "/v1/chat/completions",
        1,
    )
    body = call["body"]
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    assert (body["model"], cap) == (f"ok+{provider}", 77)
    assert (body.get("stop") or body["stop_sequences"]) == ["x", "y"]
    assert [tool.get("function", tool)["name"] for tool in body["tools"]] == list(TOOLS)
    picture = body["messages"][-1]["content"][-1]
    if provider == "anthropic":
        assert picture["source"] == {"type": "base64", "media_type": "image/png", "data": PICTURE}
    else:
        assert picture["image_url"]["url"] == f"data:image/png;base64,{PICTURE}"


# ---------------------------------------------------------------- errors


BREAKS = ("cut", "eof", "error-in-stream")


@dataclass(frozen=True)
class Refusal:
    """A script that fails, and what the SDK makes of it: its class, status, and OpenAI's code."""

    script: str
    kind: str
    status: int
    code: str | None


REFUSALS = [
    Refusal("status-400", "BadRequestError", 400, None),
    Refusal("status-400-context_length_exceeded", "BadRequestError", 400, "context_length_exceeded"),
    Refusal("status-401", "InternalServerError", 502, "all_attempts_failed"),
    Refusal("status-429", "InternalServerError", 502, "all_attempts_failed"),
    Refusal("status-500", "InternalServerError", 502, "all_attempts_failed"),
    Refusal("status-529", "InternalServerError", 502, "all_attempts_failed"),
    Refusal("error-in-200", "InternalServerError", 502, "all_attempts_failed"),
]
TYPES = {"openai": {400: "invalid_request_error", 502: "server_error"}}
TYPES["anthropic"] = {400: "invalid_request_error", 502: "api_error"}


def failure_of(report: Report) -> Failure:
    assert report.failure is not None
    assert report.turns == []
    return report.failure


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.script)
def test_a_failure_is_the_exception_that_the_sdk_has_for_it(
    trio: Gateway,
    upstream: UpstreamProcess,
    sdks: Mapping[str, Sdk],
    refusal: Refusal,
    sdk: str,
    provider: str,
    stream: bool,
) -> None:
    mark = upstream.mark()
    script = refusal.script
    if provider == "vllm" and script == "status-400-context_length_exceeded":
        script = "status-400-vllm_context_length"
    failure = failure_of(sdks[sdk].run(Errand(f"{script}+{provider}", stream=stream)))
    assert len(upstream.calls(mark)) == 1
    assert (failure.kind, failure.status) == (refusal.kind, refusal.status)
    dialect = sdk.split()[0]
    assert failure.type == TYPES[dialect][refusal.status]
    assert dialect == "anthropic" or refusal.code in (None, failure.code)
    assert failure.request_id
    if script == "status-429":
        assert failure.headers["retry-after"] == "1"
    if refusal.status == 502:
        assert "scripted 401" not in failure.message and "x-api-key" not in failure.message


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("script", BREAKS)
def test_a_stream_that_breaks_raises_in_every_sdk(
    trio: Gateway, upstream: UpstreamProcess, sdks: Mapping[str, Sdk], script: str, sdk: str, provider: str
) -> None:
    mark = upstream.mark()
    failure = failure_of(sdks[sdk].run(Errand(f"{script}+{provider}", stream=True)))
    check_break(failure)
    (call,) = upstream.closed_calls(mark)
    assert call["content_chunks"] == 3


@pytest.mark.parametrize(
    ("sdk", "provider"), [("openai 3", "anthropic"), ("openai 2", "vllm"), ("anthropic", "openai")]
)
def test_a_stream_that_falls_silent_raises_too(
    trio: Gateway, upstream: UpstreamProcess, sdks: Mapping[str, Sdk], sdk: str, provider: str
) -> None:
    mark = upstream.mark()
    check_break(failure_of(sdks[sdk].run(Errand(f"hang-stream+{provider}", stream=True))))
    assert upstream.closed_calls(mark)[0]["outcome"] == "client_gone"


def check_break(failure: Failure) -> None:
    assert failure.kind in ("APIError", "APIStatusError", "InternalServerError", "OverloadedError"), failure
    assert failure.message and failure.type


# ---------------------------------------------------------------- the bytes

STREAMS = """
    ok empty cached filtered stop stop-named tools tools-parallel thinking thinking-sealed thinking-tools ok-40
    splitutf8 usage-growing usage-zero no-usage crlf comments many tiny cut eof error-in-stream badjson
""".split()
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


def body_of(dialect: str, script: str, provider: str, **fields: Any) -> Body:
    """A request in a dialect's words that makes each script do what it can."""
    stop: Body = {"stop": ["word3"]} if dialect == "openai" else {"stop_sequences": ["word3"]}
    return {
        "model": f"{script}+{provider}",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 20 if script == "ok-40" else 4096,
        **(stop if script.startswith("stop") else {}),
        **fields,
    }


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("script", STREAMS)
def test_every_stream_keeps_to_the_grammar_of_its_dialect(
    trio: Gateway, dialect: str, script: str, provider: str
) -> None:
    for options in ({}, {"stream_options": {"include_usage": True}}) if dialect == "openai" else ({},):
        answer = trio.ask("POST", PATHS[dialect], body_of(dialect, script, provider, stream=True, **options))
        assert answer.status == 200, answer
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = parse_events(answer.body)
        (check_openai_stream if dialect == "openai" else check_anthropic_stream)(events)
        is_complete = events[-1].data == "[DONE]" or events[-1].name == "message_stop"
        assert is_complete == (script not in BREAKS) or script == "badjson"
        if dialect == "openai":
            assert any("usage" in event.data for event in events if isinstance(event.data, dict)) == bool(options)


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("script", [script for script in STREAMS if script not in (*BREAKS, "badjson")])
def test_every_whole_answer_has_the_form_of_its_dialect(
    trio: Gateway, dialect: str, script: str, provider: str
) -> None:
    answer = trio.ask("POST", PATHS[dialect], body_of(dialect, script, provider))
    assert answer.status == 200, answer
    (check_openai_completion if dialect == "openai" else check_anthropic_message)(answer.json())


@pytest.mark.parametrize("provider", PROTOCOLS)
@pytest.mark.parametrize("dialect", PATHS)
def test_an_error_has_the_form_of_its_dialect(trio: Gateway, dialect: str, provider: str) -> None:
    for stream in (False, True):
        answer = trio.ask("POST", PATHS[dialect], body_of(dialect, "status-500", provider, stream=stream))
        assert answer.status == 502
        if dialect == "anthropic":
            check_anthropic_error(answer.json())
            assert answer.headers["request-id"] == answer.json()["request_id"]
        else:
            assert answer.error.keys() >= {"message", "type", "param", "code"}
