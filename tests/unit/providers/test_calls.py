from __future__ import annotations

import socket
import time

import pytest

from tests.unit.providers.conftest import STREAM_HEAD, Script, Upstream, always, deadlines, piece, plain, serving
from tokenhub.domain.chat import Chunk
from tokenhub.errors import ProviderError, ProviderFatal, ProviderTransient
from tokenhub.providers.calls import EventStream, require_events, require_ok, scrubbed
from tokenhub.providers.http import HttpClient


class Words:
    """A protocol of bare words: "end" closes it, "stop" is a reason, "-" says nothing; all else is content."""

    def __init__(self) -> None:
        self.has_ended = False

    def read(self, payload: bytes) -> Chunk | None:
        if payload == b"end" or self.has_ended:
            self.has_ended = True
            return None
        if payload == b"-":
            return None
        return Chunk(payload, is_content=payload != b"stop", finish_reason="stop" if payload == b"stop" else None)

    def last(self) -> Chunk | None:
        return Chunk(b"bye")


def words(*spoken: str) -> bytes:
    return STREAM_HEAD + b"".join(piece(b"data: %b\n\n" % word.encode()) for word in spoken)


def opened(upstream: Upstream, http: HttpClient, **limits: float) -> EventStream:
    exchange = http.post(upstream.url, {}, b"{}", deadlines(**limits))
    return EventStream(exchange, Words(), deadlines(**limits), dialect="openai", not_forwarded=("a",), key="canary")


def heard(stream: EventStream) -> list[bytes]:
    return [chunk.payload for chunk in stream]


def test_a_stream_ends_with_its_last_event_and_its_connection_is_kept(http: HttpClient) -> None:
    with serving(always(words("a", "-", "stop", "end") + b"0\r\n\r\n")) as upstream:
        for _ in range(2):
            stream = opened(upstream, http)
            assert heard(stream) == [b"a", b"stop", b"bye"]
            assert (stream.dialect, stream.not_forwarded) == ("openai", ("a",))
        assert upstream.connections == 1


def test_the_connection_is_given_back_before_the_last_word(http: HttpClient) -> None:
    with serving(always(words("a", "stop", "end"))) as upstream:
        started = time.monotonic()
        assert next(chunk for chunk in opened(upstream, http) if chunk.payload == b"bye")
        assert upstream.dropped.wait(1) and time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("spoken", "doubtful"), [(("a",), False), (("a", "end"), False), ((), True), (("-", "end"), True)]
)
def test_a_stream_without_a_reason_to_stop_is_cut(http: HttpClient, spoken: tuple[str, ...], doubtful: bool) -> None:
    with serving(always(words(*spoken) + b"0\r\n\r\n")) as upstream, pytest.raises(ProviderTransient) as caught:
        heard(opened(upstream, http))
    assert (caught.value.code, caught.value.doubtful) == ("stream_truncated", doubtful)


@pytest.mark.parametrize(
    ("spoken", "limits", "code"),
    [(("-",), {"first_token_s": 0.2}, "first_token_timeout"), (("a",), {"between_chunks_s": 0.2}, "chunk_timeout")],
)
def test_silence_has_a_deadline_before_the_first_content_and_another_after_it(
    http: HttpClient, spoken: tuple[str, ...], limits: dict[str, float], code: str
) -> None:
    with serving(always(words(*spoken))) as upstream, pytest.raises(ProviderTransient) as caught:
        heard(opened(upstream, http, **limits))
    assert caught.value.code == code


def test_closing_early_hangs_up_at_once(http: HttpClient) -> None:
    with serving(always(words("a"))) as upstream:
        stream = opened(upstream, http)
        assert next(iter(stream)).payload == b"a"
        stream.close()
        stream.close()
        assert upstream.dropped.wait(0.5)
        with pytest.raises(ProviderTransient):
            next(iter(stream))


def test_the_key_is_taken_out_of_every_error_that_passes() -> None:
    with pytest.raises(ProviderError) as caught, scrubbed("canary"):
        raise ProviderError("a canary!", code="canary", param="canary")
    assert (caught.value.message, caught.value.code, caught.value.param) == ("a ***!", "***", "***")
    assert "canary" not in repr(caught.value)
    with pytest.raises(ProviderError) as caught, scrubbed(""):
        raise ProviderError("as it is")
    assert caught.value.message == "as it is"


def cut_off(status: str) -> Script:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nab".encode())
        conn.shutdown(socket.SHUT_WR)

    return script


def test_a_refusal_is_judged_with_its_body_where_that_can_be_had(http: HttpClient) -> None:
    def classify(status: int, headers: object, body: bytes) -> ProviderError:
        return ProviderFatal(f"{status} {body.decode()}")

    for script, told in (
        (always(plain(b"why", "503 Busy")), "503 why"),
        (always(plain(b"x" * 200_000, "503 Busy")), "503 "),
        (cut_off("503 Busy"), "503 "),
    ):
        with serving(script) as upstream, pytest.raises(ProviderFatal) as caught:
            require_ok(http.post(upstream.url, {}, b"{}", deadlines()), classify)
        assert caught.value.message == told
    with serving(always(plain(b"{}"))) as upstream:
        require_ok(http.post(upstream.url, {}, b"{}", deadlines()), classify)


def test_an_answer_that_is_no_stream_is_refused_or_is_the_error_it_holds(http: HttpClient) -> None:
    def judge(body: bytes) -> None:
        if body == b"no":
            raise ProviderFatal("no")

    for body, error in ((b"no", ProviderFatal), (b"{}", ProviderTransient)):
        with serving(always(plain(body))) as upstream, pytest.raises(error):
            require_events(http.post(upstream.url, {}, b"{}", deadlines()), judge)
    for head in (STREAM_HEAD, STREAM_HEAD.replace(b"Content-Type: text/event-stream\r\n", b"")):
        with serving(always(head)) as upstream:
            require_events(http.post(upstream.url, {}, b"{}", deadlines()), judge)
