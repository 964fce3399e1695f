"""The upstream's own books: one entry for each call that it saw."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Call:
    """One call. `usage` is the honest count, `reported` the JSON text of what was said instead (None: nothing)."""

    sequence: int
    connection: int
    path: str
    model: str = ""
    stream: bool = False
    request_id: str = ""
    authorization_sha256: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """All of them, lower case, without authorization."""
    body_bytes: int = 0
    body_sha256: str = ""
    status: int = 0
    usage: dict[str, int] | None = None
    """prompt, completion and cached tokens of a whole answer."""
    reported: str | None = None
    events: int = 0
    content_chunks: int = 0
    """Events really sent in which the model wrote something."""
    bytes_sent: int = 0
    outcome: str = "open"
    """"open", "answered", "refused" (an error status), "broken" (on purpose), "client_gone"."""
    client_gone_after_ms: int | None = None
    """When the client closed before the answer was complete; None if it did not."""
    started: float = field(default_factory=time.monotonic)

    def gone(self) -> None:
        """Note that the client closed before the end."""
        if self.outcome == "open":
            self.client_gone_after_ms = int((time.monotonic() - self.started) * 1000)
            self.outcome = "client_gone"


class Ledger:
    """All calls since the last reset."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self.followed_redirects = 0
        self.crashes: list[str] = []
        self._sequence = 0

    def open(self, connection: int, path: str, headers: dict[str, str], body: bytes) -> Call:
        """A call comes in."""
        self._sequence += 1
        credential = headers.get("authorization", "")
        call = Call(
            sequence=self._sequence,
            connection=connection,
            path=path,
            request_id=headers.get("x-request-id", ""),
            authorization_sha256=hashlib.sha256(credential.encode()).hexdigest() if credential else "",
            headers={name: value for name, value in headers.items() if name != "authorization"},
            body_bytes=len(body),
            body_sha256=hashlib.sha256(body).hexdigest(),
        )
        self.calls.append(call)
        return call

    def reset(self) -> None:
        """Forget everything; sequence numbers go on."""
        self.calls.clear()
        self.crashes.clear()
        self.followed_redirects = 0

    def as_json(self, after: int = 0) -> dict[str, Any]:
        """The books; of the calls, those with a sequence number above `after`."""
        return {
            "calls": [asdict(call) for call in self.calls if call.sequence > after],
            "sequence": self._sequence,
            "connections": self.connections,
            "followed_redirects": self.followed_redirects,
            "crashes": self.crashes,
        }
