from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from tests.unit.providers.conftest import (
    STREAM_END,
    STREAM_HEAD,
    Upstream,
    always,
    deadlines,
    piece,
    plain,
    serving,
)
from tokenhub.errors import ProviderTransient
from tokenhub.providers.http import HttpClient


def post(http: HttpClient, upstream: Upstream, **limits: float):
    return http.post(f"{upstream.url}/x", {"Authorization": "Bearer sk-canary"}, b"{}", deadlines(**limits))


def fails(http: HttpClient, upstream: Upstream, **limits: float) -> ProviderTransient:
    with pytest.raises(ProviderTransient) as caught:
        post(http, upstream, **limits)
    return caught.value


def test_the_request_goes_out_as_given_and_plainly_encoded(http: HttpClient) -> None:
    with serving(always(plain(b"answer"))) as upstream:
        exchange = http.post(f"{upstream.url}/a/b?c=d", {"X-Own": "1"}, b"body", deadlines())
        assert (exchange.status, exchange.headers["content-type"]) == (200, "application/json")
        assert exchange.read_all(100, 1.0) == b"answer"
        exchange.close()
    head, _, body = upstream.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a/b?c=d HTTP/1.1\r\n") and body == b"body"
    assert b"Accept-Encoding: identity" in head and b"X-Own: 1" in head and b"Content-Length: 4" in head
    assert b"Transfer-Encoding" not in head and b"Cookie" not in head


def test_a_finished_exchange_gives_its_connection_back(http: HttpClient) -> None:
    with serving(always(plain(b"answer"))) as upstream:
        for _ in range(5):
            exchange = post(http, upstream)
            exchange.read_all(100, 1.0)
            exchange.close()
        assert (len(upstream.requests), upstream.connections) == (5, 1)


def test_a_finished_chunked_exchange_gives_its_connection_back(http: HttpClient) -> None:
    with serving(always(STREAM_HEAD + piece(b"one") + STREAM_END)) as upstream:
        for _ in range(3):
            exchange = post(http, upstream)
            assert exchange.read_all(100, 1.0) == b"one"
            exchange.close()
        assert upstream.connections == 1


