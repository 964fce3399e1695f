"""A short run of the fuzzer with a seed that stays the same (`make fuzz` takes a new one each time); its judgement."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import catalogue
from tests.e2e.harness import Gateway
from tests.fuzz import fuzzer
from tests.upstream.process import UpstreamProcess

SECONDS, GROWTH_BYTES = 10, 30_000_000
"""In so short a time memory still fills; the run of a minute is strict."""


@pytest.mark.e2e
@pytest.mark.slow
def test_whatever_is_sent_is_answered_in_order_and_nothing_breaks(tmp_path: Path) -> None:
    with UpstreamProcess() as upstream:
        gateway = Gateway(tmp_path, catalogue(upstream))
        try:
            report = fuzzer.run(gateway, seconds=SECONDS, seed=11, growth_bytes=GROWTH_BYTES)
        finally:
            gateway.stop()
        gateway.fail_on_new_tracebacks()
        assert not report.failures, "\n".join(report.lines())
        assert report.sent > 500 and report.statuses[200] > 50 and report.statuses[400] > 50


def test_a_case_is_known_by_its_number() -> None:
    assert fuzzer.case(1, 7, "k") == fuzzer.case(1, 7, "k") != fuzzer.case(1, 8, "k")


ID = b"x-request-id: a\r\n"
JSON = ID + b"content-type: application/json\r\n"
STREAM = ID + b"content-type: text/event-stream\r\n"


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"junk",
        b"HTTP/1.1 500 X\r\n" + JSON + b'content-length: 27\r\n\r\n{"error": {"message": "x"}}',
        b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 X\r\n" + JSON + b"content-length: 1\r\n\r\n{",
        b"HTTP/1.1 200 X\r\n" + JSON + b"content-length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 X\r\n" + JSON + b"content-length: 2\r\n\r\n{}junk",
        b"HTTP/1.1 400 X\r\n" + JSON + b"content-length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 X\r\n" + ID + b"content-type: text/html\r\ncontent-length: 3\r\n\r\n<p>",
        b"HTTP/1.1 200 X\r\n" + STREAM + b"content-length: 9\r\n\r\ndata: {\n\n",
        (b"HTTP/1.1 200 X\r\n" + JSON + b"content-length: 2\r\n\r\n{}") * 2,
    ],
)
def test_a_bad_answer_is_recognised(received: bytes) -> None:
    plain = next(case for case in (fuzzer.case(1, number, "k") for number in range(100)) if case.is_plain)
    assert fuzzer.judge(plain, received)[1]


def test_a_good_answer_is_let_pass() -> None:
    plain = next(case for case in (fuzzer.case(1, number, "k") for number in range(100)) if case.is_plain)
    for received in (
        b"HTTP/1.1 200 X\r\n" + JSON + b"content-length: 2\r\n\r\n{}",
        b"HTTP/1.1 400 X\r\n" + JSON + b'content-length: 27\r\n\r\n{"error": {"message": "x"}}',
        b"HTTP/1.1 200 X\r\n" + STREAM + b"content-length: 10\r\n\r\ndata: {}\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 X\r\n" + JSON + b"content-length: 2\r\n\r\n{}",
    ):
        assert fuzzer.judge(plain, received)[1] == "", received
