"""A closed-loop load generator on raw asyncio sockets, and an open one for latency at a fixed rate."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Result:
    """What came back. Latencies in seconds."""

    answered: int = 0
    failed: int = 0
    latencies_s: list[float] = field(default_factory=list)
    first_chunk_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)

    def percentile(self, values: list[float], share: float) -> float:
        """A percentile in milliseconds; 0 of nothing."""
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0


def request_bytes(port: int, path: str, key: str, body: bytes | None) -> bytes:
    """One HTTP/1.1 request as bytes."""
    method = "POST" if body is not None else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


class Client(asyncio.Protocol):
    """One keep-alive connection; `ask()` sends one request and waits for its whole answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.buffer = b""
        self.waiter: asyncio.Future[int] | None = None
        self.on_data: list[float] = []

    def ask(self, raw: bytes) -> asyncio.Future[int]:
        """Send; the future gives the status, or fails where the connection does."""
        self.buffer, self.on_data = b"", []
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(raw)
        return self.waiter

    def data_received(self, data: bytes) -> None:
        self.on_data.append(time.perf_counter())
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or self.waiter is None or self.waiter.done():
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            done = len(self.buffer) >= end + 4 + length
        else:
            done = self.buffer.endswith(b"0\r\n\r\n")
        if done:
            self.waiter.set_result(int(self.buffer[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_exception(ConnectionError("closed"))


async def _client(port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", port)
    return client


async def closed_loop(port: int, raw: bytes, connections: int, total: int) -> Result:
    """`connections` clients, each asking again as soon as it has its answer, until `total` were asked."""
    result, left = Result(), total
    started = time.perf_counter()

    async def run() -> None:
        nonlocal left
        client = await _client(port)
        while left > 0:
            left -= 1
            began = time.perf_counter()
            try:
                status = await client.ask(raw)
            except ConnectionError:
                result.failed += 1
                client = await _client(port)
                continue
            result.statuses[status] = result.statuses.get(status, 0) + 1
            result.answered += status == 200
            result.failed += status != 200
            result.latencies_s.append(time.perf_counter() - began)
        client.transport.close()

    await asyncio.gather(*(run() for _ in range(connections)))
    result.wall_s = time.perf_counter() - started
    return result


async def at_rate(port: int, raw: bytes, per_s: float, total: int) -> Result:
    """`total` requests at a fixed rate, each on a connection of a small pool."""
    result = Result()
    pool: list[Client] = []

    async def one() -> None:
        client = pool.pop() if pool else await _client(port)
        began = time.perf_counter()
        status = await client.ask(raw)
        result.latencies_s.append(time.perf_counter() - began)
        result.answered += status == 200
        result.failed += status != 200
        pool.append(client)

    started = time.perf_counter()
    tasks = []
    for n in range(total):
        await asyncio.sleep(max(0.0, started + n / per_s - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one()))
    await asyncio.gather(*tasks)
    result.wall_s = time.perf_counter() - started
    return result


async def streams(port: int, raw: bytes, count: int) -> Result:
    """`count` streams at once, started over half a second; times of first data and gaps between data."""
    result = Result()

    async def one(n: int) -> None:
        await asyncio.sleep(n / count * 0.5)
        client = await _client(port)
        began = time.perf_counter()
        try:
            status = await client.ask(raw)
        except ConnectionError:
            result.failed += 1
            return
        result.answered += status == 200
        result.failed += status != 200
        result.first_chunk_s.append(client.on_data[0] - began)
        result.gaps_s += [b - a for a, b in zip(client.on_data, client.on_data[1:], strict=False)]
        client.transport.close()

    started = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(count)))
    result.wall_s = time.perf_counter() - started
    return result
