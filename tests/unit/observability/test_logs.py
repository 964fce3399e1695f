"""Log records: one line each, redacted, whatever is in them and whoever wrote them."""

from __future__ import annotations

import logging
import os

import pytest
import structlog

from tokenhub.observability import logs
from tokenhub.observability.lines import MAX_LINE_BYTES

log = logging.getLogger("tokenhub.test")
HOSTILE = 'a\nb\r\nc\x1b[31m\x00"}\u2028\u0085\u202e\ud800{"level":"forged"}'


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_record_is_one_json_object_with_its_extra_fields(as_json):
    log.info("attempt_failed", extra={"decision_id": "dec_1", "latency_ms": 12})
    (record,) = as_json.records()
    assert record["event"] == "attempt_failed"
    assert record["level"] == "info"
    assert record["logger"] == "tokenhub.test"
    assert record["pid"] == os.getpid()
    assert record["decision_id"] == "dec_1"
    assert record["latency_ms"] == 12
    assert record["timestamp"].endswith("Z")


def test_structlog_and_stdlib_records_look_alike(as_json):
    structlog.get_logger("tokenhub.other").warning("key_rotated", key_id="k1")
    (record,) = as_json.records()
    assert (record["event"], record["level"], record["key_id"]) == ("key_rotated", "warning", "k1")
    assert record["logger"] == "tokenhub.other"


def test_context_variables_stand_on_every_record(as_json):
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        log.info("inside")
    log.info("outside")
    inside, outside = as_json.records()
    assert inside["request_id"] == "req_1"
    assert "request_id" not in outside


@pytest.mark.parametrize("fixture", ["as_json", "for_people"])
def test_no_text_can_break_its_line_or_reach_the_terminal(fixture, request):
    output = request.getfixturevalue(fixture)
    log.info("model %s", HOSTILE, extra={"model": HOSTILE, "nested": {HOSTILE: [HOSTILE]}})
    text = output.text()
    assert len(text.splitlines()) == 1
    assert text[:-1].isprintable()


def test_hostile_text_survives_json_unchanged(as_json):
    log.info("event", extra={"model": HOSTILE})
    assert as_json.records()[0]["model"] == HOSTILE


@pytest.mark.parametrize("fixture", ["as_json", "for_people"])
def test_secrets_are_redacted_wherever_they_stand(fixture, request):
    output = request.getfixturevalue(fixture)
    try:
        raise ValueError("upstream said CANARY-SECRET")
    except ValueError:
        log.exception(
            "failed with %s",
            "CANARY-SECRET",
            extra={
                "a": "xCANARY-SECRET",
                "CANARY-SECRET": 1,
                "b": [{"c": ("CANARY-SECRET",)}],
                "d": ValueError("CANARY-SECRET"),
            },
        )
    text = output.text()
    assert "CANARY" not in text
    assert text.count("[redacted]") >= 6


def test_a_secret_next_to_a_line_end_is_redacted(as_json):
    log.info("event", extra={"body": "x\nCANARY-SECRET\ny"})
    assert as_json.records()[0]["body"] == "x\n[redacted]\ny"


def test_half_a_secret_at_the_end_of_what_is_scanned_is_not_shown(as_json):
    log.info("event", extra={"body": "z" * 19_995 + "CANARY-SECRET"})
    assert "CANAR" not in as_json.text()


def test_an_exception_carries_its_traceback_as_one_value(as_json):
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    (record,) = as_json.records()
    assert record["exception"].startswith("Traceback")
    assert record["exception"].endswith("ValueError: broken")


def test_a_person_sees_the_traceback_on_lines_of_its_own(for_people):
    try:
        raise ValueError("broken \x1b[31m")
    except ValueError:
        log.exception("failed")
    text = for_people.text()
    assert "\nTraceback" in text
    assert "ValueError: broken \\x1b[31m" in text


@pytest.mark.parametrize("fields", [{"body": "x" * 100_000}, {f"f{n}": "é" * 500 for n in range(100)}])
def test_a_line_is_never_longer_than_a_pipe_takes_whole(as_json, fields):
    log.info("event", extra=fields)
    text = as_json.text()
    assert text.count("\n") == 1
    assert len(text) <= MAX_LINE_BYTES


def test_numbers_that_json_cannot_say_become_text(as_json):
    log.info("event", extra={"a": float("nan"), "b": float("inf"), "c": 1.5, "d": None, "e": True})
    (record,) = as_json.records()
    assert [record[name] for name in "abcde"] == ["nan", "inf", 1.5, None, True]


def test_a_record_that_cannot_be_rendered_is_replaced_not_raised(output, capfd):
    handler = logs.configure("info", json=True, redact=str, fd=output.writer)
    handler.handle(logging.makeLogRecord({"msg": "two %s %s", "args": ("one",)}))
    handler.handle(logging.makeLogRecord({"msg": "event", "thing": Unprintable()}))
    assert [record["event"] for record in output.records()] == ["log_record_broken"] * 2
    assert capfd.readouterr().err == ""


def test_the_level_changes_while_running(as_json):
    log.debug("hidden")
    logs.set_level("debug")
    log.debug("shown")
    structlog.get_logger("tokenhub.other").debug("shown too")
    logs.set_level("error")
    log.warning("hidden again")
    assert [record["event"] for record in as_json.records()] == ["shown", "shown too"]


def test_an_unknown_level_is_refused(as_json):
    with pytest.raises(KeyError):
        logs.set_level("loud")


def test_configuring_again_replaces_the_handler(as_json):
    logs.configure("info", json=True, redact=str, fd=as_json.writer)
    log.info("once")
    assert len(as_json.records()) == 1


def test_access_lines_are_written_at_debug_only(as_json):
    access = logging.getLogger("gunicorn.access")
    access.info("GET / 200")
    logs.set_level("debug")
    access.info("GET / 200")
    logs.set_level("info")
    access.info("GET / 200")
    assert len(as_json.records()) == 1


def test_lines_that_nobody_took_are_told_once_somebody_reads_again(output):
    handler = logs.configure("info", json=True, redact=str, fd=output.writer)
    drops = []
    handler.on_drop = lambda: drops.append(1)
    while not drops:
        log.info("flood", extra={"body": "x" * 1000})
    log.info("flood", extra={"body": "x" * 1000})
    while output.text():
        pass
    log.info("after")
    events = output.records()
    assert [record["event"] for record in events] == ["after", "log_lines_dropped"]
    assert events[1]["lines_total"] == len(drops) == handler.lines.dropped
