"""Many clients that ask without a pause, in a thread of their own, and what each of them got."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from tests.factories import JsonObject

REFUSED_PAUSE_S = 0.05
"""Between a refusal and the next try: as impatient as a client may be."""
PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Got:
    """What became of one request.

    `outcome`: "ok" (200, complete), "error" (another status), "event" (a stream that ended with an error event),
    "cut" (the connection ended too early), "refused" (no connection).
    """

    request_id: str
    stream: bool
    outcome: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    started: float
    """time.monotonic(), as `ended`."""
    ended: float


class Load:
    """`clients` connections that ask one body after the other until `stop`; with `rounds`, each only so often."""

    def __init__(
        self, port: int, key: str, bodies: Sequence[JsonObject], clients: int, *, rounds: int = 0, name: str = "load"
    ) -> None:
        self.got: list[Got] = []
        self.begun: dict[str, float] = {}
        self._port, self._key, self._bodies, self._name = port, key, bodies, name
        self._numbers = itertools.count()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(clients, rounds)), daemon=True)
        self._thread.start()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self, within_s: float = 60) -> None:
        """Ask nothing more, and wait for what is open."""
        self._is_over.set()
        self.wait(within_s)

    def wait(self, within_s: float = 60) -> None:
        """Wait until all clients are done."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), f"{len(self.begun)} requests still open: a client hangs"

    def until_open(self, count: int, within_s: float = 20) -> None:
        """Wait until so many requests are open at once."""
        end = time.monotonic() + within_s
        while len(self.begun) < count:
            assert time.monotonic() < end, f"{len(self.begun)} requests open, not {count}"
            time.sleep(0.02)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(got.outcome for got in self.got)

    def failures(self) -> list[Got]:
        return [got for got in self.got if got.outcome != "ok"]

    async def _run(self, clients: int, rounds: int) -> None:
        await asyncio.gather(*(self._client(rounds) for _ in range(clients)))

    async def _client(self, rounds: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        asked = 0
        while not self._is_over.is_set() and not 0 < rounds <= asked:
            asked += 1
            number = next(self._numbers)
            request_id, body = f"{self._name}-{number}", self._bodies[number % len(self._bodies)]
            started = self.begun[request_id] = time.monotonic()
            status, headers, content, outcome = 0, {}, b"", "refused"
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self._port)
                outcome = "cut"
                connection[1].write(self._request(request_id, body))
                status, headers = await _head(connection[0])
                content = await _body(connection[0], headers)
                outcome = _judge(status, content, bool(body.get("stream")))
            except (OSError, asyncio.IncompleteReadError) as error:
                content = content or getattr(error, "partial", b"")
            if connection is not None and (outcome == "cut" or headers.get("connection", "").lower() == "close"):
                connection[1].close()
                connection = None
            self.begun.pop(request_id)
            got = Got(
                request_id, bool(body.get("stream")), outcome, status, headers, content, started, time.monotonic()
            )
            self.got.append(got)
            if outcome in ("refused", "error"):
                await asyncio.sleep(REFUSED_PAUSE_S)
        if connection is not None:
            connection[1].close()

    def _request(self, request_id: str, body: JsonObject) -> bytes:
        content = json.dumps(body).encode()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAuthorization: Bearer {self._key}\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    fields = (line.partition(":") for line in lines)
    return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in fields}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = bytearray()
    while True:
        try:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            body += (await reader.readexactly(size + 2))[:size]
        except asyncio.IncompleteReadError as error:
            raise asyncio.IncompleteReadError(bytes(body) + error.partial, None) from error
        if not size:
            return bytes(body)


def _judge(status: int, body: bytes, stream: bool) -> str:
    if status != 200:
        return "error"
    if not stream or body.endswith(b"data: [DONE]\n\n"):
        return "ok"
    return "event" if b'"error"' in body.rpartition(b"data: ")[2] else "cut"