def test_an_unfinished_exchange_drops_its_connection(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(STREAM_HEAD + piece(b"one"))

    with serving(script) as upstream:
        exchange = post(http, upstream)
        assert exchange.read_some(1.0) == b"one"
        exchange.close()
        exchange.close()
        assert upstream.dropped.wait(1)
        post(http, upstream).close()
        assert upstream.connections == 2
        with pytest.raises(ProviderTransient):
            exchange.read_some(1.0)


def test_a_connection_closed_between_requests_is_replaced(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(plain(b"answer"))
        conn.shutdown(socket.SHUT_RDWR)

    with serving(script) as upstream:
        for _ in range(3):
            exchange = post(http, upstream)
            assert exchange.read_all(100, 1.0) == b"answer"
            exchange.close()
            assert upstream.dropped.wait(1)
            time.sleep(0.02)
        assert len(upstream.requests) == 3


def test_redirects_are_not_followed_and_their_body_not_read(http: HttpClient) -> None:
    with serving(always(plain(b"secret"))) as other:

        def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
            conn.sendall(f"HTTP/1.1 302 Found\r\nLocation: {other.url}/\r\nContent-Length: 9999\r\n\r\n".encode())
            upstream.release.wait(5)

        with serving(script) as upstream:
            started = time.monotonic()
            exchange = post(http, upstream)
            assert exchange.status == 302 and time.monotonic() - started < 1
            exchange.close()
        assert other.connections == 0


def test_proxies_and_netrc_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch, http: HttpClient) -> None:
    with serving(always(plain(b"from the proxy"))) as proxy, serving(always(plain(b"from the upstream"))) as upstream:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        exchange = post(http, upstream)
        assert exchange.read_all(100, 1.0) == b"from the upstream"
        exchange.close()
        assert proxy.connections == 0


def test_a_refused_connection_is_not_doubtful_and_the_providers_fault(http: HttpClient) -> None:
    with serving(always(b"")) as upstream:
        pass
    failure = fails(http, upstream)
    assert (failure.code, failure.doubtful, failure.blame) == ("connect_failed", False, "provider")


def test_an_address_without_a_host_is_a_failure_like_any_other(http: HttpClient) -> None:
    for url in ("http://", "nonsense", "ftp://127.0.0.1/", "http://[::1", "http://no host/"):
        with pytest.raises(ProviderTransient) as caught:
            http.post(url, {}, b"{}", deadlines())
        assert (caught.value.code, caught.value.doubtful) == ("connect_failed", False)


def test_a_header_that_cannot_be_sent_is_a_failure_without_its_value(http: HttpClient) -> None:
    with serving(always(plain(b""))) as upstream:
        for value in ("Bearer sk-canary\nX: y", "Bearer sk-canary€"):
            with pytest.raises(ProviderTransient) as caught:
                http.post(upstream.url, {"Authorization": value}, b"{}", deadlines())
            assert caught.value.code == "connect_failed" and "canary" not in repr(caught.value)
        assert upstream.requests == []


def test_silence_before_the_headers_ends_in_time_and_is_doubtful(http: HttpClient) -> None:
    with serving(lambda upstream, conn, request: (upstream.release.wait(5), None)[1]) as upstream:
        started = time.monotonic()
        failure = fails(http, upstream, headers_s=0.2)
        assert (failure.code, failure.doubtful, failure.blame) == ("headers_timeout", True, "target")
        assert 0.15 < time.monotonic() - started < 1


def test_a_hang_up_before_the_headers_is_doubtful(http: HttpClient) -> None:
    with serving(lambda upstream, conn, request: conn.shutdown(socket.SHUT_RDWR)) as upstream:
        failure = fails(http, upstream)
        assert (failure.code, failure.doubtful) == ("connection_lost", True)


@pytest.mark.parametrize(
    "head", [b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n"]
)
def test_an_answer_that_is_not_http_is_a_bad_response(http: HttpClient, head: bytes) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(head)
        conn.shutdown(socket.SHUT_WR)

    with serving(script) as upstream:
        assert fails(http, upstream).code == "bad_response"


def test_a_silence_in_the_body_has_the_name_that_the_reader_gave_it(http: HttpClient) -> None:
    with serving(always(STREAM_HEAD + piece(b"one"))) as upstream:
        for late in ("first_token_timeout", "chunk_timeout"):
            exchange = post(http, upstream)
            assert exchange.read_some(1.0) == b"one"
            with pytest.raises(ProviderTransient) as caught:
                exchange.read_some(0.1, late)
            assert (caught.value.code, caught.value.doubtful) == (late, True)
            exchange.close()


def test_the_total_deadline_holds_however_lively_the_server_is(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(STREAM_HEAD)
        while not upstream.release.wait(0.02):
            conn.sendall(piece(b"x"))

    with serving(script) as upstream:
        started = time.monotonic()
        exchange = post(http, upstream, total_s=0.4)
        with pytest.raises(ProviderTransient) as caught:
            while exchange.read_some(2.0):
                pass
        exchange.close()
        assert caught.value.code == "total_timeout"
        assert 0.3 < time.monotonic() - started < 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        STREAM_HEAD + piece(b"one"),
        STREAM_HEAD + b"64\r\nshort",
        STREAM_HEAD + b"zz\r\nshort",
    ],
    ids=["length", "between", "within", "nonsense"],
)
def test_a_body_cut_short_is_never_a_clean_end(http: HttpClient, answer: bytes) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(answer)
        conn.shutdown(socket.SHUT_WR)

    with serving(script) as upstream:
        exchange = post(http, upstream)
        with pytest.raises(ProviderTransient) as caught:
            exchange.read_all(1000, 1.0)
        exchange.close()
        assert caught.value.code in ("connection_lost", "bad_response") and caught.value.doubtful


def test_a_reset_in_the_body_is_a_lost_connection(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(STREAM_HEAD + piece(b"one"))
        upstream.release.wait(0.1)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.close()

    with serving(script) as upstream:
        exchange = post(http, upstream)
        assert exchange.read_some(1.0) == b"one"
        with pytest.raises(ProviderTransient) as caught:
            exchange.read_some(1.0)
        exchange.close()
        assert caught.value.code == "connection_lost"


def test_an_answer_without_a_length_ends_with_the_connection(http: HttpClient) -> None:
    def script(upstream: Upstream, conn: socket.socket, request: bytes) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        conn.shutdown(socket.SHUT_RDWR)

    with serving(script) as upstream:
        exchange = post(http, upstream)
        assert exchange.read_all(100, 1.0) == b"all of it"
        exchange.close()


def test_a_body_over_the_limit_is_refused_and_dropped(http: HttpClient) -> None:
    with serving(always(plain(b"x" * 300_000))) as upstream:
        exchange = post(http, upstream)
        with pytest.raises(ProviderTransient) as caught:
            exchange.read_all(1000, 1.0)
        exchange.close()
        assert caught.value.code == "bad_response"
        assert upstream.dropped.wait(1)


def test_a_compressed_answer_is_refused_unread(http: HttpClient) -> None:
    with serving(always(plain(b"\x1f\x8b", extra="Content-Encoding: gzip\r\n"))) as upstream:
        exchange = post(http, upstream)
        with pytest.raises(ProviderTransient) as caught:
            exchange.read_some(1.0)
        exchange.close()
        assert caught.value.code == "bad_response"


def test_closing_wakes_whoever_waits_for_the_body(http: HttpClient) -> None:
    with serving(always(STREAM_HEAD + piece(b"one"))) as upstream:
        exchange = post(http, upstream, total_s=20)
        exchange.read_some(1.0)
        closer = threading.Timer(0.1, exchange.close)
        closer.start()
        started = time.monotonic()
        with pytest.raises(ProviderTransient) as caught:
            exchange.read_some(10.0)
        closer.join()
        assert caught.value.code == "connection_lost" and time.monotonic() - started < 2
        assert upstream.dropped.wait(1)


def test_cookies_of_a_provider_are_not_sent_back(http: HttpClient) -> None:
    with serving(always(plain(b"ok", extra="Set-Cookie: a=b\r\n"))) as upstream:
        for _ in range(2):
            exchange = post(http, upstream)
            exchange.read_all(100, 1.0)
            exchange.close()
        assert b"Cookie" not in upstream.requests[1]
