"""The front door on the wire, spoken to in plain bytes with no proxy before it: what is no clean request is one 4xx in
JSON and the end of the connection, nothing of it reaches a provider, and who sends slowly disturbs nobody."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import catalogue
from tests.e2e.harness import Answer, Gateway, exchange, until
from tests.e2e.wire import answers
from tests.factories import chat_body
from tests.upstream.process import UpstreamProcess

BODY = json.dumps(chat_body("ok")).encode()
HOST = b"Host: gateway.example\r\n"
HEAD_S, BODY_S, IDLE_S = 10, 30, 5
SCOPE = b"POST /v1/chat/completions HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
ENOUGH_S = 20.0


@pytest.fixture
def auth(gateway: Gateway) -> bytes:
    return b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n" % gateway.first_key.encode()


@pytest.fixture
def nothing_happens(gateway: Gateway, upstream: UpstreamProcess) -> Iterator[None]:
    """No provider is called, no worker dies, and the next request is answered."""
    pids, mark = gateway.worker_pids(), upstream.mark()
    yield
    assert upstream.calls(mark) == []
    assert gateway.worker_pids() == pids
    assert gateway.chat(chat_body("ok")).status == 200


@contextmanager
def connected(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=ENOUGH_S) as sock:
        yield sock


def everything(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def put(gateway: Gateway, data: bytes) -> bytes:
    """Send this, and read until the server closes."""
    with connected(gateway) as sock:
        sock.sendall(data)
        return everything(sock)


def the_only(data: bytes) -> Answer:
    found = answers(data)
    assert len(found) == 1, data[:2000]
    return found[0]


def refused(data: bytes, *statuses: int) -> Answer:
    """These bytes are one refusal in OpenAI's shape that says the connection is over, and tells nothing else."""
    answer = the_only(data)
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"].lower() == "close"
    assert re.fullmatch("req_[0-9a-f]{24}", answer.headers["x-request-id"])
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["type"] and answer.error["code"] and answer.error["message"]
    assert b"<" not in answer.body and b"gunicorn" not in answer.body and b"Traceback" not in answer.body
    return answer


# ---------------------------------------------------------------- no clean request

_TWO_LENGTHS = b"Content-Length: %d\r\nContent-Length: 5\r\n" % len(BODY)
_CL = b"Content-Length: %d\r\n" % len(BODY)
FRAMING: dict[str, bytes] = {
    "CL and TE": _CL + CHUNKED,
    "TE and CL": CHUNKED + _CL,
    "CL 0 and TE": b"Content-Length: 0\r\n" + CHUNKED,
    "TE xchunked": b"Transfer-Encoding: xchunked\r\n",
    "TE list": b"Transfer-Encoding: gzip, chunked\r\n",
    "TE identity list": b"Transfer-Encoding: identity, chunked\r\n",
    "TE chunked twice": CHUNKED + CHUNKED,
    "TE identity and TE chunked": b"Transfer-Encoding: identity\r\n" + CHUNKED,
    "TE chunked and TE identity": CHUNKED + b"Transfer-Encoding: identity\r\n",
    "TE identity": b"Transfer-Encoding: identity\r\n" + _CL,
    "TE empty": b"Transfer-Encoding:\r\n" + _CL,
    "TE empty and TE chunked": b"Transfer-Encoding:\r\n" + CHUNKED,
    "TE quoted": b'Transfer-Encoding: "chunked"\r\n',
    "TE with parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "TE with vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "TE after a tab": b"Transfer-Encoding\t: chunked\r\n",
    "two CL": _TWO_LENGTHS,
    "two equal CL": _CL + _CL,
    "CL list": b"Content-Length: 5, 5\r\n",
    "+CL": b"Content-Length: +%d\r\n" % len(BODY),
    "-CL": b"Content-Length: -1\r\n",
    "CL hex": b"Content-Length: 0x10\r\n",
    "CL with underscore": b"Content-Length: 1_0\r\n",
    "CL superscript": b"Content-Length: \xb2\r\n",
    "CL empty": b"Content-Length:\r\n",
    "CL of 5,000 digits": b"Content-Length: " + b"9" * 5000 + b"\r\n",
    "space before colon": b"Content-Length : %d\r\n" % len(BODY),
    "obs-fold": b"X-Folded: a\r\n b\r\n" + _CL,
    "obs-fold of CL": b"Content-Length:\r\n %d\r\n" % len(BODY),
    "bare LF": b"X-Line: a\n" + _CL,
    "bare CR": b"X-Line: a\rb\r\n" + _CL,
    "NUL": b"X-Line: a\x00b\r\n" + _CL,
    "no colon": b"X-Line\r\n" + _CL,
    "no name": b": x\r\n" + _CL,
    "two Host": HOST + _CL,
    "two different Host": b"Host: other\r\n" + _CL,
    "odd Expect": b"Expect: 200-ok\r\n" + _CL,
}


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("name", FRAMING)
def test_doubtful_framing_is_refused_and_the_connection_closed(gateway: Gateway, auth: bytes, name: str) -> None:
    smuggled = SCOPE + HOST + auth + _CL + b"\r\n" + BODY
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    refused(put(gateway, SCOPE + HOST + auth + FRAMING[name] + b"\r\n" + chunks + smuggled), 400, 417)


