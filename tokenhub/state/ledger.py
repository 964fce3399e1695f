"""The books: admit -> advance* -> settle, and what becomes of requests whose worker died. The SQL is written once here
and in its two neighbours, in words that SQLite and PostgreSQL both take; a driver runs it.

Each method is one transaction. Clocks are read inside it, so that whoever waited for the lock does not use old time.
No method waits for anything between the begin and the end of a transaction.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tokenhub.domain.chat import JsonObject
from tokenhub.domain.ports import Opening, Rate, Refused
from tokenhub.errors import Unavailable
from tokenhub.state.coordination import EARLIER_BOOT_MS, Coordination, everyone_was_heard
from tokenhub.state.driver import Driver, Execute
from tokenhub.state.key_table import KeyTable
from tokenhub.state.observations import ObservationTable
from tokenhub.state.receipts import decode, died, encode

USED_EVERY_MS = 60_000
"""How often `last_used_at_ms` of a key is written."""
UNKNOWN_WORKER_MS = 60_000
"""An open record of a worker that never said that it is alive is given up after this."""
NO_CAP = 2**62
"""Stands for "no budget" in statements; far above any sum of money, and a sum with it stays inside 64 bits."""
NS_PER_S, NS_PER_MS, MS_PER_DAY = 1_000_000_000, 1_000_000, 86_400_000

_ADMITTED_KEY = """SELECT version, enabled, expires_at_ms, monthly_budget_nanousd, budget_reset_at_ms, last_used_at_ms
    FROM api_keys WHERE id = ?"""
_USED = "UPDATE api_keys SET last_used_at_ms = ? WHERE id = ?"
_BUDGET_OF = "SELECT monthly_budget_nanousd FROM api_keys WHERE id = ?"
_RESET_OF = "SELECT budget_reset_at_ms FROM api_keys WHERE id = ?"

# GCRA: one row a name, the time at which it is fully free again. Beyond a whole window it is from an earlier boot.
_TAKE = """INSERT INTO rates (name, tat_ns) VALUES (?, ?) ON CONFLICT (name) DO UPDATE
    SET tat_ns = CASE WHEN rates.tat_ns < ? OR rates.tat_ns > ? THEN ? ELSE rates.tat_ns + ? END
    WHERE rates.tat_ns <= ? OR rates.tat_ns > ? RETURNING tat_ns"""
_READ_RATE = "SELECT tat_ns FROM rates WHERE name = ?"

_RESERVE = """UPDATE budgets SET reserved_nanousd = reserved_nanousd + ?
    WHERE key_id = ? AND period_at_ms = ? AND spent_nanousd + reserved_nanousd + ? <= ? RETURNING key_id"""
_FIRST_OF_PERIOD = """INSERT INTO budgets (key_id, period_at_ms, spent_nanousd, reserved_nanousd) VALUES (?, ?, 0, 0)
    ON CONFLICT (key_id, period_at_ms) DO NOTHING"""
_READ_BUDGET = "SELECT spent_nanousd, reserved_nanousd FROM budgets WHERE key_id = ? AND period_at_ms = ?"
_CHARGE = """UPDATE budgets SET spent_nanousd = spent_nanousd + ?, reserved_nanousd = reserved_nanousd - ?
    WHERE key_id = ? AND period_at_ms = ?"""

_OPEN = """INSERT INTO requests (decision_id, worker_id, opened_ms, key_id, period_at_ms, reserved_nanousd,
    kept_nanousd, doubtful_nanousd, receipt) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)"""
_READ_OPEN = "SELECT key_id, period_at_ms, reserved_nanousd, kept_nanousd FROM requests WHERE decision_id = ?"
_ADVANCE = """UPDATE requests SET reserved_nanousd = ?, kept_nanousd = ?, doubtful_nanousd = ?, receipt = ?
    WHERE decision_id = ?"""
_CLOSE = "DELETE FROM requests WHERE decision_id = ? RETURNING key_id, period_at_ms, reserved_nanousd"
_ORPHANS = """SELECT r.decision_id, r.kept_nanousd + r.doubtful_nanousd, r.receipt
    FROM requests AS r LEFT JOIN workers AS w ON w.worker_id = r.worker_id
    WHERE w.expires_ms <= ? OR w.renewed_ms > ? OR (w.worker_id IS NULL AND (r.opened_ms <= ? OR r.opened_ms > ?))
    LIMIT ?"""

_QUEUE = "INSERT INTO outbox (decision_id, settled_at_ms, receipt) VALUES (?, ?, ?)"
_OUTBOX = "SELECT receipt FROM outbox ORDER BY decision_id LIMIT ?"
_OUTBOX_ROWS = "SELECT count(*) FROM (SELECT 1 FROM outbox LIMIT ?) AS waiting"
_FORGET = "DELETE FROM outbox WHERE decision_id = ?"
_RECEIPT = """SELECT receipt, 0 FROM outbox WHERE decision_id = ?
    UNION ALL SELECT receipt, 1 FROM requests WHERE decision_id = ?"""


class _Refusal(Exception):
    """Leaves a transaction so that it is rolled back."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.reason)
        self.refused = refused


