"""The transport without a server: what it refuses to send, and its parser. The rest is in tests/hostile."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from geventhttpclient._parser import HTTPParseError
from requests.exceptions import InvalidHeader, InvalidURL

from tokenhub.domain.ports import Deadlines
from tokenhub.providers import exchange
from tokenhub.providers.connections import default_tls
from tokenhub.providers.framing import ResponseParser, place, request_head
from tokenhub.providers.transport import Transport

DEADLINES = Deadlines(connect_s=1.0, headers_s=1.0, first_token_s=1.0, between_chunks_s=1.0, total_s=1.0)

ANSWER = (
    b"HTTP/1.1 100 Continue\r\nx: gone\r\n\r\n"
    b"HTTP/1.1 200 Fine\r\nA: 1\r\na: 2\r\nEmpty:\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"3\r\none\r\n3;x=y\r\ntwo\r\n0\r\nTrailer: t\r\n\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 64, len(ANSWER)])
def test_an_answer_reads_the_same_in_pieces_of_any_size(size: int) -> None:
    parser = ResponseParser("POST")
    body = b""
    for start in range(0, len(ANSWER), size):
        assert not parser.done
        parser.feed(ANSWER[start : start + size])
        body += parser.take()
    assert (parser.done, parser.get_code(), parser.reason, body) == (True, 200, "Fine", b"onetwo")
    assert dict(parser.headers()) == {"a": "1, 2", "Empty": "", "Transfer-Encoding": "Chunked"}


def test_a_bare_interim_response_is_not_the_answer() -> None:
    parser = ResponseParser("POST")
    parser.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (parser.head_done, parser.done) == (False, False)


def test_the_answer_to_head_has_no_body() -> None:
    parser = ResponseParser("HEAD")
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    assert (parser.done, parser.take()) == (True, b"")


def test_eight_interim_responses_are_taken_and_nine_are_not() -> None:
    parser = ResponseParser("POST")
    for _ in range(8):
        parser.feed(b"HTTP/1.1 102 Processing\r\n\r\n")
    with pytest.raises(HTTPParseError, match="interim"):
        parser.feed(b"HTTP/1.1 102 Processing\r\n\r\n")


def test_framing_is_bounded_and_a_byte_of_body_starts_the_count_again() -> None:
    parser = ResponseParser("POST")
    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        parser.feed(b"1;" + b"a" * 50_000)
        parser.feed(b"\r\nx\r\n")
        assert parser.take() == b"x"
    parser.feed(b"1;" + b"a" * 60_000)
    with pytest.raises(HTTPParseError, match="framing"):
        parser.feed(b"a" * 6000)


@pytest.mark.parametrize(
    ("url", "origin", "target", "host"),
    [
        ("http://h/", ("http", "h", 80), "/", "h"),
        ("https://H.example", ("https", "h.example", 443), "/", "H.example"),
        ("https://u:p@h:8443/v1/x?a=b#c", ("https", "h", 8443), "/v1/x?a=b", "h:8443"),
        ("http://[::1]:80/a", ("http", "::1", 80), "/a", "[::1]:80"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: Any, target: str, host: str) -> None:
    assert place(url) == (origin, target, host)


@pytest.mark.parametrize("url", ["ftp://h/", "file:///etc/passwd", "http:///x", "http://h:99999/", "http://[::1/", "h"])
def test_a_url_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidURL):
        place(url)


def test_a_head_is_what_http_says() -> None:
    head = request_head("POST", "/x", "h:1", {"A": "b", "Content-Length": "2"}, b"{}")
    assert head == b"POST /x HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        {"A": "b\r\nC: d"},
        {"A": "b\n"},
        {"A": "b\r"},
        {"A\r\nB": "c"},
        {"A": "\u20ac"},
        {"Transfer-Encoding": "chunked"},
        {"Host": "other"},
        {"Content-Length": "3"},
        {"Content-Length": "+2"},
    ],
)
def test_a_head_that_could_be_read_as_something_else_is_refused_without_its_value(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidHeader) as caught:
        request_head("POST", "/x", "h", {"Content-Length": "2", **headers}, b"{}")
    assert all(value not in str(caught.value) for value in headers.values())


def test_a_body_without_a_length_is_refused() -> None:
    with pytest.raises(InvalidHeader):
        request_head("POST", "/x", "h", {}, b"{}")


class ScriptedSocket:
    """Takes, for each send, so many bytes or fails; then gives an answer and the end."""

    def __init__(self, *sends: int | OSError, answer: bytes = b"") -> None:
        self.sends = list(sends)
        self.answers = [answer, b""] if answer else [b""]

    def settimeout(self, timeout_s: float | None) -> None:
        pass

    def send(self, data: memoryview) -> int:
        result = self.sends.pop(0)
        if isinstance(result, OSError):
            raise result
        return min(result, len(data))

    def recv(self, size: int) -> bytes:
        return self.answers.pop(0)


class ScriptedPool:
    """Hands out kept connections, one per socket, and counts what comes back."""

    host = "h"

    def __init__(self, *sockets: ScriptedSocket) -> None:
        self.connections = [SimpleNamespace(sock=sock, reused=True, wait=lambda: None) for sock in sockets]
        self.taken = 0
        self.dropped = 0
        self.given = 0

    def take(self, until: float) -> Any:
        self.taken += 1
        return self.connections[self.taken - 1]

    def drop(self, connection: Any) -> None:
        self.dropped += 1

    def give(self, connection: Any) -> None:
        self.given += 1


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_kept_connection_that_takes_no_byte_is_replaced() -> None:
    pool = ScriptedPool(ScriptedSocket(BrokenPipeError()), ScriptedSocket(1000, answer=OK))
    call = exchange.RawExchange(pool, "POST", DEADLINES)  # type: ignore[arg-type]
    call.begin(b"head", b"body")
    assert call.read_some(1.0) == b"ok"
    assert (pool.taken, pool.dropped, pool.given) == (2, 1, 1)


@pytest.mark.parametrize("answer", [b"", OK])
def test_a_request_of_which_a_byte_left_is_never_sent_again(answer: bytes) -> None:
    pool = ScriptedPool(ScriptedSocket(1, ConnectionResetError(), answer=answer), ScriptedSocket(1000, answer=OK))
    call = exchange.RawExchange(pool, "POST", DEADLINES)  # type: ignore[arg-type]
    if answer:
        call.begin(b"head", b"body")
        assert call.read_some(1.0) == b"ok", "the answer that came before the reset is given"
    else:
        with pytest.raises(exchange.ConnectionBroken) as caught:
            call.begin(b"head", b"body")
        assert (caught.value.sent, caught.value.body_sent) == (True, False)
    assert (pool.taken, pool.dropped, pool.given) == (1, 1, 0)


def test_deadlines_are_needed() -> None:
    request = requests.Request("GET", "http://127.0.0.1/").prepare()
    for timeout in (None, 3.0, (1.0, 2.0)):
        with pytest.raises(TypeError, match="Deadlines"):
            Transport().send(request, timeout=timeout)  # type: ignore[arg-type]


def test_a_tls_context_that_would_block_the_hub_is_refused() -> None:
    with pytest.raises(TypeError, match="hub"):
        Transport(tls=ssl.create_default_context())


def test_the_tls_context_is_one_and_verifies() -> None:
    assert default_tls() is default_tls()
    assert (default_tls().check_hostname, default_tls().verify_mode) == (True, ssl.CERT_REQUIRED)


def test_a_pool_is_made_once_per_origin() -> None:
    transport = Transport()
    first = transport._pool(("http", "h", 80))
    assert transport._pool(("http", "h", 80)) is first
    assert transport._pool(("https", "h", 80)) is not first


@pytest.mark.parametrize("name", [name for name, kind in vars(exchange).items() if isinstance(kind, type)])
def test_every_error_is_one_of_requests_own(name: str) -> None:
    kind = getattr(exchange, name)
    if issubclass(kind, exchange.TransportError):
        assert issubclass(kind, requests.RequestException)
        assert (kind("x").sent, kind("x").body_sent) == (False, False)
