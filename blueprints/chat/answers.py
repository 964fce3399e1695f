"""What all doors do with a command once it is read: have it answered, and give out the answer and its receipt.

How an answer is written in a dialect is not here: openai_out.py, anthropic_out.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import orjson
from flask import Response, request

from blueprints.headers import request_id
from blueprints.lean import LeanAnswer, json_answer
from blueprints.services import Departure, services
from tokenhub.domain.chat import ChatCommand, Chunk, JsonObject, Usage
from tokenhub.domain.keys import Caller
from tokenhub.domain.policy import TABLE
from tokenhub.domain.receipt import Receipt
from tokenhub.errors import Interruption, ProviderError, TokenHubError
from tokenhub.services.chat import ChatResult, ChatStream

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",
    "Cache-Control": "no-cache",
}

POLICY_HEADERS = tuple(
    (f"HTTP_{knob.header.upper().replace('-', '_')}", knob.name) for knob in TABLE if "header" in knob.levels
)
"""Where the WSGI environment has the policy that a caller sets in headers, and which rows of the table they set."""


class Writer(Protocol):
    """Writes one streamed answer in a dialect. Each method gives whole events, ready to be sent."""

    def write(self, chunk: Chunk) -> bytes:
        """What a chunk adds to the answer; empty where that is nothing yet."""

    def end(self, usage: Usage | None) -> bytes:
        """What follows the last chunk. `usage` is what is billed."""

    def broken(self, error: TokenHubError) -> bytes:
        """That the answer ends here and is not complete."""


def answer(
    command: ChatCommand, caller: Caller, writer: Callable[[ChatStream, ChatCommand], Writer]
) -> ChatResult | Response:
    """Let the command be answered: a whole result, or the response that streams it. Ends where the caller leaves."""
    environ, known = request.environ, services()
    command.policy_headers = {name: environ[key] for key, name in POLICY_HEADERS if key in environ}
    line = known.departures.watch(environ)
    try:
        if command.stream:
            stream = known.chat.stream(command, caller, request_id(environ), line)
            return _present_stream(EventStream(stream, writer(stream, command), line), stream.receipt)
        result = known.chat.complete(command, caller, request_id(environ), line)
    except BaseException:
        line.close()
        raise
    line.close()
    return result


def present(body: JsonObject, receipt: Receipt) -> Response:
    """A whole answer as a response."""
    return json_answer(orjson.dumps(body), receipt_headers(receipt))


def receipt_headers(receipt: Receipt) -> dict[str, str]:
    """Who answered and why; on every answer that a model gave."""
    last = receipt.attempts[-1]
    headers = {
        "x-tokenhub-model": header_value(last.model),
        "x-tokenhub-provider": header_value(last.provider),
        "x-tokenhub-decision-id": receipt.id,
        "x-tokenhub-reason": header_value(last.reason),
        "X-Negotiated-Model": header_value(last.model),
    }
    if receipt.itinerary is not None and receipt.itinerary.hint.kind == "unknown":
        headers["x-tokenhub-hint"] = "unknown"
    if receipt.not_forwarded:
        headers["x-tokenhub-not-forwarded"] = header_value(", ".join(receipt.not_forwarded))
    return headers


def header_value(text: str) -> str:
    """Text that is safe in a header: Latin-1 without control characters, anything else as `?`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace").decode("latin-1")


def _present_stream(events: EventStream, receipt: Receipt) -> Response:
    return LeanAnswer(events, {**SSE_HEADERS, **receipt_headers(receipt)})


class EventStream:
    """A chat stream's events as bytes. Closing it closes the line and the stream, wherever that is."""

    def __init__(self, stream: ChatStream, writer: Writer, line: Departure) -> None:
        self._stream = stream
        self._line = line
        self._events = self._read(writer)

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        """Give up what has not been read."""
        self._line.close()
        self._stream.close()

    def _read(self, writer: Writer) -> Iterator[bytes]:
        write = writer.write
        waiting = b""
        try:
            for chunk in self._stream:
                waiting += write(chunk)
                if waiting and not chunk.has_follower:  # What arrived together leaves in one piece.
                    yield waiting
                    waiting = b""
        except (ProviderError, Interruption) as error:
            self._line.close()
            yield waiting + writer.broken(error)
            return
        self._line.close()
        yield waiting + writer.end(self._stream.usage)
