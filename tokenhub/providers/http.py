"""The seam to `requests`: one Session a worker, exchanges with deadlines, every library error translated.

In `providers/` only this module, its adapters (`stock.py`, `transport.py`) and `translation.py` see an HTTP library. No
provider's protocol here, no retry, no failover: those are the itinerary's. The mounted adapter takes `Deadlines` as
its `timeout` and gives responses whose `raw` has `read_some(timeout_s)` and `close()`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

import requests
from requests.adapters import BaseAdapter

from tokenhub.domain.ports import Deadlines
from tokenhub.providers.stock import StockAdapter
from tokenhub.providers.translation import CLIENT_ERRORS, Progress


class Exchange:
    """One request and its open response. Whoever holds it closes it."""

    __slots__ = ("_body", "_encoded", "_ends_at", "_is_closed", "headers", "progress", "status")

    def __init__(self, response: requests.Response, progress: Progress, ends_at: float) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.progress = progress
        self._body: Any = response.raw
        self._ends_at = ends_at
        self._encoded = self.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        self._is_closed = False
        progress.sent, progress.doubtful = True, 200 <= self.status < 300

    def read_some(self, timeout_s: float, late: str = "chunk_timeout") -> bytes:
        """What has arrived, waiting at most `timeout_s` for it; b"" at the clean end.

        Raises ProviderTransient: `late` after `timeout_s`, total_timeout, connection_lost, bad_response.
        """
        self._require_open()
        if self._encoded:
            raise self.progress.failure("bad_response", "the provider compressed an answer that was asked for plain")
        left_s = self._ends_at - time.monotonic()
        code = late if timeout_s <= left_s else "total_timeout"
        wait_s = min(timeout_s, left_s)
        if wait_s <= 0:
            raise self.progress.failure(code)
        self.progress.late = code
        try:
            data: bytes = self._body.read_some(wait_s)
        except CLIENT_ERRORS as error:
            self.progress.translate(error)
        self._require_open()
        return data

    def _require_open(self) -> None:
        """Raise if somebody closed the exchange, before or while it was read."""
        if self._is_closed:
            self._body.close()
            raise self.progress.failure("connection_lost")

    def read_all(self, limit: int, total_s: float) -> bytes:
        """The whole body, read within `total_s`. Raises ProviderTransient (bad_response) where it is over `limit`."""
        ends_at = time.monotonic() + total_s
        parts: list[bytes] = []
        size = 0
        while data := self.read_some(ends_at - time.monotonic(), "total_timeout"):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise self.progress.failure("bad_response", f"the provider's answer is larger than {limit} bytes")
        return b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the answer was read to its end, drop it otherwise. Twice is harmless, and so is
        closing while somebody waits in `read_some` (that then raises connection_lost)."""
        if not self._is_closed:
            self._is_closed = True
            with suppress(*CLIENT_ERRORS):
                self._body.close()


@lru_cache(maxsize=1024)
def _prepared_url(url: str) -> str:
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return str(prepared.url)


class HttpClient:
    """One per worker; opens nothing before the first call."""

    def __init__(
        self, adapter: BaseAdapter | None = None, pool_size: int = 1000, tls: ssl.SSLContext | None = None
    ) -> None:
        """`pool_size`: connections kept per host. `tls`: what the stock adapter trusts; default the bundled CAs."""
        self._session = requests.Session()
        self._session.trust_env = False
        mounted = adapter or StockAdapter(pool_size, tls)
        for prefix in ("https://", "http://"):
            self._session.mount(prefix, mounted)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, deadlines: Deadlines) -> Exchange:
        """Send a body and wait for the status line and headers, whatever the status. Redirects are not followed.

        Raises ProviderTransient: connect_failed, connect_timeout, tls_failed, headers_timeout, connection_lost,
        bad_response.
        """
        progress = Progress()
        ends_at = time.monotonic() + deadlines.total_s
        # Deadlines as the timeout: not requests' types, but what the mounted adapter takes. The adapter is called
        # without Session.send: its hooks, cookies and redirects are not wanted and cost 20 us a call.
        options: dict[str, Any] = {"timeout": deadlines, "verify": True, "cert": None, "proxies": {}}
        try:
            request = _post_request(_prepared_url(url), headers, body)
            request.progress = progress  # type: ignore[attr-defined]
            response = self._session.get_adapter(url).send(request, stream=True, **options)
        except CLIENT_ERRORS as error:
            progress.translate(error)
        return Exchange(response, progress, ends_at)

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


def _post_request(url: str, headers: Mapping[str, str], body: bytes) -> requests.PreparedRequest:
    """A PreparedRequest without the cost of preparing one: everything in it is known to be in form."""
    request = requests.PreparedRequest()
    request.method, request.url, request.body = "POST", url, body
    own = {"Accept-Encoding": "identity", "Content-Length": str(len(body))}
    request.headers = {**headers, **own}  # type: ignore[assignment]  # names are ours: nothing to fold
    request.hooks = {"response": []}
    return request
