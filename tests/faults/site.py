"""Where a row happens: an upstream, gateways of four workers, and their books, read from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from tests.e2e.harness import ROOT, Gateway, Key
from tests.factories import JsonObject, chat_body, model_entry, provider_entry
from tests.faults.load import Got, Load
from tests.upstream.process import UpstreamProcess

WORKERS = 4
MODELS = ("ok", "slow-300", "slow-50-10", "slow-100-30", "slow-200-100", "slow-500-200", "slow-400-20", "slow-500-80")
MIXED = [
    chat_body("slow-300"),
    chat_body("slow-300"),
    chat_body("slow-50-10", stream=True),
    chat_body("slow-300"),
    chat_body("slow-300"),
    chat_body("slow-100-30", stream=True),
    chat_body("slow-300"),
]
"""Seven requests of which two are streams."""


class Skipped(Exception):
    """A row that cannot be tried here. `is_excused`: for want of a program that the project does not install."""

    def __init__(self, why: str, *, is_excused: bool = False) -> None:
        super().__init__(why)
        self.is_excused = is_excused


class Site:
    """Starts what a row needs, with an upstream of its own, and ends it with `close`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = UpstreamProcess()
        self._gateways: list[Gateway] = []
        self._processes: list[subprocess.Popen[str]] = []

    def catalogue(self, *more: JsonObject) -> JsonObject:
        """One provider and the models that rows ask for; nothing fails over."""
        return {
            "providers": [provider_entry("alpha", self.upstream.url)],
            "models": [*(model_entry(name, weight=100 if name == "ok" else 1) for name in MODELS), *more],
        }

    def gateway(
        self,
        *arguments: str,
        credentials: JsonObject | None = None,
        folder: Path | None = None,
        extra: Mapping[str, str] | None = None,
        **settings: str,
    ) -> Gateway:
        """A running gateway; `arguments` go to gunicorn, `settings` are TOKENHUB_<name>, `extra` other variables."""
        if folder is None:
            folder = self.folder / f"gateway{len(self._gateways)}"
            folder.mkdir()
        env = {"TOKENHUB_WORKERS": str(WORKERS), **{f"TOKENHUB_{name}": text for name, text in settings.items()}}
        env |= extra or {}
        made = Gateway(folder, credentials or self.catalogue(), env, arguments)
        self._gateways.append(made)
        return made

    def process(self, *arguments: str) -> subprocess.Popen[str]:
        """A Python process beside the gateway, that says a line when it is ready."""
        made = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        self._processes.append(made)
        assert made.stdout is not None
        assert made.stdout.readline().strip() == "ready"
        return made

    def close(self) -> None:
        """End everything that still runs, and look for tracebacks."""
        for process in self._processes:
            process.kill()
            process.communicate()
        for gateway in self._gateways:
            if gateway.process.poll() is None:
                gateway.stop()
        crashes = self.upstream.books()["crashes"]
        self.upstream.stop()
        for gateway in self._gateways:
            gateway.fail_on_new_tracebacks()
        assert crashes == []


def load(gateway: Gateway, key: Key, clients: int, bodies: Sequence[JsonObject] = MIXED, **options: Any) -> Load:
    """A load on a gateway."""
    return Load(gateway.port, key.secret, bodies, clients, **options)


def budgeted_key(gateway: Gateway) -> Key:
    """A key whose budget is never used up, so that each of its requests reserves and settles."""
    return gateway.new_key("load", monthly_budget_usd=100_000)


# ---------------------------------------------------------------- the books


