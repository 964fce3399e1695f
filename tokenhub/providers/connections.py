"""Connections to providers: look up, refuse or connect, TLS, and keep for the next exchange.

No HTTP here, and no deadline but the one given: whoever takes a connection bounds the wait.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import Any

import certifi
import gevent
import gevent.socket
import gevent.ssl
from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original

from tokenhub.providers.framing import Origin

LOOKUP_S = 1.0
"""How long the addresses of a host are believed."""

_poll = get_original("select", "poll")  # gevent's own would switch; select() ends at descriptor 1024


class Forbidden(OSError):
    """The host has no address that may be connected to."""


@lru_cache(maxsize=1)
def default_tls() -> Any:
    """The one TLS context of the process, with the bundled CAs. Making it takes some 30 ms of CPU."""
    return client_tls(certifi.where())


def client_tls(ca_file: str) -> Any:
    """A `gevent.ssl.SSLContext` that verifies against these CAs."""
    # Not gevent.ssl.create_default_context: where nothing is patched that is the standard one, which blocks the hub.
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


@dataclass(frozen=True, slots=True)
class Habits:
    """What the pools of one transport have in common: connections per origin, seconds that an unused one is kept,
    a `gevent.ssl.SSLContext`, and which resolved IPs may be connected to."""

    pool_size: int
    idle_s: float
    tls: Any
    allow_address: Callable[[str], bool]


class Connection:
    """A connected socket; `reused` once it has carried an exchange."""

    __slots__ = ("_is_plain", "_poll", "idle_since", "reused", "sock")

    def __init__(self, sock: gevent.socket.socket) -> None:
        self.sock = sock
        self.reused = False
        self.idle_since = 0.0
        # TLS may hold bytes that its socket has given already.
        self._is_plain = type(sock) is gevent.socket.socket
        self._poll = _poll()
        self._poll.register(sock.fileno(), select.POLLIN)

    def wait(self) -> None:
        """Wait until something arrived, where that can be told without reading. A read tried too early costs more."""
        if self._is_plain:
            self.sock._wait(self.sock._read_event)

    def readable(self) -> bool:
        """Whether something arrived or the peer hung up: an idle connection is of no use then."""
        return bool(self._poll.poll(0))


class Pool:
    """The connections to one origin. The youngest idle one is taken first; who takes one gives it back or drops it."""

    def __init__(self, origin: Origin, habits: Habits) -> None:
        scheme, self.host, self._port = origin
        self._habits = habits
        self._tls = habits.tls if scheme == "https" else None
        self._slots = BoundedSemaphore(habits.pool_size)
        self._idle: list[Connection] = []
        self._lookup: Any = None
        self._looked_up = -LOOKUP_S

    def take(self, until: float) -> Connection:
        """A live connection: wait for a slot, then reuse or connect. `until` (monotonic) is only shared out among the
        host's addresses. Raises OSError: Forbidden, gaierror, ssl.SSLError, TimeoutError and others; UnicodeError."""
        self._slots.acquire()
        try:
            self.expire()
            while self._idle:
                connection = self._idle.pop()
                if not connection.readable():
                    return connection
                connection.sock.close()
            return self._connect(until)
        except BaseException:
            self._slots.release()
            raise

    def give(self, connection: Connection) -> None:
        """Keep it for the next exchange: the answer was read to its end."""
        connection.reused = True
        connection.idle_since = monotonic()
        self._idle.append(connection)
        self._slots.release()

    def drop(self, connection: Connection) -> None:
        """Close it."""
        connection.sock.close()
        self._slots.release()

    def expire(self) -> None:
        """Close what was idle too long."""
        oldest = monotonic() - self._habits.idle_s
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).sock.close()

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().sock.close()

    def _addresses(self) -> list[Any]:
        # One look-up at a time, shared by all that wait or come right after it: a hanging resolver holds one thread of
        # gevent's ten, and a burst of connections needs no burst of look-ups.
        if self._lookup is None or (self._lookup.ready() and monotonic() >= self._looked_up + LOOKUP_S):
            self._lookup = gevent.spawn(self._look_up)
        found = [entry for entry in self._lookup.get() if self._habits.allow_address(entry[4][0])]
        if not found:
            raise Forbidden("it has no address that may be connected to")
        return found

    def _look_up(self) -> list[Any]:
        self._looked_up = -LOOKUP_S
        found = gevent.socket.getaddrinfo(self.host, self._port, type=gevent.socket.SOCK_STREAM)
        self._looked_up = monotonic()  # Only now: one that fails is tried again by the next who asks.
        return list(found)

    def _connect(self, until: float) -> Connection:
        failure: OSError = Forbidden()
        addresses = self._addresses()
        for tried, (family, kind, protocol, _, address) in enumerate(addresses):
            sock = gevent.socket.socket(family, kind, protocol)
            try:
                sock.settimeout(max(until - monotonic(), 0.001) / (len(addresses) - tried))
                sock.connect(address)
                sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
                if self._tls is not None:
                    sock = self._tls.wrap_socket(
                        sock, server_hostname=self.host, do_handshake_on_connect=False, suppress_ragged_eofs=False
                    )
                    sock.do_handshake()
                return Connection(sock)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise failure
