"""gunicorn's own records: redacted lines like all others."""

from __future__ import annotations

from gunicorn.config import Config

from tokenhub.observability.gunicorn_logs import GunicornLogger


def test_gunicorn_writes_through_our_handler_and_nowhere_else(as_json, capfd):
    config = Config()
    config.set("accesslog", "-")
    logger = GunicornLogger(config)
    logger.info("Listening at: %s", "CANARY-SECRET")
    logger.setup(config)
    logger.error("Worker (pid:%s) was sent %s!", 1, "SIG\nKILL")
    logger.access_log.info("GET / 200")
    logger.debug("hidden")
    records = as_json.records()
    assert [record["event"] for record in records] == ["Listening at: [redacted]", "Worker (pid:1) was sent SIG\nKILL!"]
    assert records[0]["logger"] == "gunicorn.error"
    assert capfd.readouterr() == ("", "")
