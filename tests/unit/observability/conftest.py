"""A process-wide logging set-up that each test gets back as it was."""

from __future__ import annotations

import json
import logging
import os

import pytest
import structlog

from tokenhub.domain.chat import Usage
from tokenhub.domain.keys import ApiKey, Caller
from tokenhub.domain.receipt import AttemptRecord, Receipt
from tokenhub.observability import logs


def without_canary(text: str) -> str:
    return text.replace("CANARY-SECRET", "[redacted]")


class Output:
    """What was written to the log so far."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def text(self) -> str:
        try:
            return os.read(self.reader, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def records(self) -> list[dict]:
        return [json.loads(line) for line in self.text().split("\n") if line]


@pytest.fixture
def output():
    root = logging.getLogger()
    saved = {name: _snapshot(name) for name in ("", "gunicorn.error", "gunicorn.access", "urllib3", "geventhttpclient")}
    output = Output()
    yield output
    for handler in [known for known in root.handlers if isinstance(known, logs.LineHandler)]:
        root.removeHandler(handler)
        handler.close()
    structlog.reset_defaults()
    for name, (level, handlers, propagate) in saved.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate
    os.close(output.reader)
    os.close(output.writer)


def _snapshot(name: str):
    logger = logging.getLogger(name)
    return logger.level, list(logger.handlers), logger.propagate


@pytest.fixture
def as_json(output):
    logs.configure("info", json=True, redact=without_canary, fd=output.writer)
    return output


@pytest.fixture
def for_people(output):
    logs.configure("info", json=False, redact=without_canary, fd=output.writer)
    return output


@pytest.fixture
def a_receipt():
    """Makes receipts in their outside form, from the domain's own class."""

    def make(decision_id: str = "dec_1", model: str = "gpt", provider: str = "openai", **changes) -> dict:
        key = ApiKey("k1", "test", "tokenhub_abcd", ("chat",), 1, True, 0)
        usage = Usage(input=changes.pop("input", 10), output=changes.pop("output", 5))
        receipt = Receipt(decision_id, "req_1", 0, Caller(key, "127.0.0.1"), "openai", False, "auto", usage=usage)
        if model:
            receipt.attempts.append(AttemptRecord(1, model, provider, "routed-weight"))
        for name, value in {"status": "ok", "latency_ms": 1500, "cost_nanousd": 2_000_000, **changes}.items():
            setattr(receipt, name, value)
        return receipt.as_json()

    return make
