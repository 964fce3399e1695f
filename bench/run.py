"""Run the benchmark: `python -m bench.run [--requests N]`. Prints a table, writes bench/results/latest.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import selection, translation
from bench.load import Result, at_rate, closed_loop, request_bytes, streams
from bench.processes import Subject, free_port, gunicorn, pinned, running
from tokenhub.storage import migrate

CHAT = "/v1/chat/completions"
MODELS = 20
MILLION = 1_000_000
BODY = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Say something about routers. " * 4}],
    "temperature": 0.7,
    "max_tokens": 512,
}

PLAIN = json.dumps(BODY).encode()
STREAMED = json.dumps({**BODY, "stream": True}).encode()


def say(text: str) -> None:
    """Progress, beside the table."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def upstream(folder: Path) -> Iterator[int]:
    """The mock upstream on core 1."""
    port = free_port()
    with running(pinned(1, sys.executable, "-m", "bench.upstream", str(port)), port, {}, folder / "upstream.log"):
        yield port


@contextmanager
def yardstick(folder: Path, upstream_port: int) -> Iterator[tuple[Subject, str]]:
    """The pass-through and the hello, one worker."""
    port = free_port()
    command = gunicorn("-c", "bench/passthrough.conf.py", "-b", f"127.0.0.1:{port}", "-w", "1", "bench.passthrough:app")
    env = {"BENCH_UPSTREAM": f"http://127.0.0.1:{upstream_port}/v1/chat/completions"}
    with running(pinned(0, *command), port, env, folder / "passthrough.log") as subject:
        yield subject, "x"


def credentials(folder: Path, upstream_port: int) -> Path:
    """A credentials file with one provider and MODELS priced models."""
    home = folder / "credentials"
    home.mkdir(mode=0o700, exist_ok=True)
    provider = {"id": "bench", "type": "openai", "base_url": f"http://127.0.0.1:{upstream_port}", "api_key": "sk-bench"}
    models = [
        {
            "id": f"bench-{n}",
            "provider_id": "bench",
            "weight": 50 + n,
            "max_context_tokens": 128_000,
            "input_per_1k": 0.001 + n / 10_000,
            "output_per_1k": 0.002,
        }
        for n in range(MODELS)
    ]
    path = home / "file"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"providers": [provider], "models": models}))
    return path


@contextmanager
def tokenhub(folder: Path, upstream_port: int, workers: int = 1, log_rows: int = 0) -> Iterator[tuple[Subject, str]]:
    """TokenHub with its books on, and a key with a budget; `log_rows` are in its request log before it starts."""
    port = free_port()
    data = folder / f"data-{port}"
    env = {
        "TOKENHUB_LISTEN_ADDR": f"127.0.0.1:{port}",
        "TOKENHUB_DATA_DIR": str(data),
        "TOKENHUB_DB_DSN": str(data / "tokenhub.sqlite"),
        "TOKENHUB_CREDENTIALS_FILE": str(credentials(folder, upstream_port)),
        "TOKENHUB_WORKERS": str(workers),
        "TOKENHUB_RATE_LIMIT_RPS": "1000000",
        "TOKENHUB_RATE_LIMIT_BURST": "1000000",
        "TOKENHUB_ENV": "development",
    }
    if log_rows:
        data.mkdir(mode=0o700)
        fill_log(data / "tokenhub.sqlite", log_rows)
    command = gunicorn("-c", "gunicorn.conf.py", "wsgi:application")
    started = time.monotonic()
    with running(pinned(0, *command), port, env, folder / "tokenhub.log") as subject:
        key = budgeted_key(port, (data / "admin-token").read_text().strip())
        body = json.dumps(BODY).encode()
        while asyncio.run(closed_loop(port, request_bytes(port, CHAT, key, body), 1, 1)).failed:
            time.sleep(0.02)
        subject.start_s = time.monotonic() - started
        subject.database = data / "tokenhub.sqlite"
        yield subject, key


def fill_log(path: Path, rows: int) -> None:
    """A request log of `rows` settled receipts of this month."""
    say(f"filling the request log with {rows} rows")
    migrate.upgrade(f"sqlite:///{path}")
    path.chmod(0o600)
    with sqlite3.connect(path) as connection:
        connection.execute(
            """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
            INSERT INTO request_log (id, created_at_ms, request_id, key_id, model, provider, status, input_tokens,
                output_tokens, cost_nanousd, latency_ms, ttft_ms, receipt)
            SELECT 'dec_' || lower(hex(randomblob(16))), ? + i, 'req_' || i, 'key_' || (i % 50),
                'bench-' || (i % 20), 'bench', 'ok', 12, 260, 500000, 800, NULL, '{"id":"x"}' FROM n""",
            (rows, int(time.time() * 1000) - rows),
        )
    connection.close()


def rows_logged(subject: Subject) -> int:
    """Rows in the request log once it stops growing."""
    seen = -1
    while True:
        connection = sqlite3.connect(f"file:{subject.database}?mode=ro", uri=True, timeout=10)
        rows = int(connection.execute("SELECT count(*) FROM request_log").fetchone()[0])
        connection.close()
        if rows == seen:
            return rows
        seen = rows
        time.sleep(1.5)