class Ledger(KeyTable, Coordination, ObservationTable):
    """The port `State`, over any driver."""

    def __init__(
        self, driver: Driver, *, worker_id: str, clock_ms: Callable[[], int], uptime_ms: Callable[[], int]
    ) -> None:
        """`clock_ms` is the wall clock; `uptime_ms` one that is never set, the same in all processes of the state."""
        KeyTable.__init__(self, driver)
        Coordination.__init__(self, driver, uptime_ms)
        ObservationTable.__init__(self, driver, clock_ms)
        self._worker_id = worker_id

    def admit(self, opening: Opening) -> Refused | None:
        """Check the key's version, take from the rates, reserve the budget, open the record: all, or nothing."""
        receipt = encode(opening.receipt)

        def work(execute: Execute) -> None:
            key_id, amount, now_ms = opening.key_id, opening.reserve_nanousd, self._clock_ms()
            cap, reset_ms, used_ms = _admitted_key(execute, opening, now_ms)
            uptime_ms = self._uptime_ms()
            _take_all(execute, opening.rates, uptime_ms)
            period_ms = _period_ms(now_ms, reset_ms)
            refused = _reserve(execute, key_id, period_ms, amount, cap)
            if refused is not None:
                raise _Refusal(refused)
            row = (opening.decision_id, self._worker_id, uptime_ms, key_id, period_ms, amount)
            execute(_OPEN, (*row, opening.doubtful_nanousd, receipt))
            if used_ms is None or not 0 <= now_ms - used_ms < USED_EVERY_MS:
                execute(_USED, (now_ms, key_id))

        return self._unless_refused(work)

    def advance(
        self,
        decision_id: str,
        *,
        keep_nanousd: int,
        reserve_nanousd: int,
        doubtful_nanousd: int,
        receipt: JsonObject,
    ) -> Refused | None:
        """After a failed attempt: keep what it may still cost, reserve the next. Refused ("budget", or "key_changed"
        for a key deleted meanwhile) leaves the reservation at what was kept.

        Raises Unavailable also where the record is gone: whoever gave this worker up has settled it.
        """
        as_json = encode(receipt)

        def work(execute: Execute) -> Refused | None:
            rows = execute(_READ_OPEN, (decision_id,))
            if not rows:
                raise Unavailable("the record of this request is closed", code="state_unavailable")
            key_id, period_ms, reserved, kept = rows[0]
            kept += keep_nanousd
            wanted, doubtful = kept + reserve_nanousd, doubtful_nanousd
            budget = execute(_BUDGET_OF, (key_id,))
            refused = Refused("key_changed", key_id) if not budget else None
            if refused is None:
                refused = _reserve(execute, key_id, period_ms, wanted - reserved, _cap(budget[0][0]))
            if refused is not None:
                wanted, doubtful = kept, 0
                _reserve(execute, key_id, period_ms, kept - reserved, NO_CAP)
            execute(_ADVANCE, (wanted, kept, doubtful, as_json, decision_id))
            return refused

        return self._driver.write(work)

    def settle(self, decision_id: str, cost_nanousd: int, receipt: JsonObject) -> bool:
        """Close the record: charge the cost, free the reservation, queue the receipt. False, and nothing done, if it
        was settled before."""
        as_json = encode(receipt)
        return self._driver.write(
            lambda execute: _settle(execute, decision_id, cost_nanousd, as_json, self._clock_ms())
        )

    def take(self, rates: Sequence[Rate]) -> Refused | None:
        """Take one from each rate, or none of them."""
        return self._unless_refused(lambda execute: _take_all(execute, rates, self._uptime_ms()))

    def receipt(self, decision_id: str) -> JsonObject | None:
        """A receipt that is settled but maybe not yet in the log, or the open record ("pending") of one running."""
        rows = self._driver.read(_RECEIPT, (decision_id, decision_id))
        if not rows:
            return None
        receipt, is_open = rows[0]
        return {**decode(receipt), "status": "pending"} if is_open else decode(receipt)

    def spend(self, key_ids: Sequence[str]) -> dict[str, int]:
        """Nano-dollars spent in the current period by key id (0 where nothing)."""
        now_ms = self._clock_ms()
        return {key_id: self._spent(key_id, now_ms) for key_id in key_ids}

    def outbox(self, limit: int) -> list[JsonObject]:
        """The oldest settled receipts that are not yet in the log."""
        return [decode(receipt) for (receipt,) in self._driver.read(_OUTBOX, (limit,))]

    def outbox_rows(self, limit: int) -> int:
        """How many receipts are not yet in the log, counted up to `limit`."""
        return int(self._driver.read(_OUTBOX_ROWS, (limit,))[0][0])

    def outbox_done(self, decision_ids: Sequence[str]) -> None:
        """Forget receipts that the log has."""

        def work(execute: Execute) -> None:
            for decision_id in decision_ids:
                execute(_FORGET, (decision_id,))

        self._driver.write(work)

    def reconcile(self, limit: int) -> int:
        """Settle at most `limit` open records of dead workers at what their reservation kept for doubtful attempts;
        gives how many. A worker that is alive is never touched, however slow; after an outage of the state none is,
        until all have had time to say that they live."""

        def work(execute: Execute) -> int:
            now, now_ms = self._uptime_ms(), self._clock_ms()
            if not everyone_was_heard(execute, now):
                return 0
            ahead = now + EARLIER_BOOT_MS
            orphans = execute(_ORPHANS, (now, ahead, now - UNKNOWN_WORKER_MS, ahead, limit))
            for decision_id, cost_nanousd, receipt in orphans:
                closing = encode(died(decode(receipt), cost_nanousd))
                _settle(execute, decision_id, cost_nanousd, closing, now_ms)
            return len(orphans)

        return self._driver.write(work)

    def close(self) -> None:
        """Give the connection up; the next call opens another."""
        self._driver.close()

    def _spent(self, key_id: str, now_ms: int) -> int:
        reset = self._driver.read(_RESET_OF, (key_id,))
        period_ms = _period_ms(now_ms, reset[0][0] if reset else None)
        rows = self._driver.read(_READ_BUDGET, (key_id, period_ms))
        return rows[0][0] if rows else 0

    def _unless_refused(self, work: Callable[[Execute], None]) -> Refused | None:
        try:
            self._driver.write(work)
        except _Refusal as refusal:
            return refusal.refused
        return None


