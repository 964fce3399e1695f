"""The transport against a server that does everything wrong. Each client fixture checks that nothing is left open."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import gevent
import pytest

from tests.hostile.conftest import Client, Hostile, read_all
from tokenhub.providers.exchange import (
    AddressRefused,
    BadResponse,
    ConnectionBroken,
    ConnectTimedOut,
    HeadersTimeout,
    Interrupted,
    StillWaiting,
    TlsFailed,
    TotalTimeout,
    TransportError,
    Unreachable,
)

LARGE = b"x" * (8 << 20)


# ---------------------------------------------------------------- what must work


def test_answers_are_read_and_their_connection_is_used_again(client: Client) -> None:
    for _ in range(3):
        assert client.whole("/ok") == (200, b"ok")
    assert client.whole("/chunks") == (200, b"onetwo")
    assert client.whole("/no-content") == (204, b"")
    assert client.hostile.open_connections(1) == 1


def test_the_end_is_clean_however_often_it_is_asked_for(client: Client) -> None:
    response = client.post("/chunks")
    assert read_all(response) == b"onetwo"
    assert response.raw.read_some(1.0) == b""


def test_requests_own_content_works(client: Client) -> None:
    assert client.post("/chunks").content == b"onetwo"
    assert client.post("/ok").text == "ok"


def test_a_body_up_to_the_close_of_the_connection_is_whole(client: Client) -> None:
    assert client.whole("/until-close") == (200, b"all of it")


def test_interim_responses_are_read_over(client: Client) -> None:
    response = client.post("/interim")
    assert (response.status_code, response.headers.get("Link")) == (200, None)
    assert read_all(response) == b"ok"


def test_a_redirect_is_given_as_it_is(client: Client) -> None:
    response = client.post("/redirect")
    assert (response.status_code, response.headers["Location"]) == (302, "http://169.254.169.254/")
    assert read_all(response) == b"no"


def test_a_large_body_is_sent_whole(client: Client) -> None:
    assert client.whole("/ok", LARGE, name="large") == (200, b"ok")
    assert client.whole("/ok", LARGE, port="tls", name="large") == (200, b"ok")
    assert client.hostile.counts()["requests"]["large"] == 2


def test_two_hundred_at_once_share_sixteen_connections(client: Client) -> None:
    jobs = [gevent.spawn(client.whole, "/ok") for _ in range(200)]
    gevent.joinall(jobs)
    assert {job.value for job in jobs} == {(200, b"ok")}
    assert client.hostile.open_connections(16) <= 16


def test_tls_answers_are_read_and_the_connection_is_kept(client: Client) -> None:
    for _ in range(3):
        assert client.whole("/chunks", port="tls") == (200, b"onetwo")
    assert client.hostile.open_connections(1) == 1


# ---------------------------------------------------------------- deadlines


def took(call: Any, *args: Any, **options: Any) -> tuple[TransportError, float]:
    began = time.monotonic()
    with pytest.raises(TransportError) as caught:
        call(*args, **options)
    return caught.value, time.monotonic() - began


@pytest.mark.parametrize(
    ("path", "options", "kind", "is_sent"),
    [
        ("/ok", {"port": "full", "connect_s": 0.3}, ConnectTimedOut, False),
        ("/ok", {"port": "full", "total_s": 0.3}, TotalTimeout, False),
        ("/silent", {"headers_s": 0.3}, HeadersTimeout, True),
        ("/silent", {"total_s": 0.3}, TotalTimeout, True),
        ("/drip-head", {"headers_s": 0.3}, HeadersTimeout, True),
        ("/drip-head", {"total_s": 0.3}, TotalTimeout, True),
        ("/drip-body", {"total_s": 0.3}, TotalTimeout, True),
        ("/endless", {"total_s": 0.3}, TotalTimeout, True),
    ],
)
def test_each_deadline_is_kept_and_has_its_own_error(
    client: Client, path: str, options: dict[str, Any], kind: type[TransportError], is_sent: bool
) -> None:
    error, seconds = took(client.whole, path, **options)
    assert type(error) is kind
    assert (error.sent, error.body_sent) == (is_sent, is_sent)
    assert 0.25 < seconds < 0.6


def test_a_handshake_in_drips_ends_at_the_connect_deadline(client: Client) -> None:
    error, seconds = took(client.post, "/ok", port="drip-tls", connect_s=0.35)
    assert type(error) is ConnectTimedOut
    assert 0.3 < seconds < 0.6


def test_waiting_for_a_slot_counts_into_the_connect_deadline(client: Client) -> None:
    held = [client.post("/silent-body") for _ in range(16)]
    error, seconds = took(client.post, "/ok", connect_s=0.2)
    assert (type(error), error.sent) == (ConnectTimedOut, False)
    assert 0.15 < seconds < 0.5
    waiting = gevent.spawn(client.whole, "/ok")
    gevent.sleep(0.05)
    held.pop().close()
    assert waiting.get(timeout=2) == (200, b"ok")
    for response in held:
        response.close()


def test_an_upload_that_is_not_taken_ends_at_the_headers_deadline(client: Client) -> None:
    error, seconds = took(client.post, "/never-reads", LARGE, headers_s=0.3)
    assert (type(error), error.sent, error.body_sent) == (HeadersTimeout, True, False)
    assert seconds < 0.8


def test_a_read_that_times_out_keeps_the_connection(client: Client) -> None:
    for port in ("plain", "tls"):
        response = client.post("/pause", port=port)
        assert response.raw.read_some(1.0) == b"one"
        waits = 0
        while True:
            try:
                assert response.raw.read_some(0.1) == b"two"
                break
            except StillWaiting:
                waits += 1
        assert waits >= 2
        assert read_all(response) == b""
    assert client.hostile.open_connections(2) == 2, "both went back to their pools"


def test_a_read_without_patience_gives_what_is_there(client: Client) -> None:
    response = client.post("/silent-body")
    assert response.raw.read_some(0.0) == b"one"
    error, seconds = took(response.raw.read_some, 0.0)
    assert type(error) is StillWaiting
    assert seconds < 0.1
    response.close()


# ---------------------------------------------------------------- interruption


def test_a_blocked_read_is_woken_at_once_and_can_go_on(client: Client) -> None:
    for port in ("plain", "tls"):
        response = client.post("/pause", port=port)
        assert response.raw.read_some(1.0) == b"one"
        gevent.spawn_later(0.05, response.raw.interrupt)
        error, seconds = took(response.raw.read_some, 2.0)
        assert type(error) is Interrupted
        assert 0.04 < seconds < 0.15
        assert read_all(response) == b"two"


def test_an_interrupt_while_nobody_waits_ends_the_next_wait(client: Client) -> None:
    response = client.post("/silent-body")
    response.raw.interrupt()
    gevent.sleep(0.01)
    assert response.raw.read_some(1.0) == b"one"
    error, seconds = took(response.raw.read_some, 2.0)
    assert (type(error), seconds < 0.1) == (Interrupted, True)
    response.close()


@pytest.mark.parametrize("port", ["hang", "full", "drip-tls"])
def test_a_blocked_send_is_woken_at_once(client: Client, port: str) -> None:
    job = gevent.spawn(client.post, "/ok", port=port)
    gevent.sleep(0.1)
    began = time.monotonic()
    assert client.transport.interrupt(job)
    with pytest.raises(Interrupted):
        job.get(timeout=1)
    assert time.monotonic() - began < 0.05
    assert not client.transport.interrupt(job)


def test_a_blocked_upload_is_woken_at_once(client: Client) -> None:
    job = gevent.spawn(client.post, "/never-reads", LARGE)
    gevent.sleep(0.2)
    assert client.transport.interrupt(job)
    with pytest.raises(Interrupted) as caught:
        job.get(timeout=1)
    assert (caught.value.sent, caught.value.body_sent) == (True, False)


def test_closing_wakes_a_read_in_another_greenlet(client: Client) -> None:
    for port in ("plain", "tls"):
        response = client.post("/silent-body", port=port)
        assert response.raw.read_some(1.0) == b"one"
        gevent.spawn_later(0.05, response.close)
        error, seconds = took(response.raw.read_some, 2.0)
        assert (type(error), seconds < 0.2) == (ConnectionBroken, True)


def test_a_killed_greenlet_leaves_nothing_open(client: Client) -> None:
    jobs = [gevent.spawn(client.whole, path) for path in ("/silent", "/silent-body", "/pause", "/drip-head")]
    jobs += [gevent.spawn(client.whole, "/ok", port=port) for port in ("full", "drip-tls")]
    gevent.sleep(0.15)
    gevent.killall(jobs)
    assert client.hostile.open_connections(0) == 0


# ---------------------------------------------------------------- wrong answers, each with the right error


BROKEN = "/close /reset-no-answer /reset-in-status /reset-in-head /reset-after-head /reset-in-body /reset-in-chunk"
BROKEN += " /cut-head /cut-length /cut-chunk /cut-between-chunks /until-reset /interim-only"
BAD = "/http09 /http09-line /http10 /http2 /upgrade /header-forever /headers-forever /reason-forever /many-headers"
BAD += " /chunk-line-forever /chunk-size-forever /trailers-forever /chunk-size-huge /chunk-size-negative"
BAD += " /length-negative /length-word /length-huge /length-twice /length-and-chunked /gzip-coding /folded-header"
BAD += " /bare-lf /interim-flood /gzip-bomb /two-at-once"


@pytest.mark.parametrize("port", ["plain", "tls"])
@pytest.mark.parametrize("path", BROKEN.split())
def test_a_connection_that_breaks_is_never_a_clean_end(client: Client, path: str, port: str) -> None:
    name = f"broken{path}{port}"
    error, seconds = took(client.whole, path, port=port, name=name)
    assert (type(error), error.sent, error.body_sent) == (ConnectionBroken, True, True)
    assert seconds < 1.0
    assert client.hostile.counts()["requests"][name] == 1, "it was not sent again"


@pytest.mark.parametrize("path", BAD.split())
def test_what_is_not_http_is_a_bad_response(client: Client, path: str) -> None:
    name = f"bad{path}"
    error, seconds = took(client.whole, path, name=name)
    assert (type(error), error.body_sent) == (BadResponse, True)
    assert seconds < 1.5
    assert client.hostile.counts()["requests"][name] == 1


def test_the_status_of_a_compressed_answer_is_known_and_its_body_is_not_read(client: Client) -> None:
    response = client.post("/gzip-bomb")
    assert response.status_code == 200
    with pytest.raises(BadResponse):
        response.raw.read_some(1.0)


def test_a_second_response_that_comes_later_ends_the_connection_not_the_answer(client: Client) -> None:
    for path in ("/two-in-turn", "/ok-late-garbage"):
        assert client.whole(path) == (200, b"ok")
        gevent.sleep(0.1)
        assert client.whole("/ok") == (200, b"ok"), "not the stray answer"


# ---------------------------------------------------------------- early answers to a large upload


@pytest.mark.parametrize("port", ["plain", "tls"])
@pytest.mark.parametrize("path", ["/early-hang", "/early-close"])
def test_an_early_answer_to_a_large_upload_is_given(client: Client, path: str, port: str) -> None:
    began = time.monotonic()
    assert client.whole(path, LARGE, port=port) == (413, b"big")
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_the_head_of_an_early_answer_does_not_wait_for_its_body(client: Client, port: str) -> None:
    began = time.monotonic()
    response = client.post("/early-slow", LARGE, port=port)
    assert (response.status_code, time.monotonic() - began < 0.4) == (413, True)
    assert read_all(response) == b"big"


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_a_reset_in_an_upload_on_a_kept_connection_does_not_send_it_again(client: Client, port: str) -> None:
    name = f"reset-in-upload-{port}"
    assert client.whole("/ok", port=port) == (200, b"ok")
    error, _ = took(client.post, "/early-reset", LARGE, port=port, name=name)
    assert (type(error), error.sent) == (ConnectionBroken, True)
    assert client.hostile.counts()["requests"][name] == 1


@pytest.mark.parametrize("port", ["plain", "tls"])
def test_a_reset_in_an_upload_is_an_error_that_says_how_far_it_got(client: Client, port: str) -> None:
    error, _ = took(client.post, "/early-reset", LARGE, port=port)
    assert (type(error), error.sent, error.body_sent) == (ConnectionBroken, True, False)


# ---------------------------------------------------------------- connecting


def test_nobody_there_is_unreachable(client: Client) -> None:
    for url in ("http://127.0.0.1:1/", "http://no-such-host.invalid/", "http://" + "a" * 64 + ".invalid/"):
        error, _ = took(client.post, "", url=url)
        assert (type(error), error.sent) == (Unreachable, False)


def test_a_reset_at_accept_is_an_error(client: Client) -> None:
    error, _ = took(client.post, "/ok", port="reset")
    assert isinstance(error, ConnectionBroken | Unreachable)


@pytest.mark.parametrize("port", ["expired", "wrong-host", "self-signed"])
def test_a_certificate_that_is_not_good_gets_no_byte(client: Client, port: str) -> None:
    error, _ = took(client.post, "/ok", port=port, name=port)
    assert (type(error), error.sent) == (TlsFailed, False)
    assert port not in client.hostile.counts()["requests"]


def test_plain_http_on_a_tls_port_and_the_reverse_are_errors(client: Client) -> None:
    https = client.hostile.url("/ok").replace("http:", "https:")
    assert type(took(client.post, "", url=https)[0]) is TlsFailed
    http = client.hostile.url("/ok", "tls").replace("https:", "http:")
    assert isinstance(took(client.whole, "", url=http)[0], BadResponse | ConnectionBroken)


def test_a_refused_address_is_never_connected_to(hostile: Hostile) -> None:
    asked: list[str] = []
    picky = Client(hostile, allow_address=lambda ip: bool(asked.append(ip)))
    error, _ = took(picky.post, "", url=hostile.url("/ok").replace("127.0.0.1", "localhost"), name="refused")
    assert (type(error), error.sent) == (AddressRefused, False)
    assert set(asked) <= {"127.0.0.1", "::1"} and asked
    assert hostile.open_connections(0) == 0
    assert "refused" not in hostile.counts()["requests"]


def test_a_hanging_look_up_ends_at_the_connect_deadline_and_is_asked_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        gevent.sleep(0.5)
        raise OSError("too late")

    monkeypatch.setattr("gevent.socket.getaddrinfo", resolve)
    jobs = [gevent.spawn(took, client.post, "", url="http://slow.invalid/", connect_s=0.2) for _ in range(20)]
    gevent.joinall(jobs)
    assert {type(job.value[0]) for job in jobs} == {ConnectTimedOut}
    assert max(job.value[1] for job in jobs) < 0.5
    gevent.sleep(0.5)
    assert asked == ["slow.invalid"]


def test_a_burst_of_connections_is_one_look_up_and_a_failed_one_is_not_believed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = gevent.socket.getaddrinfo

    def resolve(host: str, *args: Any, **options: Any) -> Any:
        asked.append(host)
        if len(asked) == 1:
            raise OSError("not now")
        return real(host, *args, **options)

    monkeypatch.setattr("gevent.socket.getaddrinfo", resolve)
    assert type(took(client.post, "/silent")[0]) is Unreachable
    for _ in range(5):
        took(client.post, "/silent", headers_s=0.02)
    assert len(asked) == 2
    monkeypatch.setattr("tokenhub.providers.connections.LOOKUP_S", 0.0)
    took(client.post, "/silent", headers_s=0.02)
    assert len(asked) == 3


# ---------------------------------------------------------------- keep-alive closed under us


@pytest.mark.parametrize("path", ["/ok-then-close", "/ok-then-close-soon", "/ok-then-reset"])
def test_a_thousand_kept_connections_closed_under_us_cause_no_double_post(client: Client, path: str) -> None:
    outcomes: list[str] = []

    def work(worker: int) -> None:
        for turn in range(125):
            name = f"{path}-{worker}-{turn}"
            try:
                assert client.whole(path, name=name) == (200, b"ok")
                outcomes.append("ok")
            except ConnectionBroken as error:
                assert error.sent
                outcomes.append("broken")

    gevent.joinall([gevent.spawn(work, worker) for worker in range(8)], raise_error=True)
    counted = [count for name, count in client.hostile.counts()["requests"].items() if name.startswith(path + "-")]
    assert len(outcomes) == 1000
    assert max(counted) == 1
    assert outcomes.count("ok") <= len(counted) <= 1000
    assert outcomes.count("ok") > 500


def test_an_idle_connection_that_was_closed_is_seen_before_the_request_is_sent(client: Client) -> None:
    for _ in range(50):
        assert client.whole("/ok-then-close") == (200, b"ok")
        gevent.sleep(0.004)


def test_a_connection_that_was_idle_too_long_is_not_used_again(hostile: Hostile) -> None:
    client = Client(hostile, idle_s=0.05)
    assert client.whole("/ok") == (200, b"ok")
    gevent.sleep(0.1)
    assert client.whole("/ok") == (200, b"ok")
    assert hostile.open_connections(1) == 1, "the old one is closed"
    client.transport.close()


# ---------------------------------------------------------------- bounds


def test_bombs_are_refused_in_little_memory(client: Client) -> None:
    page = os.sysconf("SC_PAGE_SIZE")

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * page

    before = resident()
    for path in ("/header-forever", "/chunk-line-forever", "/gzip-bomb", "/interim-flood"):
        for _ in range(5):
            took(client.whole, path)
    assert resident() - before < 20 << 20


MANY = """
from gevent import monkey
monkey.patch_all()
import resource, gevent, requests, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
held = [open("/dev/null") for _ in range(1100)]
from tests.hostile.conftest import Client, Hostile
client = Client(Hostile({"plain": int(sys.argv[1]), "tls": int(sys.argv[2])}, sys.argv[3]))
for _ in range(5):
    assert client.whole("/ok") == client.whole("/ok", port="tls") == (200, b"ok")
descriptors = [pool._idle[0].sock.fileno() for pool in client.transport._pools.values()]
print(min(descriptors), client.hostile.open_connections(2))
"""


def test_in_a_patched_process_connections_are_used_again_past_descriptor_1024(hostile: Hostile) -> None:
    ports = [str(hostile.ports[name]) for name in ("plain", "tls")]
    command = [sys.executable, "-c", MANY, *ports, hostile.ca]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    descriptor, connections = done.stdout.split()
    assert int(descriptor) > 1024
    assert connections == "2"
