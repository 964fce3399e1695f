"""The older major of the `openai` SDK, in a process of its own whose path begins with the folder it is installed in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.e2e.sdks import Errand, Failure, Report, Turn

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(sys.prefix) / "openai-2"


class OlderOpenAISdk:
    """A caller in another process. Close it."""

    def __init__(self, url: str, api_key: str) -> None:
        assert FOLDER.is_dir(), f"{FOLDER} is not there: make setup-dev"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.sdks.openai_sdk", url, api_key],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(FOLDER), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.version = self._read()

    def run(self, errand: Errand) -> Report:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(errand)) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._read())
        turns = [Turn(**turn) for turn in told["turns"]]
        for turn in turns:
            turn.calls = [(call_id, name, arguments) for call_id, name, arguments in turn.calls]
        return Report(turns, Failure(**told["failure"]) if told["failure"] else None)

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the older SDK's process ended with {self._process.wait()}"
        return line.strip()

    def close(self) -> None:
        """End the process."""
        with self._process:
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process.wait(10)