def budgeted_key(port: int, admin_token: str) -> str:
    """A key with a large monthly budget, so that every request is reserved and settled."""
    body = json.dumps({"name": "bench", "scopes": ["chat"], "monthly_budget_usd": 1_000_000}).encode()
    headers = {"Authorization": f"Bearer {admin_token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/admin/v1/apikeys", body, headers)
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return str(json.load(answer)["key"])
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def measure(subject: Subject, raw: bytes, requests: int) -> dict[str, Any]:
    """CPU per request and requests/s in a closed loop of 64, latency alone and at 100/s."""
    warm = asyncio.run(closed_loop(subject.port, raw, 8, max(200, requests // 20)))
    if warm.failed:
        raise SystemExit(f"warm-up failed: {warm.statuses}")
    before = subject.cpu_s()
    loop = asyncio.run(closed_loop(subject.port, raw, 64, requests))
    cpu_s = subject.cpu_s() - before
    alone = asyncio.run(closed_loop(subject.port, raw, 1, 500))
    paced = asyncio.run(at_rate(subject.port, raw, 100, 500))
    return {
        "cpu_us": round(cpu_s / loop.answered * 1e6, 1),
        "per_s": round(loop.answered / loop.wall_s),
        "answered": warm.answered + loop.answered + alone.answered + paced.answered,
        "failed": loop.failed + alone.failed + paced.failed,
        "alone_p50_ms": round(alone.percentile(alone.latencies_s, 0.5), 3),
        "paced_p50_ms": round(paced.percentile(paced.latencies_s, 0.5), 3),
        "paced_p99_ms": round(paced.percentile(paced.latencies_s, 0.99), 3),
        "rss_mib": round(subject.rss_mib(), 1),
    }


def measure_streams(subject: Subject, raw: bytes, count: int) -> dict[str, Any]:
    """CPU per chunk and delays with `count` streams at once."""
    before = subject.cpu_s()
    result: Result = asyncio.run(streams(subject.port, raw, count))
    cpu_s = subject.cpu_s() - before
    return {
        "streams": count,
        "failed": result.failed,
        "cpu_us_per_chunk": round(cpu_s / (count * 53) * 1e6, 1),
        "first_chunk_p99_ms": round(result.percentile(result.first_chunk_s, 0.99), 1),
        "gap_p99_ms": round(result.percentile(result.gaps_s, 0.99), 1),
    }


def held(subject: Subject, raw: bytes, steps: tuple[int, ...]) -> int:
    """Most streams at once with p99 of first chunk and of chunk delay (over the 20 ms gap) under 50 ms."""
    best = 0
    for count in steps:
        row = measure_streams(subject, raw, count)
        if row["failed"] or row["first_chunk_p99_ms"] >= 50 or row["gap_p99_ms"] >= 70:
            break
        best = count
    return best


def main() -> None:
    """Measure everything in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=2, help="every subject is measured so many times, in turn")
    parser.add_argument("--no-streams", action="store_true", help="leave the streams out")
    parser.add_argument("--million", action="store_true", help="also with a million rows in the request log")
    parser.add_argument("--soak", type=int, default=0, help="so many more requests, then the memory again")
    options = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="tokenhub-bench-") as name, upstream(Path(name)) as upstream_port:
        folder = Path(name)
        if os.cpu_count() and os.cpu_count() > 1:  # type: ignore[operator]
            os.sched_setaffinity(0, {1})
        subjects: list[tuple[str, Any, str]] = [
            ("hello", yardstick, "/hello"),
            ("pass-through", yardstick, CHAT),
            ("tokenhub", tokenhub, CHAT),
        ]
        if options.million:
            subjects.append(("tokenhub, 1 M rows", partial(tokenhub, log_rows=MILLION), CHAT))
        for turn in range(options.rounds):
            for label, start, path in subjects:
                say(f"round {turn + 1}: {label}")
                with start(folder, upstream_port) as (subject, key):
                    rows.setdefault(label, []).append(one(subject, key, path, options))
    report(rows)
    print()
    selection.report(selection.table())
    print()
    translation.report()


def one(subject: Subject, key: str, path: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one running subject."""
    before = rows_logged(subject) if subject.database else 0
    row = measure(
        subject, request_bytes(subject.port, path, key, None if path == "/hello" else PLAIN), options.requests
    )
    if subject.database:
        row["start_to_first_answer_s"] = round(subject.start_s, 2)
        row["rows_per_answer"] = round((rows_logged(subject) - before) / row["answered"], 4)
    if path != "/hello" and not options.no_streams:
        raw = request_bytes(subject.port, path, key, STREAMED)
        row |= {"stream_" + name: value for name, value in measure_streams(subject, raw, 100).items()}
        row["streams_held"] = held(subject, raw, (200, 300, 400, 500, 600))
    if options.soak and subject.database:
        asyncio.run(closed_loop(subject.port, request_bytes(subject.port, path, key, PLAIN), 64, options.soak))
        row[f"rss_mib_after_{options.soak}"] = round(subject.rss_mib(), 1)
    return row


def report(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Print of each subject the round with the least CPU, and the ratio against the pass-through; keep all figures."""
    best = {label: min(found, key=lambda row: row["cpu_us"]) for label, found in rows.items()}
    columns = list(dict.fromkeys(column for row in best.values() for column in row))
    print("| | " + " | ".join(best) + " |")
    print("|---|" + "---|" * len(best))
    for column in columns:
        print(f"| {column} | " + " | ".join(str(row.get(column, "")) for row in best.values()) + " |")
    print(
        f"\nCPU per request, tokenhub / pass-through: {best['tokenhub']['cpu_us'] / best['pass-through']['cpu_us']:.2f}"
    )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
