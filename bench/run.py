"""Run the benchmark: `python -m bench.run [--requests N]`. Prints a table, writes bench/results/latest.json."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.load import Result, at_rate, closed_loop, request_bytes, streams
from bench.processes import Subject, free_port, gunicorn, pinned, running

MODELS = 20
BODY = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Say something about routers. " * 4}],
    "temperature": 0.7,
    "max_tokens": 512,
}


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
def tokenhub(folder: Path, upstream_port: int, workers: int = 1) -> Iterator[tuple[Subject, str]]:
    """TokenHub with its books on, and a key with a budget."""
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
    command = gunicorn("-c", "gunicorn.conf.py", "wsgi:application")
    with running(pinned(0, *command), port, env, folder / "tokenhub.log") as subject:
        yield subject, budgeted_key(port, (data / "admin-token").read_text().strip())


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
    parser.add_argument("--no-streams", action="store_true")
    options = parser.parse_args()
    plain = json.dumps(BODY).encode()
    streamed = json.dumps({**BODY, "stream": True}).encode()
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="tokenhub-bench-") as name, upstream(Path(name)) as upstream_port:
        folder = Path(name)
        if os.cpu_count() and os.cpu_count() > 1:  # type: ignore[operator]
            os.sched_setaffinity(0, {1})
        for turn in range(options.rounds):
            for label, start, path in (
                ("hello", yardstick, "/hello"),
                ("pass-through", yardstick, "/v1/chat/completions"),
                ("tokenhub", tokenhub, "/v1/chat/completions"),
            ):
                say(f"round {turn + 1}: {label}")
                with start(folder, upstream_port) as (subject, key):
                    body = None if path == "/hello" else plain
                    row = measure(subject, request_bytes(subject.port, path, key, body), options.requests)
                    if path != "/hello" and not options.no_streams:
                        raw = request_bytes(subject.port, path, key, streamed)
                        row |= {"stream_" + k: v for k, v in measure_streams(subject, raw, 100).items()}
                        row["streams_held"] = held(subject, raw, (200, 300, 400, 500, 600))
                    rows.setdefault(label, []).append(row)
        (folder / "tokenhub.log").exists()
    report(rows)


def report(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Print medians and the ratio against the pass-through; keep the raw figures."""
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