class Books:
    """What a gateway has written, read from its files, whether it runs or not."""

    def __init__(self, data: Path, database: Path | None = None) -> None:
        self._database, self._state = database or data / "tokenhub.sqlite", data / "state.sqlite"

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of the state."""
        connection = apsw.Connection(str(self._state), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(2000)
            return connection.execute(statement, parameters).fetchall()
        finally:
            connection.close()

    def rows(self) -> dict[str, list[JsonObject]]:
        """Receipts by the caller's request id; those that are in the log and those on their way to it, each once."""
        # The outbox first: what leaves it meanwhile is in the log then.
        waiting = [json.loads(receipt) for (receipt,) in self.ask("SELECT receipt FROM outbox")]
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as database:
            logged = [json.loads(text) for (text,) in database.execute("SELECT receipt FROM request_log")]
        found: dict[str, list[JsonObject]] = defaultdict(list)
        for receipt in {receipt["id"]: receipt for receipt in [*waiting, *logged]}.values():
            found[receipt["request_id"]].append(receipt)
        return found

    def open(self) -> int:
        """Requests that are admitted and not settled."""
        return int(self.ask("SELECT count(*) FROM requests")[0][0])

    def outbox(self) -> int:
        """Receipts that are not in the log yet."""
        return int(self.ask("SELECT count(*) FROM outbox")[0][0])

    def drift_nanousd(self, key: Key) -> int:
        """By how much what is spent and reserved differs from the sum of the key's receipts."""
        total = (
            "SELECT coalesce(sum(spent_nanousd), 0) + coalesce(sum(reserved_nanousd), 0) FROM budgets WHERE key_id = ?"
        )
        billed = sum(row["cost_nanousd"] for rows in self.rows().values() for row in rows if row["key_id"] == key.id)
        return int(self.ask(total, key.id)[0][0]) - billed

    def check(self) -> None:
        """AssertionError where one of the files is damaged."""
        assert self.ask("PRAGMA integrity_check") == [("ok",)]
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def wait_until_closed(self, within_s: float) -> float:
        """Wait until no request is open; gives how long that took."""
        started = time.monotonic()
        while self.open():
            took = time.monotonic() - started
            assert took < within_s, f"{self.open()} requests are still open after {took:.0f} s"
            time.sleep(0.1)
        return time.monotonic() - started


def check_books(books: Books, key: Key, got: Sequence[Got], upstream: UpstreamProcess, mark: int) -> None:
    """Every answer has exactly its row, every call that reached the upstream has one, and the budget is exact."""
    rows = books.rows()
    many = {request_id: len(found) for request_id, found in rows.items() if request_id and len(found) != 1}
    assert not many, f"more than one row: {many}"
    lost = [answer.request_id for answer in got if answer.outcome in ("ok", "event") and answer.request_id not in rows]
    assert not lost, f"answers without a row: {lost[:10]}"
    wrong = [a.request_id for a in got if a.outcome == "ok" and rows[a.request_id][0]["status"] != "ok"]
    assert not wrong, f"answers whose row is not ok: {wrong[:10]}"
    calls = Counter(call["request_id"] for call in upstream.calls(mark))
    assert not set(calls) - set(rows), f"calls without a row: {list(set(calls) - set(rows))[:10]}"
    assert books.open() == 0
    assert books.drift_nanousd(key) == 0
    books.check()


# ---------------------------------------------------------------- the watchdog, memory, signals

STALL_S = 0.05
STALLS = re.compile(r'^tokenhub_hub_stall_seconds_bucket\{le="([0-9.+Inf]+)"\} (\S+)$', re.MULTILINE)


class Watchdog:
    """What the workers' watchdogs saw since this was made."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._before = self._read()

    def _read(self) -> dict[float, float]:
        text = self._gateway.get("/metrics").body.decode()
        return {float(bound): float(count) for bound, count in STALLS.findall(text)}

    def stalls(self) -> dict[float, int]:
        """How many stalls were at most so many seconds long, each counted once, at its lowest bound."""
        now = self._read()
        found, below = {}, 0
        for bound in sorted(now):
            total = int(now[bound] - self._before.get(bound, 0))
            if total > below:
                found[bound] = total - below
            below = total
        return found

    def check(self) -> str:
        """AssertionError where a hub stood still for STALL_S or longer; gives a bound of the longest stall."""
        found = self.stalls()
        assert not [bound for bound in found if bound > STALL_S], (
            f"hubs stood still, by upper bound in seconds: {found}"
        )
        return f"hub stalls < {max(found, default=0.005) * 1000:.0f} ms"


def kill_everything(gateway: Gateway) -> None:
    """SIGKILL to master and workers, and wait until they are gone."""
    pids = gateway.worker_pids()
    for pid in [gateway.process.pid, *pids]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    gateway.process.wait()
    while any(Path(f"/proc/{pid}/stat").exists() for pid in pids):
        time.sleep(0.01)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, of this size, mounted on a new folder. Raises Skipped where we may not mount."""
    folder.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=0700"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room, also for what was just given back."""
    with path.open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 512):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