CHUNKS: dict[str, bytes] = {
    "no hex": b"zz\r\n",
    "empty size": b"\r\n",
    "sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-1\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space after": b"5 \r\nhello\r\n0\r\n\r\n",
    "bare LF": b"5\nhello\n0\n\n" + b" " * 9000,
    "too short": b"3\r\nhello\r\n0\r\n\r\n",
    "100 kB size": b"0" * 100_000 + b"5\r\nhello\r\n0\r\n\r\n",
    "100 kB extension": b"5;" + b"a" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
    "odd extension": b"5;\x00=1\r\nhello\r\n0\r\n\r\n",
    "bare CR in extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "forbidden trailer": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "trailer without colon": b"5\r\nhello\r\n0\r\nx\r\n\r\n",
    "1 MB of trailers": b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 170_000 + b"\r\n",
    "100,000 chunks of a byte": b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n",
}


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("route", [b"/v1/chat/completions", b"/v1/chat"])
@pytest.mark.parametrize("name", CHUNKS)
def test_bad_chunks_are_a_400(gateway: Gateway, auth: bytes, route: bytes, name: str) -> None:
    head = b"POST %b HTTP/1.1\r\n" % route + HOST + auth + CHUNKED + b"\r\n"
    refused(put(gateway, head + CHUNKS[name] + SCOPE + HOST + auth + _CL + b"\r\n" + BODY), 400)


