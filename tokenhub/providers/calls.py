"""What the calls of all HTTP providers have in common: refusals read, a stream's deadlines kept, the key taken out of
whatever an upstream says. Addresses, headers and the meaning of bytes are each provider's own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tokenhub.domain.chat import Chunk
from tokenhub.domain.ports import Deadlines
from tokenhub.errors import ProviderError, ProviderTransient
from tokenhub.providers.http import Exchange
from tokenhub.providers.sse import Event, SseParser

MAX_REPLY_BYTES = 64 << 20
MAX_ERROR_BYTES = 64 << 10
ERROR_BODY_S = 5.0
"""How long the body of a refusal is waited for; its status is known already."""
DRAIN_S = 0.1
"""How long the end of a connection's answer is waited for after the last event, to keep the connection."""

Classify = Callable[[int, Mapping[str, str], bytes], ProviderError]


class EventReader(Protocol):
    """Turns the events of one stream into chunks."""

    has_ended: bool
    """Whether the event that closes the protocol's streams was read."""

    def read(self, payload: bytes) -> Chunk | None:
        """One event's data; None where there is nothing to tell, and for all that follows the end."""

    def last(self) -> Chunk | None:
        """What is to be told after a stream that is complete."""


class EventStream:
    """A `ports.ReplyStream`. Iterating goes on where it was left."""

    def __init__(
        self,
        exchange: Exchange,
        reader: EventReader,
        deadlines: Deadlines,
        *,
        dialect: str,
        not_forwarded: tuple[str, ...] = (),
        key: str = "",
    ) -> None:
        self.dialect = dialect
        self.not_forwarded = not_forwarded
        self._exchange = exchange
        self._reader = reader
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
                    yield from self._chunks_of(parser.feed(data))
                    if self._reader.has_ended:
                        break
                self._require_finish()
                if data:
                    self._drain()
        finally:
            self._exchange.close()
        last = self._reader.last()
        if last is not None:
            yield last

    def _chunks_of(self, events: list[Event]) -> Iterator[Chunk]:
        """The chunks of what arrived together: each but the last says that another one follows at once."""
        held: Chunk | None = None
        try:
            for event in events:
                chunk = self._reader.read(event.data)
                if chunk is None:
                    continue
                if held is not None:
                    held.has_follower = True
                    yield held
                held = self._noted(chunk)
        except ProviderError:
            if held is not None:
                yield held
            raise
        if held is not None:
            yield held

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


def header_key(api_key: str) -> str:
    """The key as a header carries it. Raises ValueError, which does not show it, where none can."""
    key = api_key.strip()
    if not key.isascii() or not key.isprintable():
        raise ValueError("the API key has characters that a header cannot carry")
    return key


def read_whole(exchange: Exchange, classify: Classify, total_s: float) -> bytes:
    """The body of a good answer; closes the exchange. Raises what another status means."""
    try:
        require_ok(exchange, classify)
        return exchange.read_all(MAX_REPLY_BYTES, total_s)
    finally:
        exchange.close()


def require_stream(exchange: Exchange, classify: Classify, require_no_error: Callable[[bytes], None]) -> None:
    """Leave the exchange of a good event stream open; close any other, and raise what it means."""
    try:
        require_ok(exchange, classify)
        require_events(exchange, require_no_error)
    except BaseException:
        exchange.close()
        raise


def require_ok(exchange: Exchange, classify: Classify) -> None:
    """Raise what an answer means whose status is not 200."""
    if exchange.status == 200:
        return
    body = b""
    try:
        body = exchange.read_all(MAX_ERROR_BYTES, ERROR_BODY_S)
    except ProviderError:
        pass
    raise classify(exchange.status, exchange.headers, body)


def require_events(exchange: Exchange, require_no_error: Callable[[bytes], None]) -> None:
    """Refuse an answer that is no event stream; `require_no_error` raises what an error object in it means."""
    content_type = exchange.headers.get("Content-Type", "text/event-stream")
    if content_type.strip().lower().startswith("text/event-stream"):
        return
    exchange.progress.doubtful = False
    require_no_error(exchange.read_all(MAX_ERROR_BYTES, ERROR_BODY_S))
    raise ProviderTransient("the provider did not answer with an event stream", code="bad_response", status=200)
