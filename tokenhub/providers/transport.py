"""The transport to providers: a `requests` adapter over gevent's sockets and geventhttpclient's llhttp parser.

Here is what requests sees; the exchange itself is in `exchange`. It needs gevent, patched or not; a process without
mounts requests' own adapter. No retries, redirects, proxies, cookies or decoding.

    session.mount("https://", Transport())
    response = session.send(prepared, stream=True, timeout=Deadlines(...))     # as soon as the head is there
    while piece := response.raw.read_some(5.0): ...                           # b"" is the clean end, and the only one
    response.close()                             # before the end: the connection is closed; after: it was given back
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.ssl
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from tokenhub.domain.ports import Deadlines
from tokenhub.providers.connections import Habits, Pool, default_tls
from tokenhub.providers.exchange import RawExchange
from tokenhub.providers.framing import Origin, place, request_head


class _Response(requests.Response):
    def __init__(self) -> None:
        # Without the cookie jar that requests makes for each: 10 us, and cookies of providers are never kept.
        self._content: Any = False
        self._content_consumed = False
        self._next = None
        self.history: list[requests.Response] = []

    @property
    def is_redirect(self) -> bool:
        return False  # requests would read the body and build the next request even when told not to follow


class Transport(BaseAdapter):
    """The adapter: one per worker, made after the fork.

    `pool_size` connections per origin, an unused one kept for `idle_s`. `tls`: the one context of all pools (see
    `connections.client_tls`). `allow_address` is asked about each resolved IP before it is connected to. requests'
    `verify`, `cert` and `proxies` have no meaning here.
    """

    def __init__(
        self,
        *,
        pool_size: int = 1000,
        idle_s: float = 30.0,
        tls: Any = None,
        allow_address: Callable[[str], bool] = lambda ip: True,
    ) -> None:
        super().__init__()
        if not isinstance(tls or default_tls(), gevent.ssl.SSLContext):
            raise TypeError("a context that is not gevent's would block the whole hub")
        self._habits = Habits(pool_size, idle_s, tls or default_tls(), allow_address)
        self._pools: dict[Origin, Pool] = {}
        self._sending: dict[Any, RawExchange] = {}

    def send(  # type: ignore[override]
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Deadlines | None = None,
        verify: object = True,
        cert: object = None,
        proxies: object = None,
    ) -> requests.Response:
        """Send and give the response as soon as its head is there; whoever holds it reads to the end or closes.

        Raises TransportError; InvalidURL, InvalidHeader for what must not be sent; TypeError without Deadlines. The
        body is bytes or str, and `Content-Length` has to agree with it.
        """
        if not isinstance(timeout, Deadlines):
            raise TypeError("this adapter needs Deadlines as its timeout")
        method, url, body = request.method or "GET", request.url or "", request.body or b""
        if isinstance(body, str):
            body = body.encode()
        origin, target, host = place(url)
        head = request_head(method, target, host, request.headers, body)
        exchange = RawExchange(self._pool(origin), method, timeout)
        greenlet = gevent.getcurrent()
        self._sending[greenlet] = exchange
        try:
            headers = exchange.begin(head, body)
        finally:
            del self._sending[greenlet]
        return _response(request, exchange, headers)

    def interrupt(self, greenlet: object) -> bool:
        """End the `send` that this greenlet is blocked in with Interrupted. False if it is in none."""
        exchange = self._sending.get(greenlet)
        if exchange is not None:
            exchange.interrupt()
        return exchange is not None

    def close(self) -> None:
        """Close what is idle; what is in use is closed when its exchange ends."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, origin: Origin) -> Pool:
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._habits)
        return pool


def _response(
    request: requests.PreparedRequest, exchange: RawExchange, headers: CaseInsensitiveDict[str]
) -> requests.Response:
    response = _Response()
    response.status_code = exchange.parser.get_code()
    response.headers = headers
    response.reason = exchange.parser.reason
    response.url = request.url or ""
    response.request = request
    response.encoding = "utf-8"
    response.raw = exchange
    return response
