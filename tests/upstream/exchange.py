"""One request being answered, at the level of bytes. Decides nothing: `scripts.py` does."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from tests.upstream.answers import Answer, Ask, Event, JsonObject, Refused, Usage, encode
from tests.upstream.ledger import Call

MAX_SILENCE_S = 900


class ClientLeft(Exception):
    """The client closed before the answer was complete."""


class HungUp(Exception):
    """We broke the connection, on purpose."""


class Dialect(Protocol):
    """What `openai.py` and `anthropic.py` have in common."""

    NAME: str
    END: bytes
    """The end mark of a stream; empty where there is none."""
    TEXT_KEY: bytes
    """What stands before the text in its JSON."""
    REQUEST_ID: str
    """The header that names a request."""

    def check(self, body: JsonObject, headers: Mapping[str, str], path: str) -> None: ...

    def completion(self, ask: Ask, answer: Answer, usage: Any) -> JsonObject: ...

    def events(self, ask: Ask, answer: Answer, usage: Any) -> list[Event]: ...

    def usage(self, count: Usage) -> JsonObject: ...

    def odd_usage(self, prompt: Any, output: Any) -> JsonObject: ...

    def misplaced(self, kind: str, found: list[Event], honest: JsonObject) -> list[Event]: ...

    def error(self, status: int, code: str | None = None) -> JsonObject: ...

    def refusal(self, refused: Refused) -> JsonObject: ...

    def error_event(self, status: int) -> Event: ...


class Exchange:
    """The request (`ask`) and its dialect, its ledger entry, and every way to answer or not to."""

    def __init__(
        self, ask: Ask, dialect: Dialect, call: Call, writer: asyncio.StreamWriter, gone: asyncio.Event
    ) -> None:
        self.ask = ask
        self.dialect = dialect
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
            self.dialect.REQUEST_ID: f"req_scripted_{self.call.sequence}",
            "set-cookie": "upstream=1; Path=/",
        }
        await self.raw(head_bytes(200, usual | dict(headers or {})))

    async def piece(self, data: bytes) -> None:
        """A part of the stream, wherever it begins or ends, as one packet."""
        await self.raw(chunk_bytes(data))

    async def event(self, event: Event, framed: bytes | None = None) -> None:
        """One event, and its line in the ledger; `framed` where it is not to look as usual."""
        await self.piece(framed if framed is not None else sse(event))
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

    async def end(self, mark: bytes | None = None) -> None:
        """The end mark (the dialect's, or this one, or b"" for none) and the end of the body."""
        mark = self.dialect.END if mark is None else mark
        await self.raw((chunk_bytes(mark) if mark else b"") + b"0\r\n\r\n")
        self.call.outcome = "answered"


def sse(event: Event) -> bytes:
    """An event as usual."""
    name = b"event: " + event.name.encode() + b"\n" if event.name else b""
    return name + b"data: " + event.data + b"\n\n"


def chunk_bytes(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
