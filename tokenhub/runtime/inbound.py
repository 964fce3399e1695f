"""What comes in from a client, on top of gunicorn's parser: what that lets pass, deadlines for slow senders, and the
words for a request that is refused before the application sees it. The loop over a connection is in worker.py.
"""

from __future__ import annotations

import re
import secrets
from http import HTTPStatus
from time import monotonic
from typing import Any

import gevent
import gevent.socket
import orjson
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidChunkSize,
    InvalidHeader,
    InvalidHTTPVersion,
    InvalidRequestLine,
    InvalidRequestMethod,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.http.message import Request
from gunicorn.http.unreader import SocketUnreader
from gunicorn.util import http_date

from tokenhub.errors import ClientGone, InvalidRequest, RequestTimeout

HEAD_S = 10.0
"""From the first byte of a request to the end of its headers."""
BODY_S, BODY_BYTES_PER_S = 30.0, 32 * 1024
"""A body may take the seconds, and one more for each that much of it that has come."""
WRITE_S = 60.0
"""For a client to take one piece of an answer."""
REST_BYTES, REST_S = 64 * 1024, 2.0
"""What is read of a body that the application did not want, so that the connection can be used again."""

FREE_CHUNKS, MIN_CHUNK_BYTES = 4096, 16
"""Chunks may be of any size at first, then that large on average: ten million chunks of a byte take half a minute."""

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_WORDS: dict[type[Exception], tuple[int, str, str]] = {
    LimitRequestLine: (414, "uri_too_long", "the request line is too long"),
    LimitRequestHeaders: (431, "headers_too_large", "the headers are too many or too long"),
    ExpectationFailed: (417, "expectation_failed", "the only expectation that can be met is 100-continue"),
    TimeoutError: (408, "request_timeout", "the headers did not arrive in time"),
    InvalidRequestLine: (400, "bad_request_line", "the request line is not valid: METHOD /path HTTP/1.1"),
    InvalidRequestMethod: (400, "bad_method", "the method is not valid"),
    InvalidHTTPVersion: (400, "bad_http_version", "only HTTP/1.1 and HTTP/1.0 are spoken here"),
    UnsupportedTransferCoding: (400, "bad_transfer_encoding", "the only transfer encoding taken is chunked"),
}
_HOST_WORDS = (400, "bad_host", "send one Host header: a name or an address, and the port where it is needed")
_OTHERWISE = (400, "bad_headers", "the headers are not valid HTTP")


class Refused(Exception):
    """A request that cannot be taken. What is said of it repeats nothing that the client sent."""

    def __init__(self, status: int, code: str, message: str, request: Any = None) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self._path: str = getattr(request, "path", None) or ""
        self._method: str | None = getattr(request, "method", None)

    @classmethod
    def because(cls, error: Exception, request: Any) -> Refused:
        """The refusal for what the parser found in a request that may be known in part only."""
        is_host = getattr(error, "hdr", None) == "HOST"
        return cls(*(_HOST_WORDS if is_host else _WORDS.get(type(error), _OTHERWISE)), request)

    def response(self) -> bytes:
        """The whole HTTP response, in the error shape of the surface that was asked (blueprints/errors.py has both)."""
        request_id = f"req_{secrets.token_hex(12)}"
        if self._path.startswith("/admin/v1"):
            told: dict[str, Any] = {"code": self.code, "message": self.message, "request_id": request_id}
        else:
            kind = "invalid_request_error" if self.status < 500 else "server_error"
            told = {"message": self.message, "type": kind, "param": None, "code": self.code}
        body = orjson.dumps({"error": told})
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"date: {http_date()}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n"
            "connection: close\r\n\r\n"
        )
        return head.encode() + (b"" if self._method == "HEAD" else body)


class InboundReader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a client's socket, each part of a request until its deadline. Raises TimeoutError after it.

    The socket's own timeout is used: it costs a timer only where there is something to wait for. Outside of reads it
    is WRITE_S.
    """

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._until = 0.0
        self._s_per_byte = 0.0
        self._reads = 0
        self._is_second = self._is_idle = False
        self.has_begun = False

    def await_head(self, idle_s: float) -> None:
        """The next bytes begin a request; they may take `idle_s` to come, and then HEAD_S to be complete."""
        self.has_begun = self.buf.tell() > 0
        self._allow(HEAD_S if self.has_begun else idle_s)
        self._is_idle = self._is_second and not self.has_begun
        self._is_second = True

    def await_body(self) -> None:
        """The next bytes are a body that the application asks for."""
        self._allow(BODY_S, 1 / BODY_BYTES_PER_S)

    def await_rest(self) -> None:
        """The next bytes are the rest of a body that nobody wants."""
        self._allow(REST_S)

    def _allow(self, seconds: float, s_per_byte: float = 0.0) -> None:
        self._until, self._s_per_byte = monotonic() + seconds, s_per_byte
        self._reads = 0

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes, "" at the end."""
        if self._reads:
            gevent.sleep(0)  # Who sends faster than we read must not have the worker for itself.
        self._reads += 1
        left_s = self._until - monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.sock.settimeout(left_s)
        try:
            if self._is_idle and type(self.sock) is gevent.socket.socket:
                # The next request is rarely here before the last answer is out: a read would be in vain.
                self.sock._wait(self.sock._read_event)
                self._is_idle = False
            data: bytes = super().chunk(size_hint)
        finally:
            self.sock.settimeout(WRITE_S)
        if not self.has_begun and data:
            self.has_begun = True
            self._allow(HEAD_S)
        else:
            self._until += len(data) * self._s_per_byte
        return data


