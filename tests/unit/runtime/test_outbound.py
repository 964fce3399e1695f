"""The environment of a request, and the bytes of a response."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from tests.e2e.wire import answers
from tokenhub.runtime import outbound
from tokenhub.runtime.outbound import FrozenConfig, OutboundResponse, base_environ, environ_of


class Client:
    """A socket that takes so much at once."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.most = most
        self.sends: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.sends.append(bytes(data[: self.most]))
        return len(self.sends[-1])

    def sendall(self, data: bytes) -> None:
        self.sends.append(bytes(data))

    @property
    def heard(self) -> bytes:
        return b"".join(self.sends)


def asked(method: str = "POST", version: tuple[int, int] = (1, 1), *, closes: bool = False) -> Any:
    return SimpleNamespace(method=method, version=version, should_close=lambda: closes)


def response(request: Any, client: Client, status: str = "200 OK", *headers: tuple[str, str]) -> OutboundResponse:
    made = OutboundResponse(request, client, closes=False)
    made.start_response(status, list(headers))
    return made


def test_head_and_body_of_a_known_size_leave_in_one_send() -> None:
    client = Client()
    made = response(asked(), client, "200 OK", ("Content-Length", "5"), ("x-a", "1"))
    made.write(b"hello")
    made.close()
    assert len(client.sends) == 1 and not made.closes
    (answer,) = answers(client.heard)
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"hello", "1")
    assert answer.headers["connection"] == "keep-alive" and answer.headers["date"].endswith("GMT")


def test_a_body_of_unknown_size_is_chunked_and_each_piece_leaves_at_once() -> None:
    client = Client()
    made = response(asked(), client)
    for piece in (b"one", b"", b"three"):
        made.write(piece)
    made.close()
    head, _, body = client.heard.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and body == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"
    assert len(client.sends) == 3


def test_an_old_client_gets_the_end_of_the_connection_for_an_end() -> None:
    client = Client()
    made = response(asked(version=(1, 0)), client)
    made.write(b"abc")
    made.close()
    assert client.heard.startswith(b"HTTP/1.0 200 OK\r\n") and client.heard.endswith(b"\r\n\r\nabc")
    assert made.closes and b"Connection: close" in client.heard


@pytest.mark.parametrize("method, status", [("HEAD", "200 OK"), ("GET", "304 NOT MODIFIED"), ("GET", "204 NO CONTENT")])
def test_what_has_no_body_gets_none(method: str, status: str) -> None:
    client = Client()
    made = response(asked(method), client, status, ("Content-Length", "3"))
    made.write(b"abc")
    made.close()
    head, _, body = client.heard.partition(b"\r\n\r\n")
    assert body == b"" and not made.closes
    assert (b"Content-Length: 3" in head) == (status[:3] != "204")


def test_never_more_than_was_promised_and_never_less_without_the_end_of_the_connection() -> None:
    client = Client()
    more = response(asked(), client, "200 OK", ("Content-Length", "3"))
    more.write(b"abcdef")
    more.close()
    assert client.heard.endswith(b"\r\n\r\nabc") and not more.closes
    less = response(asked(), Client(), "200 OK", ("Content-Length", "3"))
    less.write(b"a")
    less.close()
    assert less.closes


def test_what_the_socket_does_not_take_at_once_follows() -> None:
    client = Client(most=10)
    made = response(asked(), client, "200 OK", ("Content-Length", "4"))
    made.write(b"tail")
    assert len(client.sends) == 2 and client.heard.endswith(b"\r\n\r\ntail")


@pytest.mark.parametrize("header", [("x", "a\r\nb: c"), ("x", "a\nb"), ("x\n", "a"), ("x", "a\0"), ("x", "\u20ac")])
def test_a_header_that_could_be_two_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        response(asked(), Client(), "200 OK", ("a", "b"), header)


def test_a_status_with_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match="status"):
        response(asked(), Client(), "200 OK\r\nx: y")


def test_what_is_the_servers_to_say_is_not_the_applications() -> None:
    client = Client()
    response(asked(closes=True), client, "200 OK", ("Connection", "keep-alive"), ("Date", "never")).close()
    assert client.heard.count(b"Connection:") == 1 and b"never" not in client.heard and b"close" in client.heard


def test_a_second_start_replaces_the_first_only_while_nothing_has_left() -> None:
    client = Client()
    made = response(asked(), client)
    with pytest.raises(AssertionError):
        made.start_response("200 OK", [])
    error = (RuntimeError, RuntimeError("broke"), None)
    made.start_response("500 INTERNAL SERVER ERROR", [("Content-Length", "0")], error)
    made.close()
    assert client.heard.startswith(b"HTTP/1.1 500")
    with pytest.raises(RuntimeError, match="broke"):
        made.start_response("500 INTERNAL SERVER ERROR", [], error)


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(outbound, "http_date", lambda unix_s: made.append(unix_s) or f"day {unix_s}")
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.5)
    outbound._date.cache_clear()
    for _ in range(3):
        response(asked(), Client()).close()
    assert made == [4_000_000_000]
    outbound._date.cache_clear()


def test_the_environment_is_what_pep_3333_asks() -> None:
    request = SimpleNamespace(
        body="body",
        scheme="http",
        method="POST",
        uri="/v1/a%20b?x=1",
        path="/v1/a%20b",
        query="x=1",
        version=(1, 1),
        headers=[("CONTENT-TYPE", "text/plain"), ("X-A", "1"), ("X-A", "2"), ("HOST", "h")],
    )
    environ = environ_of(request, "socket", ("192.0.2.1", 7), base_environ(Config(), ("127.0.0.1", 8080)))
    told = {name: environ[name] for name in ("PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "HTTP_X_A", "REMOTE_ADDR")}
    assert told == {
        "PATH_INFO": "/v1/a b",
        "QUERY_STRING": "x=1",
        "CONTENT_TYPE": "text/plain",
        "HTTP_X_A": "1,2",
        "REMOTE_ADDR": "192.0.2.1",
    }
    assert (environ["SERVER_PORT"], environ["wsgi.input"], environ["gunicorn.socket"]) == ("8080", "body", "socket")


def test_a_unix_socket_has_no_address() -> None:
    request = SimpleNamespace(
        body=None, scheme="http", method="GET", uri="/", path="/", query="", version=(1, 1), headers=[]
    )
    environ = environ_of(request, None, "", base_environ(Config(), "/run/tokenhub.sock"))
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == ("", "/run/tokenhub.sock")


def test_frozen_settings_are_the_same_and_what_is_derived_too() -> None:
    cfg = Config()
    cfg.set("keepalive", 7)
    frozen = FrozenConfig(cfg)
    assert (frozen.keepalive, frozen.workers, frozen.is_ssl) == (7, cfg.workers, cfg.is_ssl)