def _admitted_key(execute: Execute, opening: Opening, now_ms: int) -> tuple[int, int | None, int | None]:
    """The budget's cap, its last reset and the last use of a key that may pass."""
    rows = execute(_ADMITTED_KEY, (opening.key_id,))
    if rows:
        version, enabled, expires_ms, budget, reset_ms, used_ms = rows[0]
        if version == opening.key_version and enabled and (expires_ms is None or expires_ms > now_ms):
            return _cap(budget), reset_ms, used_ms
    raise _Refusal(Refused("key_changed", opening.key_id))


def _cap(budget_nanousd: int | None) -> int:
    return NO_CAP if budget_nanousd is None else budget_nanousd


def _take_all(execute: Execute, rates: Sequence[Rate], uptime_ms: int) -> None:
    """Take one from each rate; a rate of 0 or less a second is no limit. Raises _Refusal."""
    now = uptime_ms * NS_PER_MS
    for rate in rates:
        if rate.per_s <= 0:
            continue
        step = -(-NS_PER_S // rate.per_s)
        window_end = now + step * max(rate.burst, 1)
        latest = window_end - step
        fresh = now + step
        if not execute(_TAKE, (rate.name, fresh, now, window_end, fresh, step, latest, window_end)):
            wait = execute(_READ_RATE, (rate.name,))[0][0] - latest
            # Whole milliseconds, upwards: the clock shows no less, and a caller who waits so long gets in.
            raise _Refusal(Refused("rate", rate.name, retry_after_s=-(-wait // NS_PER_MS) / 1000))


def _reserve(execute: Execute, key_id: str, period_ms: int, amount: int, cap: int) -> Refused | None:
    """Add to the reservation where the cap allows it. What adds nothing always fits, also over the cap."""
    limit = cap if amount > 0 else NO_CAP
    statement = (amount, key_id, period_ms, amount, limit)
    if execute(_RESERVE, statement):
        return None
    execute(_FIRST_OF_PERIOD, (key_id, period_ms))
    if execute(_RESERVE, statement):
        return None
    spent, reserved = execute(_READ_BUDGET, (key_id, period_ms))[0]
    return Refused("budget", key_id, remaining_nanousd=max(0, cap - spent - reserved))


def _settle(execute: Execute, decision_id: str, cost_nanousd: int, receipt: bytes, now_ms: int) -> bool:
    rows = execute(_CLOSE, (decision_id,))
    if not rows:
        return False
    key_id, period_ms, reserved = rows[0]
    execute(_CHARGE, (cost_nanousd, reserved, key_id, period_ms))
    execute(_QUEUE, (decision_id, now_ms, receipt))
    return True


def _period_ms(now_ms: int, reset_ms: int | None) -> int:
    """When the budget period of a moment began: with the month (UTC), or with a reset in it."""
    return max(_month_ms(now_ms // MS_PER_DAY), reset_ms or 0)


@functools.lru_cache(maxsize=8)
def _month_ms(day: int) -> int:
    """When the month of a day (counted from 1970, UTC) began."""
    first = datetime.fromtimestamp(day * MS_PER_DAY // 1000, UTC).replace(day=1)
    return int(first.timestamp()) * 1000