class InboundChunks(ChunkedReader):  # type: ignore[misc]
    """A chunked body. Raises InvalidChunkSize also where it is ground to dust."""

    def __init__(self, request: Any, source: InboundReader) -> None:
        super().__init__(request, source)
        self._allowance = float(FREE_CHUNKS)

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> tuple[int, bytes | None]:
        """The next chunk's size and what was read of it."""
        size, rest = super().parse_chunk_size(unreader, data)
        self._allowance += size / MIN_CHUNK_BYTES - 1
        if self._allowance < 0:
            raise InvalidChunkSize(b"")
        return size, rest


class InboundBody(Body):  # type: ignore[misc]
    """A request's body, as `wsgi.input`. What is wrong with it is raised as the application's own errors."""

    def __init__(self, reader: Any, source: InboundReader, *, expects_continue: bool) -> None:
        super().__init__(reader)
        self._source = source
        self._has_begun = False
        self._expects_continue = expects_continue

    def _read_reader(self, size: int) -> bytes:
        try:
            if not self._has_begun:
                self._begin()
            data: bytes = self.reader.read(size)
            return data
        except TimeoutError as error:
            self.failed = True
            raise RequestTimeout("the body did not arrive in time") from error
        except (ParseException, NoMoreData) as error:
            self.failed = True
            raise InvalidRequest("the body is not complete, or not chunked as HTTP asks", code="bad_body") from error
        except OSError as error:
            self.failed = True
            raise ClientGone("the connection was lost while the body was read") from error

    def _begin(self) -> None:
        """Only now is a client that asked first told to send: what is refused before never travels."""
        self._has_begun = True
        self._source.await_body()
        if self._expects_continue:
            self._expects_continue = False
            self._source.sock.sendall(_CONTINUE)

    def can_be_finished(self) -> bool:
        """Whether little enough of it is still to come, so that the connection can be used again."""
        if self.failed:
            return False
        if isinstance(self.reader, InboundChunks):
            return self.reader.parser is None
        left: int = self.reader.length
        return left == 0 or (left <= REST_BYTES and not self._expects_continue)

    def finish(self) -> bool:
        """Read what the application left. False where the next request's start is not known."""
        if not self.can_be_finished():
            return False
        left = getattr(self.reader, "length", 0)
        if not left:
            return True
        self._source.await_rest()
        try:
            return len(self.reader.read(left)) == left
        except OSError:
            return False


class InboundRequest(Request):  # type: ignore[misc]
    """A request's head. Raises Refused where it is not acceptable, StopIteration at the end of the connection."""

    body: Any
    _expected_100_continue: bool

    def __init__(self, cfg: Any, source: InboundReader, peer: Any, number: int) -> None:
        try:
            super().__init__(cfg, source, peer, number)
        except ParseException as error:
            raise Refused.because(error, self) from error
        except TimeoutError as error:
            if not source.has_begun:
                raise
            raise Refused.because(error, self) from error

    def set_body_reader(self) -> None:
        """Check what the parser lets pass, and make the body. gunicorn calls it once the headers are there."""
        self._check()
        super().set_body_reader()
        reader: Any = self.body.reader
        if isinstance(reader, ChunkedReader):
            reader = InboundChunks(self, self.unreader)
        self.body = InboundBody(reader, self.unreader, expects_continue=self._expected_100_continue)
        self._expected_100_continue = False  # Or gunicorn would tell a client to send whatever the application thinks.

    def _check(self) -> None:
        """One plain path, one clean Host, and no transfer encoding but a single `chunked`."""
        if self.uri[0] != "/" or "#" in self.uri:
            raise InvalidRequestLine(self.uri)
        host = coding = None
        for name, value in self.headers:
            if name == "HOST":
                host = value
            elif name == "TRANSFER-ENCODING":
                if coding is not None or value.lower() != "chunked":
                    raise UnsupportedTransferCoding(value)
                coding = value
        if host is None:
            if self.version >= (1, 1):
                raise InvalidHeader("HOST")
        elif not _HOST.fullmatch(host):
            raise InvalidHeader("HOST")

    def should_close(self) -> bool:
        """Whether the connection ends with this request; gunicorn asks when it writes the response's head."""
        return not self.body.can_be_finished() or bool(super().should_close())
