"""Where the time of a request goes: `make profile` samples a TokenHub worker under load with py-spy.

Prints the share of samples by module and the functions that take most by themselves.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from bench import run
from bench.load import closed_loop, request_bytes
from bench.processes import pinned

SECONDS, TOP = 8, 35
IDLE = "acquire_with_timeout"
"""Where a pool thread waits for work: py-spy takes that for working."""


def main() -> None:
    """Sample and print."""
    streamed = "--stream" in sys.argv
    plain = json.dumps({**run.BODY, "stream": streamed}).encode()
    with tempfile.TemporaryDirectory(prefix="tokenhub-profile-") as name, run.upstream(Path(name)) as upstream_port:
        folder = Path(name)
        os.sched_setaffinity(0, {1})
        with run.tokenhub(folder, upstream_port) as (subject, key):
            raw = request_bytes(subject.port, "/v1/chat/completions", key, plain)
            asyncio.run(closed_loop(subject.port, raw, 16, 300))
            worker = max(subject.tree())
            threading.Thread(target=load, args=(subject.port, raw), daemon=True).start()
            out = folder / "stacks"
            spy = Path(sys.executable).with_name("py-spy")
            command = [
                str(spy),
                "record",
                "-p",
                str(worker),
                "-d",
                str(SECONDS),
                "-r",
                "400",
                "-f",
                "raw",
                "-o",
                str(out),
            ]
            subprocess.run(pinned(1, *command), check=True, capture_output=True)
            report(out.read_text())


def load(port: int, raw: bytes) -> None:
    """Ask until the server is gone."""
    with contextlib.suppress(OSError):
        asyncio.run(closed_loop(port, raw, 64, 100_000))


def report(stacks: str) -> None:
    """Shares by module and by function: in itself, and with what it calls."""
    own: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()
    modules: collections.Counter[str] = collections.Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if IDLE in stack.rpartition(";")[2]:
            continue
        frames = [re.sub(r":\d+\)$", ")", frame).replace(str(run.Path.cwd()) + "/", "") for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        modules[re.sub(r".*\((.*)\)", r"\1", frames[-1])] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = sum(own.values())
    for title, counter in (("by module", modules), ("in itself", own), ("with callees", within)):
        print(f"\n{title}")
        for frame, count in counter.most_common(TOP if title != "with callees" else 70):
            print(f"{100 * count / total:6.1f} %  {frame}")


if __name__ == "__main__":
    main()
