"""What comes from a client's socket: deadlines for each part, a body's errors, and the checks gunicorn leaves out."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader, LimitRequestLine

from tokenhub.errors import ClientGone, InvalidRequest, RequestTimeout
from tokenhub.runtime import inbound
from tokenhub.runtime.inbound import InboundReader, InboundRequest, Refused

HEAD = b"POST /v1/chat HTTP/1.1\r\nHost: a\r\n"


class Wire:
    """Both ends of a connection: what is sent at one, a server reads at the other."""

    def __init__(self) -> None:
        self.client, self.server = socket.socketpair()
        self.reader = InboundReader(self.server)

    def request(self, data: bytes, number: int = 1) -> InboundRequest:
        self.client.sendall(data)
        self.reader.await_head(0.2)
        return InboundRequest(CONFIG, self.reader, ("192.0.2.1", 7), number)

    def refusal(self, data: bytes) -> Refused:
        with pytest.raises(Refused) as raised:
            self.request(data)
        return raised.value


CONFIG = Config()
CONFIG.set("forwarded_allow_ips", "")


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.client.close()
    made.server.close()


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET /v1 HTTP/1.1\r\n\r\n", "bad_host"),
        (b"GET /v1 HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad_host"),
        (b"GET /v1 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "bad_host"),
        (b"GET http://a/v1 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        (b"GET /v1#x HTTP/1.1\r\nHost: a\r\n\r\n", "bad_request_line"),
        (HEAD + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_transfer_encoding"),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "bad_transfer_encoding"),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "bad_headers"),
        (HEAD + b"X : y\r\n\r\n", "bad_headers"),
    ],
)
def test_an_unclean_head_is_refused(wire: Wire, head: bytes, code: str) -> None:
    refusal = wire.refusal(head)
    assert (refusal.status, refusal.code) == (400, code)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked"])
def test_a_clean_head_is_taken(wire: Wire, coding: bytes) -> None:
    request = wire.request(HEAD + b"Transfer-Encoding: " + coding + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert (request.method, request.path) == ("POST", "/v1/chat")
    assert request.body.read(100) == b"hello"


def test_a_head_that_does_not_end_is_a_408_of_the_surface_that_was_asked(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound, "HEAD_S", 0.05)
    assert wire.refusal(HEAD).status == 408
    told = body_of(wire.refusal(b"GET /admin/v1/models HTTP/1.1\r\nHo").response())
    assert set(told) == {"code", "message", "request_id"}


def test_the_whole_head_has_one_deadline(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "HEAD_S", 0.2)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.02):
            wire.client.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    begun = time.monotonic()
    try:
        assert wire.refusal(HEAD + b"X: ").status == 408
    finally:
        stop.set()
        thread.join()
    assert 0.15 < time.monotonic() - begun < 1


def test_a_silent_connection_is_no_refusal(wire: Wire) -> None:
    with pytest.raises(TimeoutError):
        wire.request(b"")


def test_a_closed_connection_is_the_end(wire: Wire) -> None:
    wire.client.close()
    wire.reader.await_head(1)
    with pytest.raises(StopIteration):
        InboundRequest(CONFIG, wire.reader, ("192.0.2.1", 7), 1)


def test_a_request_that_came_with_the_one_before_has_begun(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "HEAD_S", 0.05)
    assert wire.request(HEAD + b"\r\n" + HEAD).body.finish()
    assert wire.refusal(b"").status == 408


# ---------------------------------------------------------------- what a refusal says


def body_of(response: bytes) -> Any:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head
    return json.loads(body)["error"]


def test_a_refusal_is_openais_error_object() -> None:
    response = Refused.because(LimitRequestLine(5, 4), SimpleNamespace(path=None, method=None)).response()
    assert response.startswith(b"HTTP/1.1 414 ")
    assert set(body_of(response)) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/admin/v1", "/admin/v1/models"])
def test_for_the_admin_it_is_the_admins_and_names_its_request_id(path: str) -> None:
    response = Refused.because(InvalidHeader("x"), SimpleNamespace(path=path, method="GET")).response()
    assert b"x-request-id: %b\r\n" % body_of(response)["request_id"].encode() in response


def test_to_head_it_has_no_body() -> None:
    response = Refused.because(InvalidHeader("x"), SimpleNamespace(path="/", method="HEAD")).response()
    assert response.endswith(b"connection: close\r\n\r\n")


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"3\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nHost: a\r\n\r\n",
        b"1\r\nx\r\n" * (inbound.FREE_CHUNKS * 2),
    ],
)
def test_a_bad_chunk_is_the_callers_mistake_and_ends_the_connection(wire: Wire, chunks: bytes) -> None:
    request = wire.request(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    with pytest.raises(InvalidRequest):
        request.body.read(1 << 20)
    assert request.should_close() and not request.body.finish()


def test_many_chunks_are_taken_where_they_are_not_dust(wire: Wire) -> None:
    chunks = b"20\r\n%b\r\n" % (b"x" * 32) * (inbound.FREE_CHUNKS * 2)
    request = wire.request(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    thread = threading.Thread(target=wire.client.sendall, args=(chunks + b"0\r\n\r\n",))
    thread.start()
    assert len(request.body.read(1 << 20)) == 32 * inbound.FREE_CHUNKS * 2
    thread.join()


def test_a_chunked_body_that_is_cut_is_the_callers_mistake(wire: Wire) -> None:
    request = wire.request(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe")
    wire.client.close()
    with pytest.raises(InvalidRequest):
        request.body.read(100)
    assert request.should_close()


def test_a_lost_connection_is_a_client_that_left(wire: Wire) -> None:
    request = wire.request(HEAD + b"Content-Length: 5\r\n\r\n")
    wire.reader.sock = _Reset(wire.server)
    with pytest.raises(ClientGone):
        request.body.read(5)
    assert request.should_close()


class _Reset:
    def __init__(self, sock: socket.socket) -> None:
        self.settimeout = sock.settimeout

    def recv(self, size: int) -> bytes:
        raise ConnectionResetError


def test_a_slow_body_is_a_408_and_ends_the_connection(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "BODY_S", 0.05)
    request = wire.request(HEAD + b"Content-Length: 5\r\n\r\nhe")
    with pytest.raises(RequestTimeout):
        request.body.read(5)
    assert request.should_close() and not request.body.finish()


def test_who_sends_at_a_fair_rate_may_take_longer(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "BODY_S", 0.2)
    monkeypatch.setattr(inbound, "BODY_BYTES_PER_S", 1000)
    request = wire.request(HEAD + b"Content-Length: 2000\r\n\r\n")

    def send() -> None:
        for _ in range(8):
            time.sleep(0.05)
            wire.client.sendall(b"x" * 250)

    thread = threading.Thread(target=send)
    thread.start()
    assert len(request.body.read(2000)) == 2000
    thread.join()


def test_outside_of_reads_the_socket_has_the_time_for_writes(wire: Wire) -> None:
    wire.request(HEAD + b"Content-Length: 5\r\n\r\nhello").body.read(5)
    assert wire.server.gettimeout() == inbound.WRITE_S


# ---------------------------------------------------------------- 100 Continue


def test_the_continue_is_sent_at_the_first_read_only(wire: Wire) -> None:
    request = wire.request(HEAD + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert not request._expected_100_continue  # Or gunicorn would send it.
    assert request.should_close()  # As long as the body is not asked for.
    threading.Timer(0.05, wire.client.sendall, (b"hello",)).start()
    assert request.body.read(2) + request.body.read(3) == b"hello"
    assert wire.client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not request.should_close()


# ---------------------------------------------------------------- what the application did not read


def test_a_small_rest_is_read_away_and_the_next_request_follows(wire: Wire) -> None:
    request = wire.request(HEAD + b"Content-Length: 5\r\n\r\nhello" + b"GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not request.should_close() and request.body.finish()
    assert wire.request(b"", 2).method == "GET"


@pytest.mark.parametrize("framing", [b"Content-Length: 70000", b"Transfer-Encoding: chunked"])
def test_a_large_or_unknown_rest_ends_the_connection(wire: Wire, framing: bytes) -> None:
    request = wire.request(HEAD + framing + b"\r\n\r\n")
    assert request.should_close() and not request.body.finish()


@pytest.mark.parametrize("leaves", [True, False])
def test_a_rest_that_does_not_come_ends_the_connection(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr(inbound, "REST_S", 0.05)
    request = wire.request(HEAD + b"Content-Length: 5\r\n\r\nhe")
    if leaves:
        wire.client.close()
    assert not request.body.finish()


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1\r\nConnection: close"])
def test_what_the_client_says_of_the_connection_holds(wire: Wire, version: bytes) -> None:
    assert wire.request(b"GET / " + version + b"\r\nHost: a\r\n\r\n").should_close()
