"""The upstream's own books: one entry for each call that it saw."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, field
from typing import Any

KEPT_BODY_BYTES = 65536
_CREDENTIALS = ("authorization", "x-api-key")


@dataclass
class Call:
    """One call. `usage` is the honest count, `reported` the JSON text of what was said instead (None: nothing)."""

    sequence: int
    connection: int
    path: str
    dialect: str = ""
    model: str = ""
    stream: bool = False
    request_id: str = ""
    credential: str = ""
    """The header that it came in: "authorization", "x-api-key" or "" for none."""
    authorization_sha256: str = ""
    """Of the credential, whichever header it came in."""
    headers: dict[str, str] = field(default_factory=dict)
    """All of them, lower case, without the credentials."""
    body: dict[str, Any] | None = None
    """The parsed body; None where it is larger than KEPT_BODY_BYTES, or no JSON object."""
    images: int = 0
    complaint: str = ""
    """Why the request is not as the real API wants it; it was answered with an error then, whatever the script."""
    body_bytes: int = 0
    body_sha256: str = ""
    status: int = 0
    usage: dict[str, int] | None = None
    """prompt, completion, cached, cache_write and reasoning tokens of a whole answer."""
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
        held_in = next((name for name in _CREDENTIALS if headers.get(name)), "")
        credential = headers.get(held_in, "")
        call = Call(
            sequence=self._sequence,
            connection=connection,
            path=path,
            request_id=headers.get("x-request-id", ""),
            credential=held_in,
            authorization_sha256=hashlib.sha256(credential.encode()).hexdigest() if credential else "",
            headers={name: value for name, value in headers.items() if name not in _CREDENTIALS},
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
