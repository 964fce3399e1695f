"""Server-sent events, read incrementally from bytes (WHATWG rules). Knows nothing of what the events carry."""

from __future__ import annotations

from typing import NamedTuple

from tokenhub.errors import ProviderTransient

MAX_EVENT_BYTES = 1 << 20
MAX_STREAM_BYTES = 100 << 20
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. `data` has its lines joined by LF; `name` is "message" where none was given."""

    name: str
    data: bytes


class SseParser:
    """Feed it what arrives, get the events that are complete. An event cut off by the end is none, by the rules."""

    __slots__ = ("_max_event", "_max_total", "_pending", "_skip_lf", "_started", "_total")

    def __init__(self, max_event: int = MAX_EVENT_BYTES, max_total: int = MAX_STREAM_BYTES) -> None:
        self._max_event = max_event
        self._max_total = max_total
        self._pending = bytearray()
        self._total = 0
        self._skip_lf = False
        self._started = False

    def feed(self, data: bytes) -> list[Event]:
        """The events completed by `data`, in order. Raises ProviderTransient (bad_response) over a size cap."""
        self._total += len(data)
        if self._total > self._max_total:
            raise ProviderTransient(f"the stream is longer than {self._max_total} bytes", code="bad_response")
        if self._skip_lf or b"\r" in data:
            data = self._with_lf(data)
        pending = self._pending
        if not pending and data.endswith(b"\n\n"):
            return self._events(data)
        # What was there before has no end of event in it; only its last byte can be half of one.
        search_from = max(0, len(pending) - 1)
        pending += data
        end = pending.rfind(b"\n\n", search_from)
        events = []
        if end >= 0:
            complete = bytes(pending[:end])
            del pending[: end + 2]
            events = self._events(complete)
        if len(pending) > self._max_event:
            raise ProviderTransient(f"an event is longer than {self._max_event} bytes", code="bad_response")
        return events

    def _with_lf(self, data: bytes) -> bytes:
        """Make CRLF and CR into LF, also where CR and LF come in two reads."""
        if self._skip_lf and data:
            data = data.removeprefix(b"\n")
            self._skip_lf = False
        if data.endswith(b"\r"):
            self._skip_lf = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, complete: bytes) -> list[Event]:
        if not self._started:
            self._started = True
            complete = complete.removeprefix(_BOM)
        events: list[Event] = []
        for block in complete.split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(Event("message", block[6:]))
            elif block:
                events.extend(_parse(block))
        return events


def _parse(block: bytes) -> list[Event]:
    """The events of some whole lines. There is more than one only where blank lines come in odd numbers."""
    events: list[Event] = []
    name, data = "message", list[bytes]()
    for line in (*block.split(b"\n"), b""):
        if not line:
            if data:
                events.append(Event(name, b"\n".join(data)))
            name, data = "message", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace") or "message"
    return events