HEADS: dict[str, tuple[bytes, int]] = {
    "no Host": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
    "empty Host": (b"GET /v1/models HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "odd version": (b"GET /v1/models HTTP/3.0\r\n" + HOST + b"\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /v1/models\r\n\r\n", 400),
    "lower case method": (b"get /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "method with a space": (b"G ET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "white space": (b"    \r\n\r\n", 400),
    "bare LF": (b"GET /v1/models HTTP/1.1\nHost: a\n\n", 400),
    "raw bytes in the target": (b"GET /v1/\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "fragment": (b"GET /v1/models#x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "absolute form": (b"GET http://gateway.example/v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "absolute form elsewhere": (b"GET http://169.254.169.254/v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "absolute form, odd scheme": (b"GET file:///v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "authority form": (b"CONNECT gateway.example:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no slash": (b"GET v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "long request line": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "request line without end": (b"GET /" + b"a" * 100_000, 414),
    "long header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200 + b"\r\n", 431),
    "headers without end": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200_000, 431),
}


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_no_http_is_refused_in_json(gateway: Gateway, name: str) -> None:
    data, status = HEADS[name]
    refused(put(gateway, data), status)


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize(
    "host",
    [
        "a/admin/v1",
        "a?x",
        "a#x",
        "a b",
        "a@b",
        "a,b",
        "a;b",
        "a:b",
        "a:",
        "a:123456",
        "[::1",
        "::1",
        "<b>",
        "a\\b",
        "\xe9",
    ]
    + ["a%2fb", "x" * 300, "a:80:80", "a'", "{{7*7}}"],
)
def test_an_odd_host_is_refused(gateway: Gateway, auth: bytes, host: str) -> None:
    data = SCOPE + b"Host: %b\r\n" % host.encode("latin-1") + auth + _CL + b"\r\n" + BODY
    assert refused(put(gateway, data), 400).error["code"] == "bad_host"


@pytest.mark.parametrize(
    "host", ["a", "a.b-c.example", "a.example.", "A_B:8080", "127.0.0.1:1", "[::1]", "[fe80::1]:80"]
)
def test_a_plain_host_is_taken(gateway: Gateway, auth: bytes, host: str) -> None:
    data = b"GET /v1/models HTTP/1.1\r\nConnection: close\r\nHost: %b\r\n" % host.encode() + auth + b"\r\n"
    assert the_only(put(gateway, data)).status == 200


def test_http_1_0_needs_no_host(gateway: Gateway, auth: bytes) -> None:
    assert the_only(put(gateway, b"GET /v1/models HTTP/1.0\r\n" + auth + b"\r\n")).status == 200


def test_on_admin_routes_a_refusal_has_the_admins_shape(gateway: Gateway) -> None:
    for data in (b"Host: a/b\r\n\r\n", HOST + b"X : y\r\n\r\n", HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n"):
        answer = the_only(put(gateway, b"GET /admin/v1/models HTTP/1.1\r\n" + data))
        assert answer.status in (400, 431) and answer.headers["connection"] == "close"
        assert answer.error["request_id"] == answer.headers["x-request-id"]
        assert set(answer.error) == {"code", "message", "request_id"}


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "SCRIPT-NAME", "PATH-INFO", "REMOTE_ADDR", "wsgi.input"])
@pytest.mark.parametrize("value", ["/v1", "/admin/v1", "x"])
def test_headers_cannot_set_what_the_server_sets(gateway: Gateway, auth: bytes, name: str, value: str) -> None:
    head = b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n" + HOST + auth
    plain = the_only(put(gateway, head + b"\r\n"))
    assert plain.status == 200
    assert the_only(put(gateway, head + f"{name}: {value}\r\n\r\n".encode())).body == plain.body


def test_an_underscore_does_not_make_a_second_authorization(gateway: Gateway) -> None:
    key = gateway.first_key.encode()
    data = b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n" + HOST + b"X_Api_Key: %b\r\n\r\n" % key
    assert the_only(put(gateway, data)).status == 401


@pytest.mark.usefixtures("nothing_happens")
def test_a_refusal_repeats_nothing_of_the_request_and_logs_no_secret(gateway: Gateway) -> None:
    before = len(gateway.log())
    data = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"Authorization Bearer tokenhub_canary-123456\r\n\r\n"
    assert b"canary" not in put(gateway, data)
    until(lambda: "request_refused" in gateway.log()[before:])
    assert "canary" not in gateway.log()[before:]


# ---------------------------------------------------------------- bodies: more, or less, than was said


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 500\r\n\r\n{",
        CHUNKED + b"\r\n5\r\nhe",
        CHUNKED + b"\r\n5\r\nhello\r\n",
        CHUNKED + b"\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("route", [b"/v1/chat/completions", b"/v1/chat"])
def test_a_body_that_is_cut_is_a_400_and_no_error_in_the_log(
    gateway: Gateway, auth: bytes, route: bytes, framing: bytes
) -> None:
    before = len(gateway.log())
    with connected(gateway) as sock:
        sock.sendall(b"POST %b HTTP/1.1\r\n" % route + HOST + auth + framing)
        sock.shutdown(socket.SHUT_WR)
        assert the_only(everything(sock)).status == 400
    for reset in (False, True):
        with connected(gateway) as sock:
            sock.sendall(b"POST %b HTTP/1.1\r\n" % route + HOST + auth + framing)
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    time.sleep(0.1)
    assert "error" not in gateway.log()[before:] and "warning" not in gateway.log()[before:]


def test_an_admins_body_that_is_cut_is_a_400_of_its_shape(gateway: Gateway) -> None:
    bearer = b"Authorization: Bearer %b\r\nContent-Type: application/json\r\n" % gateway.admin_token.encode()
    answer = the_only(put(gateway, b"POST /admin/v1/apikeys HTTP/1.1\r\n" + HOST + bearer + CHUNKED + b"\r\nzz\r\n"))
    assert answer.status == 400 and "request_id" in answer.error


def test_the_continue_comes_when_the_body_is_wanted_and_only_then(gateway: Gateway, auth: bytes) -> None:
    head = SCOPE + HOST + b"Expect: 100-Continue\r\n"
    with connected(gateway) as sock:
        sock.sendall(head + auth + _CL + b"Connection: close\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert the_only(everything(sock)).status == 200
    wrong = b"Authorization: Bearer tokenhub_wrong\r\n"
    assert refused(put(gateway, head + wrong + _CL + b"\r\n"), 401)
    assert refused(put(gateway, head + auth + b"Content-Length: 999999999\r\n\r\n"), 413)
    assert refused(put(gateway, head + auth + b"Content-Length: 20000000\r\n\r\n"), 413)
    assert refused(put(gateway, head + auth.replace(b"json", b"xml") + _CL + b"\r\n"), 415)


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("framing", [b"Content-Length: 11000000\r\n\r\n", CHUNKED + b"\r\n" + b"a7d8c0\r\n"])
def test_who_sends_all_of_too_much_before_listening_hears_413(gateway: Gateway, auth: bytes, framing: bytes) -> None:
    data = SCOPE + HOST + auth + b"Connection: close\r\n" + framing + b" " * 11_000_000
    data += b"\r\n0\r\n\r\n" if b"chunked" in framing else b""
    assert the_only(put(gateway, data)).status == 413


@pytest.mark.usefixtures("nothing_happens")
def test_a_body_without_end_is_cut(gateway: Gateway, auth: bytes) -> None:
    with connected(gateway) as sock:
        sock.sendall(SCOPE + HOST + auth + CHUNKED + b"\r\n")
        megabyte, sent = b"100000\r\n" + b" " * (1 << 20) + b"\r\n", 0
        with pytest.raises(OSError):
            while sent < 1 << 30:
                sock.sendall(megabyte)
                sent += 1 << 20
        assert sent < 64 << 20


# ---------------------------------------------------------------- connections that go on


def test_pipelined_requests_are_answered_in_order(gateway: Gateway, auth: bytes) -> None:
    one = SCOPE + HOST + auth + _CL + b"\r\n" + BODY
    two = SCOPE + HOST + auth + CHUNKED + b"\r\n%x\r\n%b\r\n0\r\nX-Trailer: x\r\n\r\n" % (len(BODY), BODY)
    last = b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n" + HOST + auth + b"\r\n"
    found = answers(put(gateway, one + two + one + last))
    assert [answer.status for answer in found] == [200, 200, 200, 200]
    assert [answer.json()["object"] for answer in found] == ["chat.completion"] * 3 + ["list"]


def test_a_refused_body_that_is_small_leaves_the_connection_open(gateway: Gateway) -> None:
    connection = gateway.connect()
    try:
        for _ in range(3):
            assert exchange(connection, "POST", "/v1/chat", b"x" * 50_000).status == 401
            sock = connection.sock
            assert sock is not None
        assert gateway.ask("POST", "/v1/chat", chat_body("ok"), connection=connection).status == 200
        assert connection.sock is sock
    finally:
        connection.close()


def test_a_refused_body_that_is_large_ends_the_connection(gateway: Gateway) -> None:
    head = b"POST /v1/chat HTTP/1.1\r\n" + HOST
    refused(put(gateway, head + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000), 401)
    refused(put(gateway, head + CHUNKED + b"\r\n" + b"5\r\nhello\r\n0\r\n\r\n"), 401)


# ---------------------------------------------------------------- slow senders

SLOW_HEAD = SCOPE + b"Host: a\r\nX-Slow: "


def slow_body(auth: bytes) -> bytes:
    return SCOPE + HOST + auth + b"Content-Length: 1000\r\n\r\n{"


class Crowd:
    """Many connections that begin like this, and of which each sends a byte a second."""

    def __init__(self, gateway: Gateway, count: int, begin: bytes) -> None:
        self.started = time.monotonic()
        self.open = [socket.create_connection(("127.0.0.1", gateway.port), timeout=ENOUGH_S) for _ in range(count)]
        self.heard: list[tuple[float, bytes]] = []
        for sock in self.open:
            sock.sendall(begin)
            sock.setblocking(False)

    def drip(self, byte: bytes) -> None:
        """Send a byte on each, and note which are closed, when, and what they heard."""
        for sock in list(self.open):
            try:
                if byte:
                    sock.send(byte)
                said = sock.recv(1 << 16)
            except BlockingIOError:
                continue
            except OSError:
                said = b""
            self.heard.append((time.monotonic() - self.started, said))
            self.open.remove(sock)
            sock.close()

    def leave(self) -> None:
        for sock in self.open:
            sock.close()


def test_a_crowd_of_idle_and_slow_connections_disturbs_nobody(gateway: Gateway, auth: bytes) -> None:
    crowds = [
        Crowd(gateway, 500, b""),
        Crowd(gateway, 250, SLOW_HEAD),
        Crowd(gateway, 250, slow_body(auth)),
    ]
    try:
        took, end = [], time.monotonic() + 3.5
        connection = gateway.connect()
        while time.monotonic() < end:
            for crowd in crowds[1:]:
                crowd.drip(b"x")
            for _ in range(50):
                begun = time.monotonic()
                assert gateway.chat(chat_body("ok"), connection=connection).status == 200
                took.append(time.monotonic() - begun)
            assert gateway.get("/healthz").status == 200
        connection.close()
        assert sorted(took)[len(took) * 99 // 100] < 0.25
        assert all(crowd.heard == [] for crowd in crowds)
    finally:
        for crowd in crowds:
            crowd.leave()
    assert all(answer.status == 200 for answer in gateway.on_each_worker("GET", "/healthz", key=""))


@pytest.mark.slow
def test_slow_senders_end_at_a_deadline(gateway: Gateway, auth: bytes) -> None:
    idle = Crowd(gateway, 20, b"")
    heads = Crowd(gateway, 20, SLOW_HEAD)
    bodies = Crowd(gateway, 20, slow_body(auth))
    admins = Crowd(gateway, 20, SLOW_HEAD.replace(b"POST /v1/chat/completions", b"GET /admin/v1/models"))
    while idle.open or heads.open or bodies.open or admins.open:
        assert time.monotonic() < bodies.started + BODY_S + 5
        idle.drip(b"")
        for crowd in (heads, bodies, admins):
            crowd.drip(b"x")
        time.sleep(0.2)
    for crowd, seconds in ((idle, IDLE_S), (heads, HEAD_S), (bodies, BODY_S), (admins, HEAD_S)):
        assert all(seconds - 1 < after < seconds + 2 for after, _ in crowd.heard), crowd.heard
    assert {said for _, said in idle.heard} == {b""}
    for _, said in [*heads.heard, *bodies.heard]:
        assert the_only(said).status == 408 and the_only(said).headers["connection"].lower() == "close"
        assert set(the_only(said).error) == {"message", "type", "param", "code"}
    assert all("request_id" in the_only(said).error for _, said in admins.heard)


@pytest.mark.slow
def test_connections_are_bounded_and_health_comes_back(upstream: UpstreamProcess, tmp_path: Path) -> None:
    most = 20
    arguments = ["--worker-connections", str(most)]
    gateway = Gateway(tmp_path, catalogue(upstream), {"TOKENHUB_WORKERS": "1"}, arguments)
    try:
        folder = Path(f"/proc/{gateway.worker_pids()[0]}/fd")
        before = len(list(folder.iterdir()))
        crowd = Crowd(gateway, 2 * most, b"")
        time.sleep(0.5)
        assert len(list(folder.iterdir())) <= before + most + 2
        with ThreadPoolExecutor(5) as pool:
            asked = [pool.submit(gateway.get, "/healthz") for _ in range(5)]
            assert [each.result(3 * IDLE_S).status for each in asked] == [200] * 5
        crowd.leave()
    finally:
        gateway.stop()
    gateway.fail_on_new_tracebacks()
