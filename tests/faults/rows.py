"""The table of rows: what is injected, what is expected, how much of it is done fast and in full."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import death, reload, start, stop, stores
from tests.faults.site import Site


@dataclass(frozen=True)
class Row:
    """One row. `run` gives what was seen, raises AssertionError where it does not hold, Skipped where it cannot be
    tried here. `fast` None: only in full. `alone`: it watches for stalls, so nothing else may run meanwhile."""

    name: str
    injected: str
    expected: str
    run: Callable[..., str]
    fast: Mapping[str, Any] | None = field(default_factory=dict)
    full: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.injected}"


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """A site for one row."""
    with tempfile.TemporaryDirectory(prefix="tokenhub-faults-") as folder:
        made = Site(Path(folder))
        try:
            yield made
        finally:
            made.close()


STREAM_3_S, STREAM_8_S, STREAM_20_S = "slow-100-30", "slow-400-20", "slow-200-100"
STREAM_40_S = "slow-500-80"

DEATH = (
    Row(
        "F21",
        "kill -9 one worker under load",
        "the others serve; one reconciled row each within 60 s; budget drift 0",
        death.one_worker,
        {"clients": 24, "before_s": 0.7, "after_s": 1.2, "at_once": True},
        {"clients": 200, "before_s": 3, "after_s": 7, "at_once": False},
    ),
    Row(
        "F22",
        "kill -9 master and workers",
        "ready within 5 s; integrity ok; one row each within 60 s; drift 0",
        death.everything,
        {"clients": 24, "before_s": 0.7, "at_once": True},
        {"clients": 200, "before_s": 3, "at_once": False},
    ),
    Row("F22", "kill -9 the master alone", "workers end by themselves; the next start is well", death.the_master, None),
)

STORES = (
    Row(
        "F28",
        "database locked by another process",
        "0 failures; hub stall < 50 ms; 0 rows lost",
        stores.database_locked,
        {"clients": 12, "locked_s": 2},
        {"clients": 30, "locked_s": 10},
        alone=True,
    ),
    Row(
        "F28",
        "state locked by another process",
        "503 where needed, streams flow; hub stall < 50 ms; 0 rows lost",
        stores.state_locked,
        {"clients": 12, "locked_s": 2.5},
        {"clients": 30, "locked_s": 10},
        alone=True,
    ),
    Row(
        "F30",
        "disk full",
        "503 for what must be recorded; reads and health go on; well again within 5 s; 0 corrupt",
        stores.disk_full,
        {"clients": 12, "full_s": 0.5, "is_alone": False},
        {"clients": 40, "full_s": 10, "megabytes": 8},
    ),
    Row(
        "gone",
        "database file moved away, a worker killed",
        "answers go on, receipts wait, the new worker lives; all well within 5 s",
        stores.database_gone,
        {"clients": 12, "gone_s": 1, "how": "file"},
        {"clients": 30, "gone_s": 20, "how": "file"},
    ),
    Row(
        "gone",
        "database folder moved away, a worker killed",
        "as above",
        stores.database_gone,
        None,
        {"clients": 30, "gone_s": 20, "how": "folder"},
    ),
    Row(
        "gone",
        "state files moved away",
        "503 with Retry-After, streams go on and are settled once",
        stores.state_gone,
        {"clients": 8, "gone_s": 2, "model": STREAM_3_S},
        {"clients": 30, "gone_s": 25, "model": STREAM_40_S},
    ),
    Row(
        "gone",
        "data folder moved away, a worker killed, a reload",
        "503; the new worker lives; all well within 5 s",
        stores.folder_gone,
    ),
)

STOP = (
    Row(
        "F23",
        "SIGTERM with streams shorter than the grace",
        "all [DONE], all rows; new connections refused",
        stop.with_streams,
        {"streams": 40, "model": STREAM_3_S},
        {"streams": 100, "model": STREAM_20_S},
    ),
    Row(
        "F24",
        "SIGTERM with streams longer than the grace",
        "an error event and a settled bill each; 0 raw cuts",
        stop.with_long_streams,
        {"streams": 20, "grace_s": 3, "model": STREAM_8_S},
        {"streams": 100, "grace_s": 3, "model": STREAM_8_S},
    ),
    Row(
        "F46",
        "clock +1 h during the drain",
        "nothing is cut; drain within 2 s of what it was",
        stop.during_a_clock_step,
        {"streams": 8, "grace_s": 30, "model": STREAM_3_S, "lasts_s": 3, "step": "+3600"},
        {"streams": 40, "grace_s": 30, "model": STREAM_8_S, "lasts_s": 8, "step": "+3600"},
    ),
    Row(
        "F46",
        "clock -1 h during the drain",
        "it ends with the grace",
        stop.during_a_clock_step,
        None,
        {"streams": 40, "grace_s": 6, "model": STREAM_20_S, "lasts_s": 20, "step": "-3600"},
    ),
)

RELOAD = (
    Row(
        "F25",
        "kill -HUP under load",
        "0 requests fail, 0 streams cut, workers keep their pids",
        reload.under_load,
        {"clients": 20, "requests": 120, "reloads": 3},
        {"clients": 200, "requests": 10_000, "reloads": 20},
    ),
    Row("F25", "kill -HUP with broken files", "one log line each, nothing changes", reload.broken_files),
    Row("F25", "kill -HUP with changes", "told, held on all workers; admin's changes stay", reload.what_it_does),
    Row(
        "F26",
        "max_requests set: workers are recycled",
        "invisible",
        reload.recycling,
        {"clients": 20, "requests": 300, "each": 40},
        {"clients": 100, "requests": 20_000, "each": 500},
    ),
)

ROW_OF_TROUBLE = {
    "an unwritable data folder": "F32",
    "a data folder of another user": "F32",
    "a read-only database or state": "F32",
    "a read-only file system": "F32",
    "a corrupt page": "F33",
    "a file that is no database": "F33",
    "a full disk": "F30",
    "--preload": "F58",
}

START = (
    *(
        Row(
            ROW_OF_TROUBLE.get(trouble, "start"),
            f"start with {trouble}",
            "one clear line, exit code 2, no traceback",
            start.refused,
            {"trouble": trouble, "is_fast": True},
            {"trouble": trouble},
        )
        for trouble in start.TROUBLES
    ),
    Row("F35", "a database in the other journal mode", "the mode follows the SQLite build", start.the_journal_mode),
    Row(
        "F57",
        "four starts at once on one data folder",
        "one serves, the others are told",
        start.one_server_a_folder,
        {"rounds": 1, "starts": 4},
        {"rounds": 20, "starts": 4},
    ),
    Row(
        "F57",
        "kill -9 in the middle of the first migration",
        "old schema or new; the next start is well",
        start.killed_migrations,
        {"rounds": 1},
        {"rounds": 20},
    ),
)

FULL = (*START, *RELOAD, *STOP, *DEATH, *STORES)


def fast(rows: Sequence[Row]) -> list[Row]:
    """Those that have a fast form."""
    return [row for row in rows if row.fast is not None]
