"""What all doors do: the response of a stream, its end, and what the headers say of the receipt."""

from __future__ import annotations

from typing import Any

import pytest

from blueprints.chat import answers
from tests.fakes.answers import FakeLine, FakeStream, receipt
from tokenhub.domain.chat import Chunk, Usage
from tokenhub.domain.hints import Hint
from tokenhub.domain.itinerary import Itinerary
from tokenhub.domain.policy import TABLE
from tokenhub.errors import ProviderTransient, Stopping, TokenHubError

CHUNKS = [Chunk(b"a"), Chunk(b""), Chunk(b"b")]


class Plain:
    """A writer that says what it is told."""

    def write(self, chunk: Chunk) -> bytes:
        return chunk.payload

    def end(self, usage: Usage | None) -> bytes:
        return f"end {usage.output if usage else None}".encode()

    def broken(self, error: TokenHubError) -> bytes:
        return f"broken {error.code}".encode()


def opened(stream: Any) -> tuple[answers.EventStream, FakeLine]:
    line = FakeLine()
    return answers.EventStream(stream, Plain(), line), line  # type: ignore[arg-type]


def test_an_empty_event_is_not_sent_and_the_end_knows_the_bill() -> None:
    events, line = opened(FakeStream(CHUNKS, usage=Usage(1, 9)))
    assert list(events) == [b"a", b"b", b"end 9"] and line.closed == 1


@pytest.mark.parametrize("error", [ProviderTransient("x", code="cut"), Stopping("x", code="cut")])
def test_a_break_is_told_and_nothing_follows(error: TokenHubError) -> None:
    events, line = opened(FakeStream(CHUNKS, error))
    assert list(events) == [b"a", b"b", b"broken cut"] and line.closed == 1


def test_the_line_is_closed_before_the_last_bytes_are_given_out() -> None:
    events, line = opened(FakeStream([]))
    assert line.closed == 0
    assert next(iter(events)) == b"end 4" and line.closed == 1


def test_closing_closes_the_stream_wherever_it_is() -> None:
    stream = FakeStream(CHUNKS)
    events, line = opened(stream)
    next(iter(events))
    events.close()
    assert stream.closed == 1 and line.closed == 1


def test_the_headers_say_who_answered() -> None:
    told = answers.receipt_headers(receipt(model="m/ü\n", provider="p", not_forwarded=("seed", "n")))
    assert told["x-tokenhub-model"] == "m/ü?" == told["X-Negotiated-Model"]
    assert told["x-tokenhub-provider"] == "p" and told["x-tokenhub-reason"] == "best_score"
    assert told["x-tokenhub-not-forwarded"] == "seed, n"
    assert "x-tokenhub-not-forwarded" not in answers.receipt_headers(receipt())


def test_a_model_that_nobody_knows_is_told() -> None:
    unknown = Itinerary((), (), Hint("gpt-99", "unknown", ()))
    assert answers.receipt_headers(receipt(itinerary=unknown))["x-tokenhub-hint"] == "unknown"
    known = Itinerary((), (), Hint("m", "exact", ("m",)))
    assert "x-tokenhub-hint" not in answers.receipt_headers(receipt(itinerary=known))


def test_header_values_are_always_safe() -> None:
    assert answers.header_value("meta/llama-3") == "meta/llama-3"
    for text in ("a\r\nb: c", "ü\u2028", "模型"):
        value = answers.header_value(text)
        assert "\r" not in value and "\n" not in value
        value.encode("latin-1")


def test_every_row_of_the_policy_has_its_header() -> None:
    assert ("HTTP_X_TOKENHUB_MAX_BUDGET_USD", "max_budget_usd") in answers.POLICY_HEADERS
    assert {name for _, name in answers.POLICY_HEADERS} == {knob.name for knob in TABLE}
