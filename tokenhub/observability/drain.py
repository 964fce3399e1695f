"""Carries receipts from the outbox to the request log, and to what is derived from them. Never on the request path."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tokenhub.domain.chat import JsonObject
from tokenhub.domain.ports import RequestLog, State
from tokenhub.errors import Unavailable

log = logging.getLogger(__name__)

BATCH = 250
Sink = Callable[[Sequence[JsonObject]], object]


class Drain:
    """Moves receipts, oldest first. Whoever runs it holds the lease "drain"; two at once do no harm to the log.

    The log takes each receipt once, by its id, whatever is killed when. Sinks get a batch once the outbox has forgotten
    it, so never twice, however often a state that is locked makes the batch be moved again; a worker that is killed in
    that moment leaves them without it.
    """

    def __init__(self, state: State, request_log: RequestLog, sinks: Sequence[Sink]) -> None:
        self._state = state
        self._log = request_log
        self._sinks = sinks

    def run_once(self) -> int:
        """Move one batch; gives how many receipts. BATCH means that there may be more.

        Raises Unavailable where the database or the state is down: nothing is lost, the next run takes the same.
        """
        batch = self._state.outbox(BATCH)
        if not batch:
            return 0
        written = self._write_all(batch)
        self._state.outbox_done([receipt["id"] for receipt in written])
        for sink in self._sinks:
            try:
                sink(written)
            except Unavailable as failure:  # Of the state: the sink goes without this batch.
                log.warning("sink_skipped", extra={"reason": failure.code})
            except Exception:  # A recorder: a broken statistic must not hold up the books.
                log.exception("sink_failed")
        return len(written)

    def _write_all(self, batch: Sequence[JsonObject]) -> Sequence[JsonObject]:
        """Write the batch; if the log cannot take it, each receipt alone, so that one bad row stops only itself."""
        try:
            self._log.write(batch)
        except Unavailable:
            raise
        except Exception as failure:  # A recorder: whatever it is, it is told, and the row stays in the outbox.
            log.error("log_refused_batch", extra={"reason": type(failure).__name__})
            written = [receipt for receipt in batch if self._write_alone(receipt)]
            if not written:
                raise
            return written
        return batch

    def _write_alone(self, receipt: JsonObject) -> bool:
        try:
            self._log.write([receipt])
        except Unavailable:
            raise
        except Exception:  # As above.
            log.exception("log_refused_receipt", extra={"decision_id": receipt["id"]})
            return False
        return True
