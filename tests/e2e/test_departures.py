"""The caller leaves: the upstream is closed at once and the bill is settled; the server stops: the caller is told."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
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


HANG_UPS, AT_ONCE = 1000, 50


def test_a_thousand_hang_ups_leave_nothing_behind(gateway: Gateway, upstream: UpstreamProcess) -> None:
    key = gateway.new_key("leavers", rate_limit_rps=-1, monthly_budget_usd=1000)
    hang_up(gateway, key.secret, AT_ONCE)
    until(lambda: len(gateway.logs(key)) == AT_ONCE)
    files = open_files(gateway)
    mark = upstream.mark()
    for _ in range(HANG_UPS // AT_ONCE):
        hang_up(gateway, key.secret, AT_ONCE)
    until(lambda: len(all_logs(gateway, key.id)) == HANG_UPS + AT_ONCE, within_s=30)
    calls = upstream.closed_calls(mark)
    assert {call["outcome"] for call in calls} == {"client_gone"}
    assert {row["status"] for row in gateway.logs(key)} == {"cancelled"}
    until(lambda: open_files(gateway) <= files + 5, within_s=15)
    with sqlite3.connect(gateway.data / "state.sqlite") as state:
        assert state.execute("SELECT count(*) FROM requests").fetchone() == (0,)
        spent, reserved = state.execute(
            "SELECT spent_nanousd, reserved_nanousd FROM budgets WHERE key_id = ?", (key.id,)
        ).fetchone()
    state.close()
    assert reserved == 0 and spent == sum(row["cost_nanousd"] for row in all_logs(gateway, key.id))


def hang_up(gateway: Gateway, secret: str, count: int) -> None:
    """`count` callers at once who leave while their provider is silent, every other one of a stream."""
    callers = [send(gateway, chat_body("hang", stream=bool(n % 2)), secret) for n in range(count)]
    time.sleep(0.15)
    for caller in callers:
        caller.close()


def all_logs(gateway: Gateway, key_id: str) -> list[dict[str, object]]:
    """Every row of a key: the API gives a thousand at a time."""
    rows: list[dict[str, object]] = []
    while page := gateway.admin("GET", f"/logs?limit=1000&offset={len(rows)}").json()["logs"]:
        rows += page
    return [row for row in rows if row["key_id"] == key_id]


def open_files(gateway: Gateway) -> int:
    """Open files of all workers."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in gateway.worker_pids())


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
