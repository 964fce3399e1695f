"""The framing of HTTP/1.1: the head of a request, and a parser for its response with limits on all that is not body.

No socket, no time, no meaning of an answer here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from geventhttpclient._parser import HTTPParseError, HTTPResponseParser
from requests.exceptions import InvalidHeader, InvalidURL
from requests.structures import CaseInsensitiveDict

FRAMING_BYTES = 64 * 1024
"""Heads, chunk lines and trailers that may come in a row without a byte of body; checked after each read."""
HEADER_FIELDS = 256
INTERIM_RESPONSES = 8

Origin = tuple[str, str, int]
"""Scheme, host, port."""


@lru_cache(maxsize=1024)
def place(url: str) -> tuple[Origin, str, str]:
    """The origin, the request target and the Host of a URL. Raises InvalidURL."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise InvalidURL("the address of a provider cannot be read") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidURL("the address of a provider starts with http:// or https:// and a host")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return (parts.scheme, parts.hostname, port), target, parts.netloc.rpartition("@")[2]


def request_head(method: str, target: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The head as it is sent. Raises InvalidHeader, without its value, for one that could be read as something else."""
    lines = [f"{method} {target} HTTP/1.1\r\n", f"Host: {host}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    text = "".join(lines)
    if not text.count("\r") == text.count("\n") == len(lines):
        raise InvalidHeader("a header has a line break in it")
    lowered = text.lower()
    if "\ntransfer-encoding:" in lowered or lowered.count("\nhost:") > 1:
        raise InvalidHeader("Transfer-Encoding and Host are not the caller's to set")
    if headers.get("Content-Length", "0") != str(len(body)):
        raise InvalidHeader("Content-Length is not the length of the body")
    try:
        return (text + "\r\n").encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidHeader("a header has a character that HTTP cannot carry") from None


class ResponseParser(HTTPResponseParser):
    """The final response of one exchange, and the interim ones before it. llhttp keeps the grammar, this the limits.

    `feed(b"")` is the end of the stream. Raises HTTPParseError; nothing may be fed after that.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self.fields: list[list[str]] = []
        self.reason = ""
        self.body: list[bytes] = []
        self.head_done = False
        self.done = False
        self._skips_body = method == "HEAD"
        self._interim = 0
        self._framing = 0
        self._in_value = True

    def feed(self, data: str | bytes) -> None:
        """Parse what was read; the body so far is in `body`."""
        super().feed(data)
        self._framing = 0 if self.body else self._framing + len(data)
        if self._framing > FRAMING_BYTES:
            raise HTTPParseError(f"more than {FRAMING_BYTES} bytes of headers or framing")

    def take(self) -> bytes:
        """The body since the last call."""
        pieces, self.body = self.body, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def headers(self) -> CaseInsensitiveDict[str]:
        """The header of the final response; the values of repeated fields in one, with commas."""
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict((name, value) for name, value in self.fields)
        if len(headers) < len(self.fields):
            for repeated in list(headers):
                headers[repeated] = ", ".join(value for name, value in self.fields if name.lower() == repeated.lower())
        return headers

    def _on_message_begin(self) -> None:
        if self.done:
            raise HTTPParseError("a second response to one request")

    def _on_status(self, text: str) -> None:
        self.reason += text

    def _on_header_field(self, text: str) -> None:
        if self.head_done:
            return  # A trailer: nobody reads them.
        if self._in_value:
            self._in_value = False
            self.fields.append(["", ""])
            if len(self.fields) > HEADER_FIELDS:
                raise HTTPParseError(f"more than {HEADER_FIELDS} header fields")
        self.fields[-1][0] += text

    def _on_header_value(self, text: str) -> None:
        if not self.head_done:
            self._in_value = True
            self.fields[-1][1] += text

    def _on_headers_complete(self) -> bool:
        if self.get_http_version() != "HTTP/1.1":
            raise HTTPParseError(f"an answer in {self.get_http_version()}; HTTP/1.1 is needed")
        if self.get_code() == 101:
            raise HTTPParseError("an upgrade that nobody asked for")
        self.head_done = self.get_code() >= 200
        for name, value in self.fields:
            if name.lower() == "transfer-encoding" and value.lower() != "chunked":
                raise HTTPParseError("a Transfer-Encoding other than chunked")
        return self._skips_body

    def _on_body(self, data: bytearray) -> None:
        self.body.append(bytes(data))

    def _on_message_complete(self) -> None:
        if self.head_done:
            self.done = True
            return
        self._interim += 1
        if self._interim > INTERIM_RESPONSES:
            raise HTTPParseError(f"more than {INTERIM_RESPONSES} interim responses")
        self.fields.clear()
        self.reason = ""
