"""Flask without what requests here do not use: half of what it costs a request. HTTP's grammar is not here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import Headers
from werkzeug.routing import MapAdapter

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


class NoSession(SessionInterface):
    """There are no cookie sessions: one null session serves all requests."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """The session in which nothing can be kept."""
        return self._none

    def is_null_session(self, obj: object) -> bool:
        """Always: nothing is saved."""
        return True


class LeanFlask(Flask):
    """A Flask whose routes depend on method and path alone: no host or subdomain is looked at."""

    session_interface = NoSession()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What matches a request's path; outside of requests, Flask's own."""
        if request is None:
            return super().create_url_adapter(request)
        environ = request.environ
        return MapAdapter(
            self.url_map,
            environ["SERVER_NAME"],
            environ["SCRIPT_NAME"],
            "",
            environ["wsgi.url_scheme"],
            environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
            environ["REQUEST_METHOD"],
            environ.get("QUERY_STRING"),
        )


class LeanAnswer(Response):
    """A 200 whose bytes are ready to be sent, whole or as they come. Header values must be ready for the wire: nobody
    looks at them here (runtime/outbound.py refuses what no header may hold)."""

    def __init__(self, pieces: Iterable[bytes], headers: Mapping[str, str]) -> None:
        self._status, self._status_code = "200 OK", 200
        self._on_close = []
        self.response = pieces
        self.headers = Headers()
        self.headers._list = list(headers.items())

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer, as WSGI asks: the server iterates the pieces themselves, and closes them where they can be closed."""
        start_response(self._status, self.headers.to_wsgi_list())
        return self.response  # type: ignore[return-value]


def json_answer(body: bytes, headers: Mapping[str, str]) -> LeanAnswer:
    """A 200 with JSON that is already written."""
    own = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return LeanAnswer([body], {**headers, **own})
