"""`python -m tests.fuzz [--seconds 60] [--seed N] [--only CASE]`: fuzz a gateway of its own; exit code 1 if it fails.

`--only` sends one case of a seed and shows it with its answer.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from tests.e2e.conftest import catalogue
from tests.e2e.harness import Gateway
from tests.fuzz import fuzzer
from tests.upstream.process import UpstreamProcess


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--only", type=int)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, UpstreamProcess() as upstream:
        gateway = Gateway(Path(folder), catalogue(upstream))
        try:
            if asked.only is not None:
                return _show(gateway, asked.seed, asked.only)
            report = fuzzer.run(gateway, seconds=asked.seconds, seed=asked.seed)
            at = gateway.log().find("Traceback")
            if at >= 0:
                report.failures.append(f"a traceback in the log: {gateway.log()[max(0, at - 500) : at + 4000]}")
        finally:
            gateway.stop()
    print("\n".join(report.lines()))
    return 1 if report.failures else 0


def _show(gateway: Gateway, seed: int, number: int) -> int:
    sent = fuzzer.case(seed, number, gateway.first_key)
    received = fuzzer.send(gateway.port, sent)
    wrong = fuzzer.judge(sent, received)[1]
    print(sent.data, received, wrong or "well", sep="\n\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
