from __future__ import annotations

import tracemalloc

import pytest

from tokenhub.errors import ProviderTransient
from tokenhub.providers.sse import Event, SseParser

STREAM = (
    b": a comment\n\n"
    b'data: {"a": "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"}\n\n'
    b"event: ping\nid: 7\nretry: 10\ndata: one\ndata:two\ndata\n\n"
    b"\n\n\n"
    b"data:no space\n\n"
    b"event: nothing\n\n"
    b"data: [DONE]\n\n"
)
EVENTS = [
    Event("message", '{"a": "ä€😀"}'.encode()),
    Event("ping", b"one\ntwo\n"),
    Event("message", b"no space"),
    Event("message", b"[DONE]"),
]


def read(*pieces: bytes) -> list[Event]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
def test_events_are_the_same_wherever_the_stream_is_split(newline: bytes, bom: bytes) -> None:
    stream = bom + STREAM.replace(b"\n", newline)
    assert read(stream) == EVENTS
    for at in range(len(stream) + 1):
        assert read(stream[:at], stream[at:]) == EVENTS, at
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == EVENTS
    assert read(*(stream[at : at + 3] for at in range(0, len(stream), 3))) == EVENTS


def test_an_event_is_given_as_soon_as_its_blank_line_is_there() -> None:
    parser = SseParser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\n") == [Event("message", b"a")]
    assert parser.feed(b"data: b\r\n\r\n") == [Event("message", b"b")]
    assert parser.feed(b"data: c\r\r") == [Event("message", b"c")]
    assert parser.feed(b"\ndata: d\n\n") == [Event("message", b"d")]
    assert parser.feed(b"") == []


def test_an_event_cut_off_by_the_end_is_none() -> None:
    assert read(b"data: whole\n\ndata: half") == [Event("message", b"whole")]


def test_a_gigabyte_in_one_line_is_refused_before_it_is_held() -> None:
    parser, piece = SseParser(), b"x" * 65_536
    tracemalloc.start()
    with pytest.raises(ProviderTransient) as caught:
        for _ in range(1 << 14):
            parser.feed(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "bad_response"
    assert peak < 5 << 20


def test_an_endless_stream_of_small_events_ends_at_the_cap() -> None:
    parser = SseParser(max_total=10_000)
    with pytest.raises(ProviderTransient) as caught:
        for _ in range(1_000):
            parser.feed(b"data: again and again\n\n")
    assert caught.value.code == "bad_response"
