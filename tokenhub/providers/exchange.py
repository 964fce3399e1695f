"""One HTTP/1.1 exchange with a provider: connect, send, read, each stage with its own deadline and its own error.

No pool and no grammar here (`connections`, `framing`), and no meaning of an answer. A request is sent a second time
only if a kept connection turns out dead before it took a byte.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from time import monotonic
from typing import Any, TypeVar

import gevent
import gevent.socket
import requests
from geventhttpclient._parser import HTTPParseError
from requests.exceptions import ContentDecodingError
from requests.structures import CaseInsensitiveDict

from tokenhub.domain.ports import Deadlines
from tokenhub.providers.connections import Connection, Forbidden, Pool
from tokenhub.providers.framing import ResponseParser

READ_BYTES = 64 * 1024
ONE_WRITE_BYTES = 64 * 1024
"""Up to this size of a body, head and body leave in one write."""
READS_IN_A_ROW = 16
"""A peer that is always ready would keep all others waiting, and no timer would fire."""
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TransportError(requests.RequestException):
    """Base. `sent`: a byte of the request may have left; `body_sent`: all of it was handed to the kernel."""

    sent = False
    body_sent = False


class ConnectTimedOut(TransportError, requests.ConnectTimeout):
    """Pool slot, DNS, TCP and TLS together took longer than `connect_s`."""


class AddressRefused(TransportError, requests.ConnectionError):
    """`allow_address` refuses every address of the host; nothing was connected."""


class Unreachable(TransportError, requests.ConnectionError):
    """No such host, refused, or reset while connecting."""


class TlsFailed(TransportError, requests.exceptions.SSLError):
    """Certificate or handshake; no byte of the request was sent."""


class HeadersTimeout(TransportError, requests.ReadTimeout):
    """`headers_s` went by without progress in sending, or without a whole head once all was sent."""


class TotalTimeout(TransportError, requests.ReadTimeout):
    """`total_s` is over, whatever the stage."""


class StillWaiting(TransportError, requests.ReadTimeout):
    """`read_some` had nothing in time. The connection is kept: read on, or close."""


class Interrupted(StillWaiting):
    """As StillWaiting, because of `interrupt()`. Out of `send` it means that the connection was closed."""


class ConnectionBroken(TransportError, requests.ConnectionError):
    """Reset or closed before the end of the head or body."""


class BadResponse(TransportError, ContentDecodingError):
    """Not HTTP/1.1, over a limit, a second response, or a Content-Encoding although identity was asked for."""


_Failure = TypeVar("_Failure", bound=TransportError)


class _Late(BaseException):
    """A timer of ours. Not an Exception, so that no `except OSError` on the way takes it."""


class _Woken(BaseException):
    """Somebody called interrupt()."""


class RawExchange:
    """One request and its answer: `response.raw`. It belongs to one greenlet; `interrupt` and `close` are for all."""

    def __init__(self, pool: Pool, method: str, deadlines: Deadlines) -> None:
        self.parser = ResponseParser(method)
        self._pool = pool
        self._deadlines = deadlines
        self._ends = monotonic() + deadlines.total_s
        self._connection: Connection | None = None
        self._sent = self._body_sent = False
        self._waiter: Any = None
        self._interrupted = False
        self._encoded = False
        self._reads = 0
        self._is_drained = True
        """Whether the last read took all there was, so that the next has to wait."""

    def read_some(self, timeout_s: float) -> bytes:
        """Wait for a piece of the body, at most 64 KiB; b"" is its clean end, however often asked.

        Raises StillWaiting if nothing came for `timeout_s` (0: only what is there already), or on `interrupt()`: the
        connection is kept and reading can go on. Every other error has closed it.
        """
        parser = self.parser
        if self._encoded:
            self.close()
            raise self._failure(BadResponse, "a compressed body, though it was asked for plain")
        if parser.body or parser.done:
            return parser.take()
        until = monotonic() + timeout_s
        self._waiter = gevent.getcurrent()
        try:
            if self._interrupted:
                raise _Woken
            while not parser.body and not parser.done:
                self._feed(until, StillWaiting, "no more of the answer")
            return parser.take()
        except _Woken:
            raise self._woken() from None
        except StillWaiting:
            raise
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def stream(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        """For requests' own `content` and `iter_content`: pieces as they come, bounded by `total_s` alone."""
        while piece := self.read_some(self._deadlines.total_s):
            yield piece

    def interrupt(self) -> None:
        """Wake the greenlet that waits for this exchange with Interrupted; if none does, the next wait ends at once.

        For another greenlet or a callback of the same hub. What arrived is not lost.
        """
        self._interrupted = True
        gevent.get_hub().loop.run_callback(self._wake)

    def close(self) -> None:
        """Close the connection unless the answer was read to its end. A blocked read raises ConnectionBroken."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.drop(connection)

    def begin(self, head: bytes, body: bytes) -> CaseInsensitiveDict[str]:
        """For the transport: connect, send, give the header of the final answer. An exception leaves nothing open."""
        self._waiter = gevent.getcurrent()
        connect_until = monotonic() + self._deadlines.connect_s
        try:
            while not self._send_on(self._connect(connect_until), head, body):
                self.close()
            until = monotonic() + self._deadlines.headers_s
            while not self.parser.head_done:
                self._feed(until, HeadersTimeout, "no answer")
            headers = self.parser.headers()
            self._encoded = headers.get("Content-Encoding", "identity").lower() != "identity"
            return headers
        except _Woken:
            self.close()
            raise self._woken() from None
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def _connect(self, until: float) -> Connection:
        host, ends = self._pool.host, min(until, self._ends)
        try:
            with gevent.Timeout(ends - monotonic(), _Late):
                self._connection = connection = self._pool.take(ends)
                return connection
        except (_Late, TimeoutError):
            raise self._late(ConnectTimedOut, until, f"no connection to {host}") from None
        except Forbidden as error:
            raise self._failure(AddressRefused, f"{host}: {error}") from None
        except ssl.SSLError as error:
            raise self._failure(TlsFailed, f"TLS with {host}: {error}") from error
        except (OSError, UnicodeError) as error:
            raise self._failure(Unreachable, f"cannot connect to {host}: {error}") from error

    def _send_on(self, connection: Connection, head: bytes, body: bytes) -> bool:
        """Send until all is sent or an answer comes. False: a kept connection was dead before it took a byte."""
        connection.sock.settimeout(0.0)
        for part in (head + body,) if len(body) <= ONE_WRITE_BYTES else (head, body):
            rest = memoryview(part)
            while rest:
                try:
                    count = connection.sock.send(rest)
                except _WOULD_BLOCK:
                    count = 0
                except OSError as error:
                    if self._sent:
                        return True  # It hung up on us, maybe after an answer: reading will tell.
                    if connection.reused:
                        return False
                    raise self._failure(ConnectionBroken, f"closed before anything was sent: {error}") from error
                if count:
                    self._sent = True
                    rest = rest[count:]
                elif self._answered(connection):
                    return True
        self._body_sent = True
        return True

    def _answered(self, connection: Connection) -> bool:
        """Wait until more can be sent; True if an answer came instead."""
        until = monotonic() + self._deadlines.headers_s
        try:
            with gevent.Timeout(min(until, self._ends) - monotonic(), _Late):
                gevent.socket.wait_readwrite(connection.sock.fileno())
        except _Late:
            raise self._late(HeadersTimeout, until, "no more of the request was taken") from None
        if connection.readable():  # That may also be a TLS ticket: only a head is an answer.
            try:
                data = connection.sock.recv(READ_BYTES)
            except _WOULD_BLOCK:
                return False
            except OSError as error:
                raise self._failure(ConnectionBroken, f"closed before the request was taken: {error}") from error
            self._parse(data)
        return self.parser.head_done

    def _feed(self, until: float, late: type[TransportError], what: str) -> None:
        """Wait for bytes and parse them."""
        if self._connection is None:
            raise self._failure(ConnectionBroken, "the exchange was closed")
        connection = self._connection
        sock = connection.sock
        sock.settimeout(None)
        self._reads += 1
        try:
            # One timer for all of it: gevent's own would begin again with each byte of a TLS record.
            with gevent.Timeout(min(until, self._ends) - monotonic(), _Late):
                if self._is_drained:
                    connection.wait()
                if self._reads % READS_IN_A_ROW == 0:
                    gevent.sleep(0)
                data = sock.recv(READ_BYTES)
                self._is_drained = len(data) < READ_BYTES
        except _Late:
            raise self._late(late, until, what) from None
        except OSError as error:
            raise self._failure(ConnectionBroken, f"the connection broke: {error}") from error
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Feed the parser (nothing: the peer closed) and give the connection back when the answer is complete."""
        parser = self.parser
        try:
            parser.feed(data)
        except HTTPParseError as error:
            if data:
                raise self._failure(BadResponse, f"not a valid answer: {error}") from error
        if parser.done:
            self._finish()
        elif not data:
            raise self._failure(ConnectionBroken, "closed before the end of the answer")

    def _finish(self) -> None:
        connection = self._connection
        if connection is not None and self._body_sent and self.parser.should_keep_alive():
            self._connection = None
            self._pool.give(connection)
        self.close()

    def _late(self, kind: type[TransportError], until: float, what: str) -> TransportError:
        if self._ends <= until:
            return self._failure(TotalTimeout, f"{what} before the end of the whole request's time")
        return self._failure(kind, f"{what} in time")

    def _failure(self, kind: type[_Failure], message: str) -> _Failure:
        failure = kind(message)
        failure.sent, failure.body_sent = self._sent, self._body_sent
        return failure

    def _wake(self) -> None:
        if self._waiter is not None and self._interrupted:
            self._waiter.throw(_Woken())

    def _woken(self) -> Interrupted:
        self._interrupted = False
        return self._failure(Interrupted, "interrupted while waiting")
