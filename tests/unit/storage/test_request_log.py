from __future__ import annotations

import contextlib
import sqlite3
import time

import pytest

from tokenhub.errors import Unavailable
from tokenhub.storage.database import Database, engine_for
from tokenhub.storage.request_log import SqlRequestLog


def receipt(name: str, created_at_ms: int = 1, **more: object) -> dict:
    return {
        "id": name,
        "request_id": "req",
        "created_at_ms": created_at_ms,
        "key_id": "key_1",
        "model": "m",
        "provider": "p",
        "status": "ok",
        "usage": {"input_tokens": 3, "output_tokens": 4},
        "cost_nanousd": 5,
        "cost_usd": "0.000000005",
        "latency_ms": 6,
        "ttft_ms": None,
        "attempts": [{"model": "m", "outcome": "ok"}],
        **more,
    }


@pytest.fixture
def log(database):
    return SqlRequestLog(database)


def columns(path, name: str) -> tuple:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = "key_id, model, provider, status, input_tokens, output_tokens, cost_nanousd, latency_ms, ttft_ms"
        return connection.execute(f"SELECT {found} FROM request_log WHERE id = ?", (name,)).fetchone()


def test_a_receipt_comes_back_as_it_was(log):
    log.write([receipt("dec_1", note="ünïcode \u2028")])
    assert log.read("dec_1") == receipt("dec_1", note="ünïcode \u2028")
    assert log.read("dec_2") is None


def test_what_is_searched_has_columns_and_an_unknown_price_is_not_zero(log, path):
    log.write([receipt("a"), receipt("b", cost_usd=None, cost_nanousd=0)])
    assert columns(path, "a") == ("key_1", "m", "p", "ok", 3, 4, 5, 6, None)
    assert columns(path, "b")[6] is None


def test_one_that_is_there_already_is_left_alone_and_the_rest_is_stored(log):
    log.write([receipt("a", status="ok")])
    log.write([receipt("a", status="changed"), receipt("b"), receipt("b", status="twice")])
    assert log.read("a")["status"] == "ok"
    assert log.read("b")["status"] == "ok"


def test_no_receipts_are_no_work(tmp_path):
    SqlRequestLog(Database(engine_for(str(tmp_path / "no" / "folder")))).write([])


def test_pages_are_newest_first(log):
    log.write([receipt(f"r{n}", created_at_ms=n) for n in (2, 5, 1, 4, 3)])
    assert [r["id"] for r in log.page(2, 0)] == ["r5", "r4"]
    assert [r["id"] for r in log.page(2, 4)] == ["r1"]
    assert log.page(2, 9) == []


def test_an_odd_receipt_does_not_keep_its_batch_from_the_log(log, path):
    odd = {
        "id": "odd",
        "usage": {"input_tokens": 10**30, "output_tokens": "many"},
        "model": "\ud800\0" + "x" * 9999,
        "latency_ms": -5,
    }
    log.write([receipt("before"), odd, {"id": "bare", "usage": None}, receipt("after")])
    assert log.read("odd") == odd
    assert log.read("before") and log.read("after") and log.read("bare")
    assert columns(path, "odd")[4:] == (2**63 - 1, 0, 0, 0, None)


def test_a_batch_of_five_hundred_takes_well_under_a_second(log):
    batch = [receipt(f"dec_{n}", created_at_ms=n, candidates=[{"model": f"m{n}"}] * 20) for n in range(500)]
    started = time.monotonic()
    log.write(batch)
    log.write(batch)
    assert time.monotonic() - started < 0.5
    assert len(log.page(1000, 0)) == 500


def test_a_dead_database_is_told_so_that_nothing_is_forgotten(tmp_path):
    log = SqlRequestLog(Database(engine_for(str(tmp_path / "no" / "folder"))))
    with pytest.raises(Unavailable):
        log.write([receipt("a")])
