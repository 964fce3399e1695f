"""The calls to an OpenAI-compatible provider: address, headers, deadlines, and the key that never leaves but in its
header. What the bytes mean is in wire.py and failures.py."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from tokenhub.domain.catalog import Provider, Target
from tokenhub.domain.chat import ChatCommand, Chunk, Reply
from tokenhub.domain.ports import Deadlines
from tokenhub.errors import ProviderError, ProviderTransient
from tokenhub.providers.http import Exchange, HttpClient
from tokenhub.providers.openai import failures, wire
from tokenhub.providers.sse import SseParser

DEFAULT_BASE_URL = "https://api.openai.com/v1"
MAX_REPLY_BYTES = 64 << 20
MAX_ERROR_BYTES = 64 << 10
ERROR_BODY_S = 5.0
"""How long the body of a refusal is waited for; its status is known already."""
DRAIN_S = 0.1
"""How long the end of a connection's answer is waited for after the last event, to keep the connection."""

_CHAT_PATH = "/chat/completions"
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*(/|$)")


def chat_url(base_url: str) -> str:
    """Where chat completions are, from a base_url with or without `/v1`. Raises ValueError if it is no http(s) URL."""
    parts = urlsplit(base_url.strip() or DEFAULT_BASE_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must be an http:// or https:// URL")
    path = parts.path.rstrip("/")
    if not path.endswith(_CHAT_PATH):
        path += _CHAT_PATH if _VERSION.search(path) else f"/v1{_CHAT_PATH}"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


class OpenAIClient:
    """A `ports.ProviderClient` over `http`."""

    def __init__(self, provider: Provider, api_key: str, http: HttpClient) -> None:
        """Raises ValueError for a base_url or key that cannot be used; the message does not show the key."""
        key = api_key.strip()
        if not key.isascii() or not key.isprintable():
            raise ValueError("the API key has characters that a header cannot carry")
        self._url = chat_url(provider.base_url)
        self._http = http
        self._key = key
        self._headers = {"Content-Type": "application/json", "User-Agent": "tokenhub"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def __repr__(self) -> str:
        return f"OpenAIClient({self._url!r})"

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Reply:
        """Ask for a whole answer."""
        started = time.monotonic()
        with scrubbed(self._key):
            exchange = self._post(command, target, deadlines, request_id, stream=False)
            try:
                _require_ok(exchange)
                left_s = deadlines.total_s - (time.monotonic() - started)
                body = exchange.read_all(MAX_REPLY_BYTES, left_s)
                return wire.read_reply(body, target)
            finally:
                exchange.close()

    def stream(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> OpenAIStream:
        """Ask for a streamed answer; returns once the status and content type are good."""
        with scrubbed(self._key):
            exchange = self._post(command, target, deadlines, request_id, stream=True)
            try:
                _require_ok(exchange)
                _require_events(exchange)
            except BaseException:
                exchange.close()
                raise
        return OpenAIStream(exchange, target, deadlines, self._key)

    def _post(
        self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str, *, stream: bool
    ) -> Exchange:
        headers = {
            **self._headers,
            "Accept": "text/event-stream" if stream else "application/json",
            "X-Request-ID": request_id,
        }
        body = wire.encode(wire.request_payload(command, target, stream=stream))
        return self._http.post(self._url, headers, body, deadlines)


class OpenAIStream:
    """A `ports.ReplyStream`. Iterating goes on where it was left."""

    dialect = "openai"
    not_forwarded: tuple[str, ...] = ()

    def __init__(self, exchange: Exchange, target: Target, deadlines: Deadlines, key: str = "") -> None:
        self._exchange = exchange
        self._reader = wire.ChunkReader(target)
        self._deadlines = deadlines
        self._key = key
        self._has_content = False
        self._has_finished = False
        self._chunks = self._read()

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def close(self) -> None:
        """Give the connection up at once if the stream has not ended."""
        self._exchange.close()

    def _read(self) -> Iterator[Chunk]:
        first_until = time.monotonic() + self._deadlines.first_token_s
        parser = SseParser()
        try:
            with scrubbed(self._key):
                while data := self._arrived(first_until):
                    for event in parser.feed(data):
                        if event.data.startswith(b"[DONE]"):
                            self._require_finish()
                            self._drain()
                            return
                        yield self._noted(self._reader.read(event.data))
                self._require_finish()
        finally:
            self._exchange.close()

    def _arrived(self, first_until: float) -> bytes:
        if self._has_content:
            return self._exchange.read_some(self._deadlines.between_chunks_s, "chunk_timeout")
        return self._exchange.read_some(first_until - time.monotonic(), "first_token_timeout")

    def _noted(self, chunk: Chunk) -> Chunk:
        if chunk.is_content and not self._has_content:
            self._has_content = True
            self._exchange.progress.doubtful = False
        if chunk.finish_reason:
            self._has_finished = True
        return chunk

    def _require_finish(self) -> None:
        if not self._has_finished:
            raise ProviderTransient(
                "the provider's stream ended before its answer was complete",
                code="stream_truncated",
                doubtful=not self._has_content,
            )

    def _drain(self) -> None:
        """Read the end of the body, which mostly came along, so that the connection can be used again."""
        try:
            self._exchange.read_some(DRAIN_S)
        except ProviderError:
            pass


@contextmanager
def scrubbed(key: str) -> Iterator[None]:
    """Take the key out of every ProviderError that passes, should an upstream have echoed it."""
    try:
        yield
    except ProviderError as error:
        if key and key in f"{error.message}{error.code}{error.param}":
            error.message = error.message.replace(key, "***")
            error.code = error.code.replace(key, "***")
            error.param = error.param.replace(key, "***") if error.param else error.param
            error.args = (error.message,)
        raise


def _require_ok(exchange: Exchange) -> None:
    if exchange.status == 200:
        return
    body = b""
    try:
        body = exchange.read_all(MAX_ERROR_BYTES, ERROR_BODY_S)
    except ProviderError:
        pass
    raise failures.classify(exchange.status, exchange.headers, body)


def _require_events(exchange: Exchange) -> None:
    """Refuse an answer that is no event stream; an error object in it says why."""
    content_type = exchange.headers.get("Content-Type", "text/event-stream")
    if content_type.strip().lower().startswith("text/event-stream"):
        return
    exchange.progress.doubtful = False
    body = exchange.read_all(MAX_ERROR_BYTES, ERROR_BODY_S)
    wire.require_no_error(body)
    raise ProviderTransient("the provider did not answer with an event stream", code="bad_response", status=200)
