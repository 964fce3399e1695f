"""The calls to a provider that speaks Anthropic's Messages API: address, headers, deadlines, and the key that never
leaves but in its header. What the bytes mean is in wire.py, stream.py and failures.py."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from tokenhub.domain.catalog import Provider, Target
from tokenhub.domain.chat import ChatCommand, JsonObject, Reply
from tokenhub.domain.ports import Deadlines
from tokenhub.providers.anthropic import failures, stream, wire
from tokenhub.providers.calls import EventStream, header_key, read_whole, require_stream, scrubbed
from tokenhub.providers.http import Exchange, HttpClient
from tokenhub.providers.reading import encode

DEFAULT_BASE_URL = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
"""Everything that later versions take is taken by this one too; they only refuse more (`temperature`, for one)."""
FORWARDED_HEADERS = ("anthropic-beta",)
"""Headers of a caller who speaks the same dialect that go on to the provider; no other does."""

_PATH = "/messages"
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*$")


def messages_url(base_url: str) -> str:
    """Where messages are made, from a base_url with or without `/v1`. Raises ValueError if it is no http(s) URL."""
    parts = urlsplit(base_url.strip() or DEFAULT_BASE_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must be an http:// or https:// URL")
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH if _VERSION.search(path) else f"/v1{_PATH}"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


class AnthropicClient:
    """A `ports.ProviderClient` over `http`."""

    def __init__(self, provider: Provider, api_key: str, http: HttpClient) -> None:
        """Raises ValueError for a base_url or key that cannot be used; the message does not show the key."""
        key = header_key(api_key)
        self._url = messages_url(provider.base_url)
        self._http = http
        self._key = key
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": "tokenhub",
            "anthropic-version": API_VERSION,
        }
        if key:
            self._headers["x-api-key"] = key

    def __repr__(self) -> str:
        return f"AnthropicClient({self._url!r})"

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Reply:
        """Ask for a whole answer."""
        payload, not_forwarded = wire.request_payload(command, target, stream=False)
        with scrubbed(self._key):
            exchange = self._post(payload, command, deadlines, request_id)
            body = read_whole(exchange, failures.classify, deadlines.total_s)
            reply = wire.read_reply(body, target, command.dialect)
        reply.not_forwarded = not_forwarded
        return reply

    def stream(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> EventStream:
        """Ask for a streamed answer; returns once the status and content type are good."""
        payload, not_forwarded = wire.request_payload(command, target, stream=True)
        with scrubbed(self._key):
            exchange = self._post(payload, command, deadlines, request_id)
            require_stream(exchange, failures.classify, wire.require_no_error)
        reader = stream.MessageReader(target, command.dialect)
        return EventStream(exchange, reader, deadlines, dialect="anthropic", not_forwarded=not_forwarded, key=self._key)

    def _post(self, payload: JsonObject, command: ChatCommand, deadlines: Deadlines, request_id: str) -> Exchange:
        accept = "text/event-stream" if payload.get("stream") else "application/json"
        headers = {**self._headers, "Accept": accept, "X-Request-ID": request_id}
        if command.dialect == "anthropic":
            headers |= _forwarded(command.headers)
        return self._http.post(self._url, headers, encode(payload), deadlines)


def _forwarded(headers: dict[str, str]) -> dict[str, str]:
    """What of the caller's headers goes on, as far as a header can carry it."""
    given = {name: headers[name].strip() for name in FORWARDED_HEADERS if name in headers}
    return {name: value for name, value in given.items() if value and value.isascii() and value.isprintable()}
