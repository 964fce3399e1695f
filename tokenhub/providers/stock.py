"""requests' own adapter behind the interface of ours: Deadlines in, bodies with `read_some` out. Needs no gevent.

A deadline holds for each read of the socket only, so a server that drips single bytes into a header or a chunk's size
line is cut by http.client's size limits and not by time; `transport.py` has no such hole.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter

from tokenhub.domain.ports import Deadlines
from tokenhub.providers.translation import Progress

READ_BYTES = 65_536
MAX_HOSTS = 200
"""Hosts whose connections are kept; one over the limit only costs a reconnect."""


class _WatchedBody:
    """A request body that notes when it begins to be sent. An iterable, because urllib3 asks for bytes just then."""

    def __init__(self, body: bytes, progress: Progress) -> None:
        self._body = body
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        self._progress.sent = True
        yield self._body


class _StockBody:
    """urllib3's response with a deadline per read, and a `close` that may come while another greenlet reads."""

    def __init__(self, raw: urllib3.HTTPResponse) -> None:
        self._raw = raw
        self._is_reading = False

    def read_some(self, timeout_s: float) -> bytes:
        """What has arrived; b"" at the clean end."""
        # A connection that ends with this answer has given its socket away: the headers' timeout stays in force.
        sock = getattr(self._raw.connection, "sock", None)
        if sock is not None:
            sock.settimeout(timeout_s)
        self._is_reading = True
        try:
            return self._raw.read1(READ_BYTES, decode_content=False) or b""
        finally:
            self._is_reading = False

    def close(self) -> None:
        """Drop the connection, or give it back if the body was read to its end."""
        if self._is_reading:
            # Closing under a reader is an error in io; waking it is not, and whoever reads closes then.
            with suppress(ValueError, RuntimeError, OSError):
                self._raw.shutdown()
            return
        self._raw.close()
        self._raw.release_conn()


class StockAdapter(HTTPAdapter):
    """requests' own adapter: takes Deadlines, gives bodies with `read_some`, one TLS context for all connections."""

    def __init__(self, pool_size: int, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls or ssl.create_default_context(cafile=certifi.where())
        super().__init__(pool_connections=MAX_HOSTS, pool_maxsize=pool_size, max_retries=0, pool_block=False)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Give every connection the one TLS context."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """The context verifies already; the base class would load the CA bundle again for each connection (29 ms)."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send, with `timeout` as Deadlines; raises what requests raises."""
        deadlines: Deadlines = kwargs["timeout"]
        kwargs["timeout"] = (deadlines.connect_s, deadlines.headers_s)
        progress: Progress = request.progress  # type: ignore[attr-defined]
        request.body = _WatchedBody(request.body, progress) if request.body else None  # type: ignore
        response = super().send(request, *args, **kwargs)
        response.raw = _StockBody(response.raw)
        return response
