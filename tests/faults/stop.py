"""F23, F24, F46: SIGTERM while streams run."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path

from tests.factories import chat_body
from tests.faults.site import Books, Site, Skipped, budgeted_key, check_books, load


def _streams(model: str) -> list[dict[str, object]]:
    return [chat_body(model, stream=True)]


def with_streams(site: Site, *, streams: int, model: str) -> str:
    """SIGTERM while streams run that are shorter than the grace: all end as if nothing had happened."""
    gateway = site.gateway()
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    running = load(gateway, key, streams, _streams(model), rounds=1)
    running.until_open(streams)
    started = time.monotonic()
    gateway.process.terminate()
    time.sleep(2.2)  # A worker looks once a second whether it is to stop.
    with load(gateway, key, 1, rounds=1, name="late") as late:
        late.wait()
    assert late.got[0].outcome == "refused", late.got
    running.wait()
    gateway.process.wait(30)
    took = time.monotonic() - started
    assert gateway.process.returncode == 0
    assert dict(running.outcomes) == {"ok": streams}, running.failures()[:3]
    check_books(books, key, running.got, site.upstream, mark)
    return f"{streams}/{streams} [DONE], {streams}/{streams} rows; new ones refused; ended after {took:.1f} s"


def with_long_streams(site: Site, *, streams: int, grace_s: int, model: str) -> str:
    """SIGTERM while streams run that are longer than the grace: each is ended by us, with a settled bill."""
    gateway = site.gateway("--graceful-timeout", str(grace_s))
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    running = load(gateway, key, streams, _streams(model), rounds=1)
    running.until_open(streams)
    time.sleep(0.5)
    started = time.monotonic()
    gateway.process.terminate()
    running.wait(grace_s + 15)
    gateway.process.wait(grace_s + 15)
    took = time.monotonic() - started
    assert gateway.process.returncode == 0
    assert dict(running.outcomes) == {"event": streams}, (running.outcomes, running.got[0].body[-300:])
    assert took <= grace_s + 1, f"ended after {took:.1f} s"
    check_books(books, key, running.got, site.upstream, mark)
    rows = [rows[0] for rows in books.rows().values()]
    billed = sum(row["cost_nanousd"] > 0 for row in rows if row["request_id"].startswith("load"))
    assert billed == streams, f"{billed} of {streams} are billed for what was delivered"
    return f"{streams}/{streams} error event and settled, 0 cut; ended after {took:.1f} s of {grace_s}"


def during_a_clock_step(site: Site, *, streams: int, grace_s: int, model: str, lasts_s: float, step: str) -> str:
    """The wall clock is set while streams run out: the drain takes as long as it would have."""
    library = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)
    if library is None:
        raise Skipped("libfaketime is not installed (Debian: faketime)", is_excused=True)
    offset = site.folder / "offset"
    offset.write_text("+0")
    gateway = site.gateway("--graceful-timeout", str(grace_s), extra=_faked(library, offset))
    key, books, mark = budgeted_key(gateway), Books(gateway.data), site.upstream.mark()
    running = load(gateway, key, streams, _streams(model), rounds=1)
    running.until_open(streams)
    started = time.monotonic()
    gateway.process.terminate()
    time.sleep(1.5)
    offset.write_text(step)
    running.wait()
    gateway.process.wait(grace_s + 15)
    took = time.monotonic() - started
    outcome, expected_s = ("ok", lasts_s) if lasts_s < grace_s else ("event", grace_s)
    assert dict(running.outcomes) == {outcome: streams}, (running.outcomes, took)
    # A worker looks once a second, and others want the cores too.
    assert expected_s - 2 <= took <= expected_s + 3, f"ended after {took:.1f} s, not {expected_s:.0f}"
    check_books(books, key, running.got, site.upstream, mark)
    return f"{streams}/{streams} end as without it, after {took:.1f} s"


def _faked(library: str, offset: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": os.fspath(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
