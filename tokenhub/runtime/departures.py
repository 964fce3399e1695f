"""Ending a request from outside: its caller hangs up, or the server stops. Noticed at once, not at the next write.

A read watcher on the caller's socket costs nothing while nothing happens: no polling, no thread. What ends is only
what a request waits for while it is *armed* (an upstream); books are never interrupted.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import gevent
from gevent.hub import get_hub

from tokenhub.errors import ClientGone, Interruption

READABLE = 1
"""libev's event mask."""


class Departure:
    """One request that may end early. Implements the port `Line`."""

    def __init__(self, departures: Departures, caller_socket: Any) -> None:
        self._departures = departures
        self._greenlet = gevent.getcurrent()
        self._error: Interruption | None = None
        self._is_armed = False
        self._socket = caller_socket
        self._watcher = None
        if caller_socket is not None:
            self._watcher = get_hub().loop.io(caller_socket.fileno(), READABLE)
            self._watcher.start(self._on_readable)
        departures.live.add(self)

    def arm(self) -> None:
        """From here to `disarm()` an end is raised in whatever is waited for. Raises it now if it came before."""
        if self._error is not None:
            raise self._error
        self._greenlet = gevent.getcurrent()
        self._is_armed = True

    def disarm(self) -> None:
        """From here on nothing is interrupted."""
        self._is_armed = False

    def end(self, error: Interruption) -> None:
        """End the request with this error, now if it is armed, else when it next is. The first error counts."""
        if self._error is not None:
            return
        self._error = error
        get_hub().loop.run_callback(self._raise)

    def close(self) -> None:
        """Stop watching. Before the last bytes are written: what the caller sends then is the next request."""
        self._departures.live.discard(self)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()

    def _raise(self) -> None:
        # In the hub, as Greenlet.throw demands. It may have gone on meanwhile: then the next arm() tells it.
        if self._is_armed and isinstance(self._greenlet, gevent.Greenlet):
            self._is_armed = False
            self._greenlet.throw(self._error)

    def _on_readable(self) -> None:
        """The socket has something to read: an end, or the next request, sent before this one is answered."""
        try:
            is_gone = not self._socket._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            is_gone = True
        if self._watcher is not None:
            self._watcher.stop()
        if is_gone:
            self.end(ClientGone("the caller closed the connection before the answer was complete"))


class Departures:
    """All requests of a worker that may end early."""

    def __init__(self) -> None:
        self.live: set[Departure] = set()

    def watch(self, environ: Mapping[str, Any]) -> Departure:
        """Watch the caller of the request with this WSGI environment, whose body has been read. Whoever calls this
        closes it. Without gunicorn's socket (tests, other servers) nothing is noticed."""
        return Departure(self, environ.get("gunicorn.socket"))

    def end_all(self, error: Interruption) -> int:
        """End everything; gives how many requests there were."""
        ending = list(self.live)
        for departure in ending:
            departure.end(error)
        return len(ending)
