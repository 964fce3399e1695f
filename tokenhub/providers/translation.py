"""What an error of the HTTP libraries means: each becomes one ProviderTransient with a code and a doubt.

Nothing is sent here. Statuses and bodies are not judged here either: that is each provider's failures.py.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from typing import NoReturn

from requests import exceptions as re
from urllib3 import exceptions as ue

from tokenhub.errors import ProviderTransient

CLIENT_ERRORS = (re.RequestException, ue.HTTPError, http.client.HTTPException, OSError, ValueError)
"""Everything the HTTP libraries raise. ValueError: http.client's own checks of header values."""

_KINDS: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
    ("tls", (re.SSLError, ue.SSLError, ssl.SSLError)),
    ("lost", (ue.NewConnectionError,)),  # a subclass of urllib3's connect timeout, and none
    ("timeout", (re.Timeout, ue.ConnectTimeoutError, ue.ReadTimeoutError, ue.TimeoutError, TimeoutError)),
    ("lost", (http.client.RemoteDisconnected,)),
    ("garbled", (ue.InvalidChunkLength, ue.DecodeError, ue.HeaderParsingError, ue.ResponseNotChunked)),
    ("garbled", (ue.BodyNotHttplibCompatible, ue.InvalidHeader, re.ContentDecodingError, re.InvalidJSONError)),
    ("lost", (http.client.IncompleteRead, re.ChunkedEncodingError, ue.ProtocolError, re.StreamConsumedError)),
    ("garbled", (http.client.HTTPException,)),
    ("unusable", (re.InvalidURL, re.MissingSchema, re.InvalidSchema, re.InvalidHeader, ue.LocationValueError)),
    ("unusable", (re.URLRequired, re.TooManyRedirects, re.UnrewindableBodyError, ue.UnrewindableBodyError)),
    ("lost", (re.ConnectionError, re.HTTPError, re.RetryError, ue.PoolError, ue.ProxyError, ue.ProxySchemeUnsupported)),
    ("lost", (ue.HTTPError, re.RequestException, OSError)),
    ("unusable", (ValueError,)),
)
"""Error class -> what it means, first match wins. "lost" is the weakest: a cause inside may say more."""


def kind_of(error: BaseException) -> str:
    """What a library error means: "tls", "timeout", "garbled", "unusable" or "lost"."""
    for link in _links(error):
        kind = next((kind for kind, classes in _KINDS if isinstance(link, classes)), "lost")
        if kind != "lost":
            return kind
    return "lost"


def _links(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it wraps: requests and urllib3 keep them in `args` and `reason`."""
    for _ in range(8):
        if error is None:
            return
        yield error
        inner = [value for value in (getattr(error, "reason", None), *error.args) if isinstance(value, BaseException)]
        error = inner[0] if inner else None


_BEFORE_SENDING = {"tls": "tls_failed", "timeout": "connect_timeout"}
_MESSAGES = {
    "connect_failed": "the provider cannot be reached",
    "connect_timeout": "connecting to the provider took too long",
    "tls_failed": "no trusted TLS connection to the provider could be made",
    "headers_timeout": "the provider did not begin to answer in time",
    "first_token_timeout": "the provider did not give a first token in time",
    "chunk_timeout": "the provider fell silent in the middle of its answer",
    "total_timeout": "the answer took longer than the whole request may",
    "connection_lost": "the connection to the provider broke",
    "bad_response": "the provider's answer is not valid HTTP",
}


class Progress:
    """How far a call got: decides what an error means and whether the provider may charge for it."""

    __slots__ = ("doubtful", "late", "sent")

    def __init__(self) -> None:
        self.sent = False
        """Whether any byte of the body may have been written."""
        self.doubtful = True
        """Whether, once sent, there is still no answer to what was asked."""
        self.late = "headers_timeout"
        """What a timeout is called now."""

    def failure(self, code: str, message: str = "") -> ProviderTransient:
        """The error for a code of this module, with what is known at this point."""
        return ProviderTransient(
            message or _MESSAGES[code],
            code=code,
            blame="target" if self.sent else "provider",
            doubtful=self.sent and self.doubtful,
        )

    def _code(self, kind: str) -> str:
        if not self.sent:
            return _BEFORE_SENDING.get(kind, "connect_failed")
        return {"timeout": self.late, "garbled": "bad_response"}.get(kind, "connection_lost")

    def translate(self, error: BaseException) -> NoReturn:
        """Raise what one of CLIENT_ERRORS means."""
        self.sent = getattr(error, "sent", self.sent)  # our own transport knows it of each error
        failure = self.failure(self._code(kind_of(error)))
        # http.client quotes a header value that it refuses, and that can be the key: such a cause is left out.
        raise failure from (error if self.sent or not isinstance(error, ValueError) else None)
