"""Sends mutated requests to a gateway and judges what comes back: every answer whole, JSON or events, never a 500."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.e2e.harness import Answer, Gateway, events
from tests.e2e.wire import answers
from tests.fuzz.mutation import Case, make

SENDERS = 4
QUIET_S, ANSWER_S = 0.4, 20.0
"""After a silence of the first, a sender of something unclean says that it is done: perhaps more was announced. In the
second, whatever was sent is answered."""
WARM_UP = 0.4
"""The part of a run after which memory must stay as it is."""
GROWTH_BYTES = 10_000_000
"""Of a worker, in a run of a minute."""
STATUSES = {200, 400, 401, 403, 404, 405, 408, 413, 414, 415, 417, 429, 431, 499, 501, 502, 503, 504}


@dataclass
class Report:
    """What a run saw. `failures` are told with the number of their case: `--seed S --only N` sends it again."""

    seed: int
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    growth_bytes: int = 0

    def lines(self) -> list[str]:
        told = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return [
            f"seed {self.seed}: {self.sent} requests, {told or 'no answers'}; memory {self.growth_bytes / 1e6:+.1f} MB",
            *self.failures[:20],
        ]


def case(seed: int, number: int, key: str) -> Case:
    """The case of this number."""
    return make(Random(f"{seed}/{number}"), key)  # noqa: S311 - cases, not secrets


def send(port: int, sent: Case) -> bytes:
    """Send it, and give all that comes back until the server closes. Raises OSError if that takes too long."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as sock:
        received = b""
        try:
            for piece in sent.pieces:
                sock.sendall(piece)
            sock.settimeout(ANSWER_S if sent.is_plain else QUIET_S)
            while True:
                try:
                    part = sock.recv(1 << 16)
                except TimeoutError:
                    if sock.gettimeout() == ANSWER_S:
                        raise
                    sock.shutdown(socket.SHUT_WR)
                    sock.settimeout(ANSWER_S)
                    continue
                if not part:
                    return received
                received += part
        except (ConnectionResetError, BrokenPipeError):
            return received


def judge(sent: Case, received: bytes) -> tuple[list[int], str]:
    """The statuses of the answers, and what is wrong with them ("" if nothing is)."""
    statuses, wrong = _judge(sent, received, "POST")
    if wrong and b"HEAD" in sent.data:  # Who can say whether a damaged request is one of these?
        return _judge(sent, received, "HEAD")
    return statuses, wrong


def _judge(sent: Case, received: bytes, method: str) -> tuple[list[int], str]:
    try:
        found = answers(received, method)
    except (http.client.HTTPException, ValueError, AssertionError) as error:
        return [], f"no clean HTTP: {error!r}: {received[:300]!r}"
    wrong = ""
    if sent.is_plain and len(found) != 1:
        wrong = f"{len(found)} answers"
    for answer in found:
        wrong = wrong or _wrong_with(answer)
    return [answer.status for answer in found], wrong


def _wrong_with(answer: Answer) -> str:
    """Why this is no answer of ours, "" if it is one."""
    if answer.status not in STATUSES:
        return f"status {answer.status}: {answer.body[:300]!r}"
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", answer.headers.get("x-request-id", "")):
        return f"no request id: {answer.headers}"
    kind = answer.headers.get("content-type", "")
    if not answer.body:  # To HEAD and OPTIONS.
        return ""
    try:
        if kind.startswith("text/event-stream"):
            events(answer.body)
        elif answer.status != 200 and not isinstance(answer.error["message"], str):
            return f"no message: {answer.body[:300]!r}"
        elif kind != "application/json" or not isinstance(answer.json(), dict):
            return f"no JSON object: {kind} {answer.body[:300]!r}"
    except (AssertionError, ValueError, LookupError, TypeError) as error:
        return f"malformed {kind}: {error!r}: {answer.body[:300]!r}"
    return ""


def run(gateway: Gateway, *, seconds: float, seed: int, growth_bytes: int = GROWTH_BYTES) -> Report:
    """Fuzz the gateway for so long, and see that its workers live on, as large as before."""
    report, lock, numbers = Report(seed), threading.Lock(), iter(range(1 << 62))
    pids, end = gateway.worker_pids(), time.monotonic() + seconds

    def sender() -> None:
        while time.monotonic() < end:
            with lock:
                number = next(numbers)
            sent = case(seed, number, gateway.first_key)
            try:
                statuses, wrong = judge(sent, send(gateway.port, sent))
            except OSError as error:
                statuses, wrong = [], f"no end: {error!r}"
            with lock:
                report.sent += 1
                report.statuses.update(statuses)
                if wrong:
                    report.failures.append(f"case {number}: {wrong}")

    threads = [threading.Thread(target=sender) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds * WARM_UP)
    before = _memory(pids)
    for thread in threads:
        thread.join()
    if gateway.worker_pids() != pids:
        report.failures.append(f"a worker died: {pids} -> {gateway.worker_pids()}")
        return report
    report.growth_bytes = max(after - before[pid] for pid, after in _memory(pids).items())
    if report.growth_bytes > growth_bytes:
        report.failures.append(f"memory grew by {report.growth_bytes} bytes")
    return report


def _memory(pids: list[int]) -> dict[int, int]:
    """Resident bytes of each process."""
    kilobytes = re.compile(r"VmRSS:\s+(\d+) kB")
    found = {pid: kilobytes.search(Path(f"/proc/{pid}/status").read_text()) for pid in pids}
    return {pid: int(match[1]) * 1024 for pid, match in found.items() if match}
