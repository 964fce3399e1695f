"""The HTTP/1.1 server around the scripts: connections, request parsing, the ledger's own routes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import traceback
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.upstream import answers, anthropic, openai
from tests.upstream.exchange import ClientLeft, Dialect, Exchange, HungUp
from tests.upstream.ledger import KEPT_BODY_BYTES, Call, Ledger
from tests.upstream.scripts import SCRIPTS, script_of

MAX_BODY_BYTES = 256 * 1024 * 1024

DIALECTS: dict[str, Dialect] = {
    "/chat/completions": openai,
    "/messages": anthropic,
    "/messages/count_tokens": anthropic,
}
"""The ends of the paths that are answered by script."""


class BadRequest(Exception):
    """What came is not HTTP as it is spoken here."""


class Request(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class _Watched(asyncio.StreamReaderProtocol):
    """Tells at once when the client closes, also while an answer is written. Half closed counts as gone."""

    def __init__(self, reader: asyncio.StreamReader, served: Upstream) -> None:
        super().__init__(reader, served.connected)
        self.gone = asyncio.Event()
        self.call: Call | None = None
        self.watched_reader = reader

    def _left(self) -> None:
        self.gone.set()
        if self.call is not None:
            self.call.gone()

    def eof_received(self) -> bool | None:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        super().connection_lost(exc)


class Upstream:
    """The server and its ledger. `delay_ms`: how long each answer waits before its script begins."""

    def __init__(self, delay_ms: int = 0) -> None:
        self.ledger = Ledger()
        self._delay_ms = delay_ms

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Start; port 0 takes a free one."""
        loop = asyncio.get_running_loop()
        limit = 1 << 20
        return await loop.create_server(
            lambda: _Watched(asyncio.StreamReader(limit=limit), self), host, port, backlog=1024
        )

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        self.ledger.connections += 1
        number = self.ledger.connections
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (request := await read_request(reader)) is not None:
                await self.answer(request, number, writer)
        except (ClientLeft, HungUp, ConnectionError, asyncio.IncompleteReadError):
            pass
        except BadRequest as error:
            with contextlib.suppress(ConnectionError):
                writer.write(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                self.ledger.crashes.append(f"bad request: {error}")
        except Exception:
            # It must never go down; a test that looks at the ledger sees what happened.
            self.ledger.crashes.append(traceback.format_exc())
            traceback.print_exc(file=sys.stderr)
        finally:
            writer.close()

    async def answer(self, request: Request, connection: int, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        watched = writer.transport.get_protocol()
        assert isinstance(watched, _Watched)
        path = urlsplit(request.target).path
        dialect = next((DIALECTS[end] for end in DIALECTS if path.endswith(end)), None)
        if request.method == "POST" and dialect is not None:
            call = self.ledger.open(connection, path, request.headers, request.body)
            watched.call = call
            try:
                await self._chat(request, dialect, call, writer, watched.gone)
            except ClientLeft:
                call.gone()
                raise
            finally:
                watched.call = None
            return
        exchange = Exchange(answers.Ask({}), openai, Call(0, connection, path), writer, watched.gone)
        await self._other(request, path, exchange)

    async def _chat(
        self, request: Request, dialect: Dialect, call: Call, writer: asyncio.StreamWriter, gone: asyncio.Event
    ) -> None:
        try:
            body = json.loads(request.body)
        except ValueError:
            body = None
        ask = answers.Ask(body if isinstance(body, dict) else {})
        exchange = Exchange(ask, dialect, call, writer, gone)
        call.dialect, call.model, call.stream, call.images = dialect.NAME, ask.model, ask.stream, ask.images
        call.body = body if isinstance(body, dict) and len(request.body) <= KEPT_BODY_BYTES else None
        try:
            if not isinstance(body, dict):
                raise answers.Refused("the body is not a JSON object")
            dialect.check(body, request.headers, call.path)
        except answers.Refused as refused:
            call.complaint = refused.message
            await exchange.json(refused.status, dialect.refusal(refused))
            return
        if call.path.endswith("/count_tokens"):
            await exchange.json(200, {"input_tokens": ask.prompt_tokens})
            return
        if self._delay_ms:
            await exchange.pause(self._delay_ms)
        script, arguments = script_of(call.model)
        await script(exchange, arguments)

    async def _other(self, request: Request, path: str, exchange: Exchange) -> None:
        if path == "/_ledger":
            after = parse_qs(urlsplit(request.target).query).get("after", ["0"])[0]
            await exchange.json(200, self.ledger.as_json(int(after) if after.isdigit() else 0))
        elif path == "/_ledger/reset" and request.method == "POST":
            self.ledger.reset()
            await exchange.json(200, {"ok": True})
        elif path.endswith("/models") and request.method == "GET":
            listed = [{"id": name, "object": "model", "created": answers.CREATED, "owned_by": "s"} for name in SCRIPTS]
            await exchange.json(200, {"object": "list", "data": listed})
        elif path == "/_redirected":
            self.ledger.followed_redirects += 1
            await exchange.json(200, {"followed": True})
        else:
            await exchange.json(404, openai.error(404))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None where it ended between two."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BadRequest("half a head") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequest("head too large") from error
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3:
        raise BadRequest(first[:100])
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(parts[0], parts[1], headers, await _read_body(reader, headers))


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunked(reader)
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        raise BadRequest(f"content-length {length[:20]}")
    return await reader.readexactly(int(length))


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readline()
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise BadRequest("chunk size") from error
        body += (await reader.readexactly(size + 2))[:size]
        if size == 0 or len(body) > MAX_BODY_BYTES:
            return bytes(body)
