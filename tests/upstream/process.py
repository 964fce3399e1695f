"""Starts the upstream as its own process and reads its ledger. For tests; stops by process id."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class UpstreamProcess:
    """A running upstream. Use as a context manager. Port 0 takes a free one; `delay_ms` makes it slower."""

    def __init__(self, port: int = 0, delay_ms: int = 0) -> None:
        options = ["--port", str(port), "--delay-ms", str(delay_ms)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.upstream", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the upstream did not start"

    def __enter__(self) -> UpstreamProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def books(self, after: int = 0) -> dict[str, Any]:
        """The whole ledger; calls with a sequence number above `after`."""
        with urllib.request.urlopen(f"{self.url}/_ledger?after={after}", timeout=10) as answer:
            books: dict[str, Any] = json.load(answer)
        return books

    def mark(self) -> int:
        """The sequence number of the latest call: give it to `calls` later to see what came after."""
        return int(self.books(after=1 << 60)["sequence"])

    def calls(self, after: int = 0, **fields: object) -> list[dict[str, Any]]:
        """Calls since `after` whose fields are these."""
        found = self.books(after)["calls"]
        return [call for call in found if all(call[name] == value for name, value in fields.items())]

    def closed_calls(self, after: int = 0, within_s: float = 5, **fields: object) -> list[dict[str, Any]]:
        """As `calls`, once none of them is open any more."""
        until = time.monotonic() + within_s
        while True:
            found = self.calls(after, **fields)
            if found and all(call["outcome"] != "open" for call in found):
                return found
            assert time.monotonic() < until, f"still open: {found}"
            time.sleep(0.02)

    def reset(self) -> None:
        """Empty the ledger."""
        request = urllib.request.Request(f"{self.url}/_ledger/reset", method="POST")
        urllib.request.urlopen(request, timeout=10).close()
