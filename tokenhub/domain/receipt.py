"""The receipt: what happened to one request, written once. Logs, statistics and metrics are derived from it.

It is JSON all the way (money in integer nano-dollars), so that it travels unchanged through the state, the
outbox, the request log and `GET /v1/decisions/<id>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from tokenhub.domain.catalog import Model
from tokenhub.domain.chat import JsonObject, Usage
from tokenhub.domain.eligibility import Prepared, Rejection
from tokenhub.domain.itinerary import Attempt, Itinerary
from tokenhub.domain.keys import Caller
from tokenhub.domain.money import usd_text
from tokenhub.domain.ranking import listed
from tokenhub.errors import ProviderError

Status = Literal["ok", "error", "cancelled"]
"""cancelled: the caller left, or the server had to stop, before the end."""

MAX_CANDIDATES, MAX_REJECTED = 10, 100
"""How many are listed on a receipt, the best first; `candidates_total` and `rejected_total` count all of them."""


def timestamp(unix_ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC, the one form of time that leaves the server."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class AttemptRecord:
    """What came of one attempt. `kept_nanousd` is what a doubtful failure may still cost."""

    number: int
    model: str
    provider: str
    reason: str
    outcome: str = "pending"
    """"pending", "ok" or the failure's code."""
    status: int | None = None
    message: str = ""
    latency_ms: int = 0
    kept_nanousd: int = 0
    blame: str = ""
    """Whose doing a failure was: "caller", "target" or "provider"; "" where it was none, or came from outside."""

    def as_json(self) -> JsonObject:
        """The record as it stands on the receipt."""
        return {
            "number": self.number,
            "model": self.model,
            "provider": self.provider,
            "reason": self.reason,
            "outcome": self.outcome,
            "status": self.status,
            "message": self.message,
            "latency_ms": self.latency_ms,
            "kept_nanousd": self.kept_nanousd,
            "blame": self.blame,
        }


@dataclass(slots=True)
class Receipt:
    """Filled in while a request walks the rooms; `as_json()` is its one outside form."""

    id: str
    """Server-made, `dec_` + 32 hex."""
    request_id: str
    """The caller's x-request-id where it was usable, else ours. Never a key."""
    created_at_ms: int
    caller: Caller
    dialect: str
    stream: bool
    model_requested: str
    prepared: Prepared | None = None
    itinerary: Itinerary | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    status: Status = "error"
    status_code: int = 0
    error_code: str = ""
    error_message: str = ""
    usage: Usage | None = None
    cost_nanousd: int = 0
    price_known: bool = True
    upstream_model: str = ""
    latency_ms: int = 0
    ttft_ms: int | None = None
    not_forwarded: tuple[str, ...] = ()
    rejections: Sequence[Rejection] = ()
    """Why nothing was eligible, where there is no itinerary."""
    answering: Model | None = None
    """The model that answered, or the last one that was tried."""
    created_at: str = field(init=False)

    def __post_init__(self) -> None:
        self.created_at = timestamp(self.created_at_ms)

    def attempted(self, attempt: Attempt) -> AttemptRecord:
        """Note that an attempt starts; the record is completed by the dispatcher."""
        target = attempt.target
        record = AttemptRecord(attempt.number, target.model.id, target.provider.id, attempt.reason)
        self.attempts.append(record)
        self.answering = target.model
        return record

    def failed(self, record: AttemptRecord, failure: ProviderError, latency_ms: int) -> None:
        """Note how an attempt failed."""
        record.outcome, record.status, record.blame = failure.code, failure.status, failure.blame
        record.message, record.latency_ms = failure.message[:500], latency_ms

    @property
    def answered_by(self) -> AttemptRecord | None:
        """The attempt that answered, or the last one that tried."""
        return self.attempts[-1] if self.attempts else None

    def as_opening(self) -> JsonObject:
        """What is known while the request still runs: enough for a row if its worker dies. Small on purpose."""
        last = self.answered_by
        return {
            "id": self.id,
            "object": "decision",
            "request_id": self.request_id,
            "created_at": self.created_at,
            "created_at_ms": self.created_at_ms,
            "key_id": self.caller.key.id,
            "key_name": self.caller.key.name,
            "dialect": self.dialect,
            "stream": self.stream,
            "model_requested": self.model_requested,
            "model": last.model if last else "",
            "provider": last.provider if last else "",
        }

    def as_json(self) -> JsonObject:
        """The receipt as stored and shown. Money: `cost_nanousd` is exact, `cost_usd` the same as decimal text."""
        last = self.answered_by
        usage = self.usage or Usage()
        told = self.as_opening()
        told |= {
            "status": self.status,
            "status_code": self.status_code,
            "error_code": self.error_code,
            "error_message": self.error_message,
            "upstream_model": self.upstream_model,
            "reason": last.reason if last else "",
            "usage": {
                "input_tokens": usage.input,
                "output_tokens": usage.output,
                "cache_read_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_write,
                "cache_write_1h_tokens": usage.cache_write_1h,
                "reasoning_tokens": usage.reasoning,
                "estimated": usage.estimated,
            },
            "cost_nanousd": self.cost_nanousd,
            "cost_usd": usd_text(self.cost_nanousd) if self.price_known else None,
            "price": self._price(),
            "latency_ms": self.latency_ms,
            "ttft_ms": self.ttft_ms,
            "not_forwarded": list(self.not_forwarded),
            "attempts": [record.as_json() for record in self.attempts],
        }
        return told | self._asked() | self._routed()

    def _price(self) -> JsonObject | None:
        """What the model that answered costs for so much input, and who says so; None where no price is known."""
        model = self.answering
        if model is None or model.price is None:
            return None
        price = model.price.at(self.usage.input if self.usage else 0)
        return {
            "source": model.price_source,
            "input_per_1m_nanousd": price.input,
            "output_per_1m_nanousd": price.output,
        }

    def _asked(self) -> JsonObject:
        prepared = self.prepared
        if prepared is None:
            return {"policy": {}, "input_tokens_estimated": 0, "max_output_tokens": None, "choices": 1}
        return {
            "policy": prepared.policy.as_json(),
            "input_tokens_estimated": prepared.input_tokens,
            "max_output_tokens": prepared.command.max_output_tokens,
            "choices": prepared.command.choices,
        }

    def _routed(self) -> JsonObject:
        route = self.itinerary or Itinerary((), self.rejections)
        return {
            "hint": route.hint.kind,
            "candidates": listed(route.candidates, MAX_CANDIDATES),
            "candidates_total": len(route.candidates),
            "rejected": [rejection.as_json() for rejection in route.rejections[:MAX_REJECTED]],
            "rejected_total": len(route.rejections),
            "set_aside": list(route.set_aside),
            "clamped": {name: list(asked_and_used) for name, asked_and_used in route.clamped.items()},
        }
