"""The caller leaves: the upstream is closed at once and the bill is settled; the server stops: the caller is told."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import catalogue
from tests.e2e.harness import Gateway, until
from tests.factories import INPUT_NANOUSD, chat_body
from tests.upstream.process import UpstreamProcess


def send(gateway: Gateway, body: dict[str, object], secret: str) -> socket.socket:
    """One raw request whose answer is not read yet."""
    host, port = gateway.host.rsplit(":", 1)
    raw = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {gateway.host}\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    sock = socket.create_connection((host, int(port)))
    sock.sendall(head.encode() + raw)
    return sock


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (chat_body("hang"), "cancelled"),
        (chat_body("hang", stream=True), "cancelled"),
        (chat_body("hang-stream", stream=True), "cancelled"),
        (chat_body("slow-20-2000", stream=True), "cancelled"),
    ],
    ids=["not streamed, silent", "streamed, silent", "streamed, in the middle", "streamed, flowing"],
)
def test_the_upstream_is_closed_when_the_caller_hangs_up(
    gateway: Gateway, upstream: UpstreamProcess, body: dict[str, object], status: str
) -> None:
    key = gateway.new_key("leaver")
    mark = upstream.mark()
    sock = send(gateway, body, key.secret)
    until(lambda: bool(upstream.calls(mark)))
    time.sleep(0.2)
    sock.close()
    left = time.monotonic()
    until(lambda: bool(upstream.closed_calls(mark)))
    assert time.monotonic() - left < 5  # the hang of the script would last far longer
    until(lambda: bool(gateway.logs(key)))
    (row,) = gateway.logs(key)
    assert (row["status"], row["error_code"]) == (status, "client_closed_request")
    assert row["cost_nanousd"] >= INPUT_NANOUSD


def test_a_stream_that_outlasts_the_grace_is_ended_told_and_settled(
    start_gateway: Callable[..., Gateway], upstream: UpstreamProcess
) -> None:
    gateway = start_gateway(catalogue(upstream), {"GUNICORN_CMD_ARGS": "--graceful-timeout 4"})
    key = gateway.new_key("patient")
    streaming = send(gateway, chat_body("hang-stream", stream=True), key.secret)
    silent = send(gateway, chat_body("hang"), key.secret)
    with streaming, silent:
        streaming.settimeout(15)
        silent.settimeout(15)
        assert streaming.recv(65536)
        gateway.process.send_signal(signal.SIGTERM)
        streamed, refused = read_all(streaming), read_all(silent)
    assert b"server_stopping" in streamed and b"[DONE]" not in streamed
    assert refused.startswith(b"HTTP/1.1 503") and b"server_stopping" in refused
    gateway.process.wait(15)
    gateway.start()
    until(lambda: len(gateway.logs(key)) == 2)
    assert {row["status"] for row in gateway.logs(key)} == {"cancelled"}


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)
