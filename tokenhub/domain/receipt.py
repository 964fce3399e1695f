"""The receipt: what happened to one request, written once. Logs, statistics and metrics are derived from it.

It is JSON all the way (money in integer nano-dollars), so that it travels unchanged through the state, the
outbox, the request log and `GET /v1/decisions/<id>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tokenhub.domain.chat import JsonObject, Usage
from tokenhub.domain.eligibility import Prepared, Rejection
from tokenhub.domain.itinerary import Attempt, Itinerary
from tokenhub.domain.keys import Caller
from tokenhub.domain.money import usd_text
from tokenhub.errors import ProviderError

Status = Literal["ok", "error", "cancelled"]
"""cancelled: the caller left, or the server had to stop, before the end."""

MAX_CANDIDATES, MAX_REJECTED = 20, 100
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

    def as_json(self) -> JsonObject:
        """The record as it stands on the receipt."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


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
    rejections: list[Rejection] = field(default_factory=list)
    """Why nothing was eligible, where there is no itinerary."""

    def attempted(self, attempt: Attempt) -> AttemptRecord:
        """Note that an attempt starts; the record is completed by the dispatcher."""
        target = attempt.target
        record = AttemptRecord(attempt.number, target.model.id, target.provider.id, attempt.reason)
        self.attempts.append(record)
        return record

    def failed(self, record: AttemptRecord, failure: ProviderError, latency_ms: int) -> None:
        """Note how an attempt failed."""
        record.outcome, record.status = failure.code, failure.status
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
            "created_at": timestamp(self.created_at_ms),
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
        return {
            **self.as_opening(),
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
                "reasoning_tokens": usage.reasoning,
                "estimated": usage.estimated,
            },
            "cost_nanousd": self.cost_nanousd,
            "cost_usd": usd_text(self.cost_nanousd) if self.price_known else None,
            "latency_ms": self.latency_ms,
            "ttft_ms": self.ttft_ms,
            "not_forwarded": list(self.not_forwarded),
            "attempts": [record.as_json() for record in self.attempts],
            **self._routing(),
        }

    def _routing(self) -> JsonObject:
        routing: dict[str, Any] = {"policy": {}, "input_tokens_estimated": 0, "candidates": [], "candidates_total": 0}
        if self.prepared is not None:
            routing["policy"] = {
                name: {"value": setting.value, "set_by": setting.set_by}
                for name, setting in self.prepared.policy.settings.items()
            }
            routing["input_tokens_estimated"] = self.prepared.input_tokens
        if self.itinerary is not None:
            routing["candidates"] = [
                {
                    "model": c.target.model.id,
                    "provider": c.target.provider.id,
                    "score": round(c.score, 6),
                    "estimated_cost_nanousd": c.estimate_nanousd,
                }
                for c in self.itinerary.candidates[:MAX_CANDIDATES]
            ]
            routing["candidates_total"] = len(self.itinerary.candidates)
        rejections = self.itinerary.rejections if self.itinerary is not None else self.rejections
        routing["rejected"] = [
            {"model": r.model_id, "provider": r.provider_id, "reason": r.reason, "detail": r.detail}
            for r in rejections[:MAX_REJECTED]
        ]
        routing["rejected_total"] = len(rejections)
        return routing
