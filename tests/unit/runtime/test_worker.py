"""The loop over a connection: requests one after the other, refusals in JSON, and when it ends."""

from __future__ import annotations

import http.client
import itertools
import logging
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from tests.e2e.harness import Answer
from tests.e2e.wire import answers
from tokenhub.runtime import inbound
from tokenhub.runtime.worker import Worker

GET = b"GET /v1/x HTTP/1.1\r\nHost: a\r\n\r\n"
Start = Callable[..., Any]


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Says what it was sent; breaks in several ways."""
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("a canary")
    if environ["PATH_INFO"] == "/odd-header":
        start("200 OK", [("x", "a\r\nb")])
    body = environ["wsgi.input"].read() if environ["PATH_INFO"] != "/deaf" else b"-"
    start("200 OK", [("content-type", "text/plain"), ("content-length", str(len(body)))])
    return broken() if environ["PATH_INFO"] == "/half" else [body]


def broken() -> Iterable[bytes]:
    yield b""
    raise RuntimeError("half way")


def ignore(*told: object) -> None:
    """gunicorn's own log."""


def serve(data: bytes, app: Any = application) -> list[Answer]:
    """What a client that sends this and then nothing more gets to hear."""
    worker: Any = object.__new__(Worker)
    worker.cfg, worker.wsgi, worker.alive, worker.nr, worker.max_requests = Config(), app, True, 0, 1 << 60
    worker.log = SimpleNamespace(access=ignore, exception=ignore, debug=ignore)
    client, server = socket.socketpair()
    with client, server, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        worker.handle(listener, server, ("192.0.2.1", 7))
        heard = b""
        while part := client.recv(1 << 16):
            heard += part
    return answers(heard)


def test_requests_are_served_one_after_the_other() -> None:
    post = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    found = serve(GET + post + GET)
    assert [answer.body for answer in found] == [b"", b"hello", b""]
    assert {answer.headers["connection"] for answer in found} == {"keep-alive"}


def test_the_first_one_that_is_refused_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = serve(GET + b"GET /v1/x HTTP/1.1\r\n\r\n" + GET)
    assert [answer.status for answer in found] == [200, 400]
    assert found[1].headers["connection"] == "close" and found[1].error["code"] == "bad_host"
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_a_client_that_says_nothing_or_half_is_no_event(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert serve(b"") == serve(b"GET /v1/x HT") == serve(GET[:-2]) == []
    assert not caplog.records


def test_after_a_body_that_nobody_read_to_its_end_the_connection_is_over() -> None:
    chunked = b"POST /deaf HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    short = b"POST /deaf HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    assert [answer.headers["connection"] for answer in serve(chunked + GET)] == ["close"]
    assert [answer.headers["connection"] for answer in serve(short + GET)] == ["keep-alive", "keep-alive"]


@pytest.mark.parametrize("path", [b"/broken", b"/odd-header"])
def test_what_the_application_could_not_answer_is_a_500_in_json_and_logged(
    caplog: pytest.LogCaptureFixture, path: bytes
) -> None:
    (answer,) = serve(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path + GET)
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert b"canary" not in answer.body
    assert [record.message for record in caplog.records] == ["unhandled_exception"]


def test_an_answer_that_breaks_half_way_is_not_followed_by_another() -> None:
    assert [answer.status for answer in serve(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n" + GET)] == [200]


def test_a_client_that_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    def leave(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        raise BrokenPipeError

    with caplog.at_level(logging.INFO):
        assert serve(GET, leave) == []
    assert not caplog.records


def test_a_client_that_takes_nothing_of_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            return itertools.repeat(b"x" * 65536)

        def close(self) -> None:
            closed.append(True)

    def app(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        return Endless()

    monkeypatch.setattr(inbound, "WRITE_S", 0.05)
    with pytest.raises(http.client.IncompleteRead):
        serve(GET, app)
    assert closed == [True]


ALLOW = """
import resource
from tokenhub.runtime.worker import allow_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
allow_files(1000)
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("hard", "soft"), [(4000, 2256), (500, 500), (64, 64)])
def test_files_are_allowed_for_all_connections_as_far_as_the_system_lets(hard: int, soft: int) -> None:
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("the system allows fewer")
    done = subprocess.run([sys.executable, "-c", ALLOW.format(hard=hard)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(soft), str(hard)]
