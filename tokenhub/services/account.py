"""The books of one request: rooms 4 and 7. Reserved before anything is sent, settled once on every way out.

The receipt is filled in on the way; `settle` writes it with the bill in one transaction. Where the state cannot
take it at that moment the `Backlog` keeps trying, so an answer that was paid for is neither lost nor unbilled.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from tokenhub.domain import cost, tokens
from tokenhub.domain.catalog import Model
from tokenhub.domain.chat import JsonObject, Usage
from tokenhub.domain.eligibility import Prepared
from tokenhub.domain.itinerary import Attempt
from tokenhub.domain.ports import Opening, Rate, Refused, State
from tokenhub.domain.receipt import AttemptRecord, Receipt, Status
from tokenhub.errors import ProviderError, TokenHubError, Unavailable

log = logging.getLogger(__name__)


class Backlog:
    """Settlements that the state could not take yet. Bounded: over `limit`, admission must stop (`is_full`)."""

    def __init__(self, state: State, limit: int = 10_000) -> None:
        self._state = state
        self._limit = limit
        self._waiting: deque[tuple[str, int, JsonObject]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether no more answers may be given out unsettled."""
        return len(self._waiting) >= self._limit

    def __len__(self) -> int:
        return len(self._waiting)

    def settle(self, decision_id: str, cost_nanousd: int, receipt: JsonObject) -> None:
        """Settle now, or as soon as the state is back."""
        try:
            if not self._state.settle(decision_id, cost_nanousd, receipt):
                # This worker was stopped so long that others took it for dead and settled for it.
                log.error("settled_elsewhere", extra={"decision_id": decision_id, "cost_nanousd": cost_nanousd})
        except Unavailable as error:
            self._waiting.append((decision_id, cost_nanousd, receipt))
            log.error("settlement_delayed", extra={"decision_id": decision_id, "why": error.code})

    def retry(self) -> int:
        """Try the waiting ones in order; gives how many went through. A job of each worker calls this."""
        done = 0
        while self._waiting:
            try:
                self._state.settle(*self._waiting[0])
            except Unavailable:
                break
            self._waiting.popleft()
            done += 1
        return done


class Account:
    """One request's reservation, attempts and bill."""

    def __init__(self, state: State, backlog: Backlog, receipt: Receipt, started: float) -> None:
        """`started`: time.monotonic() when the request came in."""
        self.receipt = receipt
        self.started = started
        self._state = state
        self._backlog = backlog
        self._kept_nanousd = 0
        self._is_open = False
        self._model: Model | None = None
        self._attempt_started = started

    # room 4 ------------------------------------------------------------

    def admit(self, attempt: Attempt | None, rates: tuple[Rate, ...]) -> Refused | None:
        """Reserve for the first attempt and open the record. `attempt` None opens it with nothing reserved, for a
        request that is refused but shall be in the log."""
        if self._backlog.is_full:
            raise Unavailable("the books cannot be kept at the moment", code="ledger_unavailable")
        refused = self._state.admit(
            Opening(
                decision_id=self.receipt.id,
                key_id=self.receipt.caller.key.id,
                key_version=self.receipt.caller.key.version,
                reserve_nanousd=attempt.candidate.bound_nanousd if attempt else 0,
                doubtful_nanousd=self._doubtful(attempt) if attempt else 0,
                receipt=self.receipt.as_opening(),
                rates=rates,
            )
        )
        self._is_open = refused is None
        return refused

    def advance(self, failed: AttemptRecord, following: Attempt) -> Refused | None:
        """After a failure: keep what the failed attempt may still cost, reserve the next."""
        return self._state.advance(
            self.receipt.id,
            keep_nanousd=failed.kept_nanousd,
            reserve_nanousd=following.candidate.bound_nanousd,
            doubtful_nanousd=self._doubtful(following),
            receipt=self.receipt.as_opening(),
        )

    def begin(self, attempt: Attempt) -> AttemptRecord:
        """Note that an attempt is sent now."""
        self._model = attempt.target.model
        self._attempt_started = time.monotonic()
        self.receipt.upstream_model = self._model.upstream_name
        return self.receipt.attempted(attempt)

    def fail(self, record: AttemptRecord, failure: ProviderError) -> None:
        """Note that the attempt failed, and what its provider may charge for it all the same."""
        if failure.doubtful:
            self._keep(record)
        self.receipt.failed(record, failure, elapsed_ms(self._attempt_started))

    # room 7 ------------------------------------------------------------

    def answered(self, record: AttemptRecord, usage: Usage) -> None:
        """Settle a complete answer."""
        record.outcome = "ok"
        self._close("ok", 200, usage)

    def broken(self, record: AttemptRecord, usage: Usage | None, error: TokenHubError, status: Status) -> None:
        """Settle an answer that ended early, after (part of) it was delivered; `usage` None: nothing was."""
        if record.outcome == "pending":
            record.outcome, record.message = error.code, error.message[:500]
            record.blame = error.blame if isinstance(error, ProviderError) else ""
        self._note(error)
        self._close(status, 200, usage)

    def refused(self, error: TokenHubError, status_code: int) -> None:
        """Settle a request that got no answer; only what doubtful attempts may have cost is charged."""
        self._note(error)
        self._close("error", status_code, None)

    def abandon(self, error: TokenHubError, status_code: int) -> None:
        """Settle when the request ends in the middle of an attempt: the attempt may have cost its input."""
        last = self.receipt.answered_by
        if self._is_open and last is not None and last.outcome == "pending":
            last.outcome = error.code
            self._keep(last)
        self._note(error)
        self._close("cancelled", status_code, None)

    # ------------------------------------------------------------------

    def _note(self, error: TokenHubError) -> None:
        self.receipt.error_code, self.receipt.error_message = error.code, error.message[:1000]

    def _close(self, status: Status, status_code: int, usage: Usage | None) -> None:
        if not self._is_open:
            return
        self._is_open = False
        receipt = self.receipt
        receipt.status, receipt.status_code, receipt.usage = status, status_code, usage
        receipt.latency_ms = elapsed_ms(self.started)
        price = self._model.price if self._model else None
        receipt.price_known = self._model is None or price is not None
        receipt.cost_nanousd = self._kept_nanousd + (cost.settle_nanousd(price, usage) if usage else 0)
        last = receipt.answered_by
        if last is not None and not last.latency_ms:
            last.latency_ms = elapsed_ms(self._attempt_started)
        self._backlog.settle(receipt.id, receipt.cost_nanousd, receipt.as_json())

    def _keep(self, record: AttemptRecord) -> None:
        if self._model is not None and self.receipt.prepared is not None:
            record.kept_nanousd = _input_cost(self.receipt.prepared, self._model)
            self._kept_nanousd += record.kept_nanousd

    def _doubtful(self, attempt: Attempt) -> int:
        return _input_cost(self.receipt.prepared, attempt.target.model) if self.receipt.prepared else 0


def elapsed_ms(since: float) -> int:
    """Milliseconds since a time.monotonic() reading."""
    return int((time.monotonic() - since) * 1000)


def _input_cost(prepared: Prepared, model: Model) -> int:
    return cost.settle_nanousd(model.price, Usage(input=prepared.input_tokens))


def believable(usage: Usage | None, prepared: Prepared, text_bytes: int, content_chunks: int) -> Usage:
    """The usage to bill: the provider's where it can be true, else our count, flagged, never below what went out."""
    if usage is not None and (usage.output > 0 or text_bytes == 0):
        return usage
    return Usage(
        input=prepared.input_tokens,
        output=max(content_chunks, tokens.estimate_bytes(text_bytes)),
        estimated=True,
    )
