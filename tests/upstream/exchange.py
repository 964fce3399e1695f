"""One request being answered, at the level of bytes. Decides nothing: `scripts.py` does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable, Mapping

from tests.upstream.answers import Ask, Event, encode
from tests.upstream.ledger import Call

MAX_SILENCE_S = 900


class ClientLeft(Exception):
    """The client closed before the answer was complete."""


class HungUp(Exception):
    """We broke the connection, on purpose."""


class Exchange:
    """The request (`ask`), its ledger entry, and every way to answer or not to."""

    def __init__(self, ask: Ask, call: Call, writer: asyncio.StreamWriter, gone: asyncio.Event) -> None:
        self.ask = ask
        self.call = call
        self._writer = writer
        self._gone = gone
        self._chunked = False

    # plumbing ----------------------------------------------------------

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._gone.is_set():
            raise ClientLeft
        self._writer.write(data)
        self.call.bytes_sent += len(data)
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise ClientLeft from error

    async def pause(self, milliseconds: float) -> None:
        """Wait, unless the client leaves."""
        try:
            await asyncio.wait_for(self._gone.wait(), milliseconds / 1000)
        except TimeoutError:
            return
        raise ClientLeft

    async def silence(self) -> None:
        """Say nothing until the client leaves."""
        await self.pause(MAX_SILENCE_S * 1000)
        await self.reset()

    async def reset(self) -> None:
        """Break the connection with a RST; what was sent before still arrives."""
        await asyncio.sleep(0.02)
        self.call.outcome = "broken"
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise HungUp

    # whole answers -----------------------------------------------------

    async def reply(
        self,
        status: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        claimed_length: int | None = None,
    ) -> None:
        """A complete response (or the begin of one, where more is claimed than is sent)."""
        length = len(body) if claimed_length is None else claimed_length
        self.call.status = status
        head = head_bytes(status, {"content-type": content_type, "content-length": str(length), **(headers or {})})
        await self.raw(head + body)
        if claimed_length is None:
            self.call.outcome = "answered" if status < 300 else "refused"

    async def json(self, status: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        """A complete JSON response."""
        await self.reply(status, encode(value), headers=headers)

    # streams -----------------------------------------------------------

    async def begin(self, headers: Mapping[str, str] | None = None) -> None:
        """The head of an event stream."""
        self.call.status = 200
        self._chunked = True
        usual = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "transfer-encoding": "chunked",
            "x-request-id": f"req_scripted_{self.call.sequence}",
            "set-cookie": "upstream=1; Path=/",
        }
        await self.raw(head_bytes(200, usual | dict(headers or {})))

    async def piece(self, data: bytes) -> None:
        """A part of the stream, wherever it begins or ends, as one packet."""
        await self.raw(chunk_bytes(data))

    async def event(self, event: Event, framed: bytes | None = None) -> None:
        """One event, and its line in the ledger; `framed` where it is not to look as usual."""
        await self.piece(framed if framed is not None else sse(event.data))
        self.note(event)

    def note(self, *events: Event) -> None:
        """Count events as sent."""
        self.call.events += len(events)
        self.call.content_chunks += sum(event.is_content for event in events)

    async def events(self, events: Iterable[Event], delay_ms: float = 0) -> None:
        """Several events, each as its own packet."""
        for event in events:
            await self.event(event)
            if delay_ms:
                await self.pause(delay_ms)

    async def end(self, mark: bytes = b"data: [DONE]\n\n") -> None:
        """The end mark (if any) and the end of the body."""
        await self.raw((chunk_bytes(mark) if mark else b"") + b"0\r\n\r\n")
        self.call.outcome = "answered"


def sse(data: bytes) -> bytes:
    """An event as usual."""
    return b"data: " + data + b"\n\n"


def chunk_bytes(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
