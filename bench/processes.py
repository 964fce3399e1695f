"""Starting and stopping what is measured, pinned to core 0, and reading what it used."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Subject:
    """A running server under measurement."""

    process: subprocess.Popen[bytes]
    port: int
    start_s: float = 0.0
    """From the command to the first answer of a model."""
    database: Path | None = None
    """Where its request log is, if it has one."""

    def tree(self) -> list[int]:
        """The pids of the process and everything below it."""
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                queue += [int(child) for child in task.read_text().split()]
        return found

    def cpu_s(self) -> float:
        """User and system time of the whole tree so far."""
        total = 0
        for pid in self.tree():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_S

    def rss_mib(self) -> float:
        """Resident memory of the largest process of the tree (a worker)."""
        sizes = [0.0]
        for pid in self.tree():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    sizes.append(int(line.split()[1]) / 1024)
        return max(sizes)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(core: int, *command: str) -> list[str]:
    """The command, pinned to a core where the machine can."""
    return ["taskset", "-c", str(core), *command] if os.cpu_count() and os.cpu_count() > 1 else list(command)  # type: ignore[operator]


@contextmanager
def running(command: list[str], port: int, env: dict[str, str], log: Path) -> Iterator[Subject]:
    """Start a server, wait until it listens, stop it by pid."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{' '.join(command)} did not start:\n{log.read_text()}") from None
                    time.sleep(0.02)
            yield Subject(process, port)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def gunicorn(*arguments: str) -> list[str]:
    """gunicorn of this environment."""
    return [sys.executable, "-m", "gunicorn", *arguments]
