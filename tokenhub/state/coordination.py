"""How workers find each other: who is alive, who holds which lease, which catalog is current, the sealed provider keys,
the settings that a reload changes.

Liveness is told by uptime, never by the wall clock. Money and requests are in `ledger.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tokenhub.state.driver import Driver, Execute

EARLIER_BOOT_MS = 60_000
"""Uptime written down that is further in the future than this is from before the machine started."""
SILENCE_MS = 10_000
"""Longer than workers are silent who can reach the state: they say that they are alive every 5 s."""

_EPOCH = "SELECT value FROM meta WHERE name = 'epoch'"
_MOVE_EPOCH = "UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value"
_PROVIDER_KEYS = "SELECT provider_id, sealed FROM provider_keys"
_PUT_PROVIDER_KEY = """INSERT INTO provider_keys (provider_id, sealed) VALUES (?, ?)
    ON CONFLICT (provider_id) DO UPDATE SET sealed = excluded.sealed"""
_DROP_PROVIDER_KEY = "DELETE FROM provider_keys WHERE provider_id = ?"
_SETTINGS = "SELECT name, value FROM settings"
_CLEAR_SETTINGS = "DELETE FROM settings"
_PUT_SETTING = "INSERT INTO settings (name, value) VALUES (?, ?)"
_LEASE = """INSERT INTO leases (name, holder, renewed_ms, expires_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE
    SET holder = excluded.holder, renewed_ms = excluded.renewed_ms, expires_ms = excluded.expires_ms
    WHERE leases.holder = excluded.holder OR leases.expires_ms <= ? OR leases.renewed_ms > ? RETURNING holder"""
_ALIVE = """INSERT INTO workers (worker_id, pid, renewed_ms, expires_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (worker_id) DO UPDATE
    SET pid = excluded.pid, renewed_ms = excluded.renewed_ms, expires_ms = excluded.expires_ms"""
_HEARD = "SELECT name, value FROM meta WHERE name IN ('heard_ms', 'heard_since_ms')"
_NOTE = """INSERT INTO meta (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
# A dead worker's row stays until its records are reconciled. Stale rates are those that allow a full burst again.
_SWEEP_WORKERS = """DELETE FROM workers WHERE (expires_ms <= ? OR renewed_ms > ?)
    AND NOT EXISTS (SELECT 1 FROM requests WHERE requests.worker_id = workers.worker_id)"""
_SWEEP_LEASES = "DELETE FROM leases WHERE expires_ms <= ? OR renewed_ms > ?"
_STALE_RATES = "SELECT name FROM rates WHERE tat_ns < ? LIMIT ?"
_SWEEP_RATE = "DELETE FROM rates WHERE name = ? AND tat_ns < ?"
_SWEPT = """INSERT INTO meta (name, value) VALUES ('swept', 1)
    ON CONFLICT (name) DO UPDATE SET value = meta.value + 1"""


class Coordination:
    """Leases, workers, the epoch and provider keys, over any driver."""

    def __init__(self, driver: Driver, uptime_ms: Callable[[], int]) -> None:
        self._driver = driver
        self._uptime_ms = uptime_ms

    def epoch(self) -> int:
        """The catalog epoch: grows with every change of providers, models, their keys or server-wide settings."""
        return int(self._driver.read(_EPOCH)[0][0])

    def move_epoch(self) -> int:
        """Tell all workers to read the catalog again; gives the new epoch."""
        return self._driver.write(_move_epoch)

    def provider_keys(self) -> Mapping[str, bytes]:
        """Sealed provider keys by provider id."""
        return {provider_id: bytes(sealed) for provider_id, sealed in self._driver.read(_PROVIDER_KEYS)}

    def put_provider_key(self, provider_id: str, sealed: bytes) -> None:
        """Store or replace a sealed key and move the epoch."""

        def work(execute: Execute) -> None:
            execute(_PUT_PROVIDER_KEY, (provider_id, sealed))
            _move_epoch(execute)

        self._driver.write(work)

    def drop_provider_key(self, provider_id: str) -> None:
        """Forget a key, if there is one, and move the epoch."""

        def work(execute: Execute) -> None:
            execute(_DROP_PROVIDER_KEY, (provider_id,))
            _move_epoch(execute)

        self._driver.write(work)

    def settings(self) -> Mapping[str, str]:
        """What a reload may change, as the master read it last: variable -> its text."""
        return {name: value for name, value in self._driver.read(_SETTINGS)}

    def put_settings(self, texts: Mapping[str, str]) -> None:
        """Replace all of them and move the epoch."""

        def work(execute: Execute) -> None:
            execute(_CLEAR_SETTINGS, ())
            for item in texts.items():
                execute(_PUT_SETTING, item)
            _move_epoch(execute)

        self._driver.write(work)

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a named lease; False while somebody else holds it. 0 seconds give it back."""

        def work(execute: Execute) -> bool:
            now = self._uptime_ms()
            until = now + int(seconds * 1000)
            return bool(execute(_LEASE, (name, holder, now, until, now, now + EARLIER_BOOT_MS)))

        return self._driver.write(work)

    def alive(self, worker_id: str, pid: int, seconds: float) -> None:
        """Renew this worker's row; it counts as dead `seconds` after."""

        def work(execute: Execute) -> None:
            now = self._uptime_ms()
            if _is_silent(dict(execute(_HEARD, ())), now):
                execute(_NOTE, ("heard_since_ms", now))
            execute(_NOTE, ("heard_ms", now))
            execute(_ALIVE, (worker_id, pid, now, now + int(seconds * 1000)))

        self._driver.write(work)


def everyone_was_heard(execute: Execute, now_ms: int) -> bool:
    """Whether a worker that lives must have said so by now: after an outage of the state the rows of all are old."""
    heard: dict[str, int] = dict(execute(_HEARD, ()))
    return not heard or not (_is_silent(heard, now_ms) or now_ms - heard["heard_since_ms"] < SILENCE_MS)


def _is_silent(heard: Mapping[str, int], now_ms: int) -> bool:
    heard_ms = heard.get("heard_ms")
    return heard_ms is None or not 0 <= now_ms - heard_ms <= SILENCE_MS


def sweep(driver: Driver, uptime_ms: int, limit: int = 1000) -> None:
    """Delete what says nothing any more: expired leases and workers, at most `limit` idle rates. Always writes."""
    tat_ns = uptime_ms * 1_000_000
    # Found outside the transaction: a scan of many rates must not keep the workers from writing.
    stale = driver.read(_STALE_RATES, (tat_ns, limit))

    def work(execute: Execute) -> None:
        execute(_SWEPT, ())
        execute(_SWEEP_LEASES, (uptime_ms, uptime_ms + EARLIER_BOOT_MS))
        execute(_SWEEP_WORKERS, (uptime_ms, uptime_ms + EARLIER_BOOT_MS))
        for (name,) in stale:
            execute(_SWEEP_RATE, (name, tat_ns))

    driver.write(work)


def _move_epoch(execute: Execute) -> int:
    return int(execute(_MOVE_EPOCH, ())[0][0])
