"""A scripted upstream on a loopback socket: a test says byte for byte what it answers, and sees what it was sent."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.chat import ChatCommand, Message, Text
from tokenhub.domain.ports import Deadlines
from tokenhub.providers.http import HttpClient

Script = Callable[["Upstream", socket.socket, bytes], None]


@dataclass
class Upstream:
    """Reads requests, one after another on each connection, and lets `script` answer them."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    dropped: threading.Event = field(default_factory=threading.Event)
    """A client hung up."""
    release: threading.Event = field(default_factory=threading.Event)
    """What a script that hangs waits for; set at the end of the test."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self.release.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for conn in self._open:
            with suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(conn)
            self._start(self._serve, conn)

    def _serve(self, conn: socket.socket) -> None:
        with suppress(OSError), conn:
            if self.tls:
                conn = self.tls.wrap_socket(conn, server_side=True)
                self._open.append(conn)
            with conn:
                while request := read_request(conn):
                    self.requests.append(request)
                    self.script(self, conn, request)
        self.dropped.set()


def read_request(conn: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = conn.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += conn.recv(65536)
    return head + b"\r\n\r\n" + body


def plain(body: bytes, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def piece(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def always(answer: bytes) -> Script:
    return lambda upstream, conn, request: conn.sendall(answer)


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    upstream = Upstream(script, tls)
    try:
        yield upstream
    finally:
        upstream.close()


@pytest.fixture
def http() -> Iterator[HttpClient]:
    client = HttpClient()
    yield client
    client.close()


def deadlines(**changes: float) -> Deadlines:
    limits = {"connect_s": 2.0, "headers_s": 2.0, "first_token_s": 2.0, "between_chunks_s": 2.0, "total_s": 5.0}
    return Deadlines(**(limits | changes))


def a_target(base_url: str = "", model: str = "gpt-4o", upstream_name: str = "gpt-4o-2024") -> Target:
    provider = Provider(id="up", type="openai", base_url=base_url, credential="sealed")
    return Target(provider, Model(id=model, provider_id="up", upstream_name=upstream_name))


def a_command(text: str = "hi", **raw: object) -> ChatCommand:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **raw}
    return ChatCommand("openai", body, 100, [Message("user", [Text(text)])], model="gpt-4o")
