"""What goes out to a client: the WSGI environment of a request and the writer of its response, as PEP 3333 asks.

In place of gunicorn's own pair, which does more than is needed here: it makes an error stream for each request, formats
the date anew, and sends head and body apart. The loop over a connection is in worker.py.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import Any

from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.util import http_date, unquote_to_wsgi_str

Headers = list[tuple[str, str]]

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"}
    | {"transfer-encoding", "date", "server"}
)
"""The server's to say, not the application's."""
LAST_CHUNK = b"0\r\n\r\n"

_UNSAFE = re.compile(r"[^\t\n\x20-\x7e\x80-\xff]")
_STATUS = re.compile(r"[1-5][0-9]{2} [\t\x20-\x7e]*")


class FrozenConfig:
    """gunicorn's settings as plain attributes: its own way to look one up is slow, and a request does it thirty
    times."""

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self.__dict__.update({name: setting.get() for name, setting in cfg.settings.items()})

    def __getattr__(self, name: str) -> Any:
        """What is derived from settings."""
        return getattr(self._cfg, name)


def base_environ(cfg: Any, listener_name: Any) -> dict[str, Any]:
    """What is the same for all requests of a listener."""
    host, port = listener_name[:2] if isinstance(listener_name, tuple) else (str(listener_name), "")
    return {
        "wsgi.errors": WSGIErrorsWrapper(cfg),
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": cfg.workers > 1,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "SCRIPT_NAME": "",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
    }


def environ_of(request: Any, client: Any, peer: Any, base: dict[str, Any]) -> dict[str, Any]:
    """The WSGI environment of a request. `gunicorn.socket` is the client's socket, for who watches it."""
    environ = {
        **base,
        "wsgi.input": request.body,
        "wsgi.url_scheme": request.scheme,
        "gunicorn.socket": client,
        "REQUEST_METHOD": request.method,
        "RAW_URI": request.uri,
        "PATH_INFO": unquote_to_wsgi_str(request.path),
        "QUERY_STRING": request.query,
        "SERVER_PROTOCOL": "HTTP/1.1" if request.version >= (1, 1) else "HTTP/1.0",
        "REMOTE_ADDR": peer[0] if isinstance(peer, tuple) and peer else "",
    }
    for name, value in request.headers:
        key = _environ_name(name)
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


@functools.lru_cache(maxsize=512)
def _environ_name(name: str) -> str:
    """CGI's name of a header (given in upper case)."""
    key = name.replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


class OutboundResponse:
    """Writes one response. `closes` tells whether the connection ends with it."""

    def __init__(self, request: Any, client: Any, *, closes: bool) -> None:
        self.closes = closes
        self.is_begun = False
        """Whether any of it has left."""
        self._request = request
        self._client = client
        self._head = b""
        self._left: int | None = None
        """Bytes of the body that may still be written; None: as many as come."""
        self._is_chunked = False

    def start_response(self, status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
        """Take status and headers; they leave with the first of the body. Raises ValueError for what could be read as
        another header."""
        if exc_info and self.is_begun:
            raise exc_info[1].with_traceback(exc_info[2])
        if self._head and not exc_info:
            raise AssertionError("the response has been started already")
        if not _STATUS.fullmatch(status):
            raise ValueError("not a status line")
        length: int | None = None
        lines = []
        for name, value in headers:
            lower = name.lower()
            if lower == "content-length":
                length = int(value)
            elif lower not in HOP_BY_HOP:
                lines.append(f"{name}: {value}")
        text = "\n".join(lines)
        if _UNSAFE.search(text) or text.count("\n") != max(len(lines) - 1, 0):
            raise ValueError("a header holds what no header may hold")
        self._head = self._framed(status, length, text).replace("\n", "\r\n").encode("latin-1")
        return self.write

    def _framed(self, status: str, length: int | None, text: str) -> str:
        """The head, with what says where the body ends."""
        request = self._request
        is_new = request.version >= (1, 1)
        has_body = request.method != "HEAD" and status[0] != "1" and status[:3] not in ("204", "304")
        self._is_chunked = has_body and length is None and is_new
        self._left = length if has_body else 0
        self.closes = self.closes or (has_body and length is None and not is_new) or request.should_close()
        framing = f"\nConnection: {'close' if self.closes else 'keep-alive'}\n"
        if length is not None and status[0] != "1" and status[:3] != "204":
            framing = f"{framing}Content-Length: {length}\n"
        elif self._is_chunked:
            framing += "Transfer-Encoding: chunked\n"
        return f"HTTP/1.{int(is_new)} {status}\nDate: {_date(int(time.time()))}{framing}{text}{text and chr(10)}\n"

    def write(self, data: bytes) -> None:
        """Send a piece of the body, and the head before the first."""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if self._is_chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._send(data)

    def close(self) -> None:
        """The body is complete."""
        self._send(LAST_CHUNK if self._is_chunked else b"")
        if self._left and self._request.method != "HEAD":
            self.closes = True  # Less than was promised: the client must not take the next answer for the rest.

    def _send(self, data: bytes) -> None:
        if not self.is_begun:
            self.is_begun = True
            data = self._head + data
        if data:
            sent = self._client.send(data)
            if sent < len(data):
                self._client.sendall(memoryview(data)[sent:])


@functools.lru_cache(maxsize=2)
def _date(unix_s: int) -> str:
    return str(http_date(unix_s))
