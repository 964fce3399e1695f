"""How a log record becomes a line: structlog over the stdlib's logging, redacted, on one line, never waiting.

Every logger of the process ends here, gunicorn's too. Modules log through `logging.getLogger(__name__)` with a static
event name and `extra={...}` (ids, never keys or prompts). A line for each request is written at level debug only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from json import dumps
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tokenhub.observability.lines import MAX_LINE_BYTES, Lines

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
Redact = Callable[[str], str]

_STANDARD = ("timestamp", "level", "logger", "pid", "event")
_MAX_SCANNED_CHARS = 20_000
_MAX_DEPTH = 4
_CHATTY = ("urllib3", "geventhttpclient")
"""Libraries whose debug lines say nothing that ours do not."""


class LineHandler(logging.Handler):
    """The root logger's only handler. `on_drop` is called for each line that could not be written."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.lines = Lines(fd)
        self.on_drop: Callable[[], object] = lambda: None
        self._dropped_told = 0

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        """None: a line is one write, and a lock over greenlets and pool threads would be one more thing to wait for."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record. Raises nothing: a record that cannot be rendered is replaced by one that says so."""
        try:
            line = self.format(record)
        except Exception as failure:  # A recorder: telling must never fail what is told.
            line = dumps({"level": "error", "event": "log_record_broken", "reason": type(failure).__name__})
        if not self.lines.write(line.encode("utf-8", "backslashreplace") + b"\n"):
            self.on_drop()
        elif self.lines.dropped != self._dropped_told:
            self._dropped_told = self.lines.dropped
            logging.getLogger(__name__).warning("log_lines_dropped", extra={"lines_total": self._dropped_told})

    def close(self) -> None:
        """Close our own descriptor."""
        self.lines.close()
        super().close()


def configure(level: str, *, json: bool, redact: Redact, fd: int = 1) -> LineHandler:
    """Send every record of the process to the descriptor: one JSON object a line, or `json=False` for a person.

    `redact` is applied to every text of a record. May be called again (a worker after the fork, a test): the last
    call counts.
    """
    handler = LineHandler(fd)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                _add_pid,
                structlog.processors.format_exc_info,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _json_renderer(redact) if json else _person_renderer(redact),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _install(handler)
    set_level(level)
    return handler


def set_level(level: str) -> None:
    """Change the level of the running process: "debug", "info", "warn" or "error". KeyError for anything else."""
    number = LEVELS[level]
    logging.getLogger().setLevel(number)
    adopt_gunicorn()


def adopt_gunicorn() -> None:
    """Let gunicorn's loggers go where all others go: its own handlers write plain, unredacted lines."""
    is_debug = logging.getLogger().level == logging.DEBUG
    for name, level in (("gunicorn.error", logging.NOTSET), ("gunicorn.access", logging.INFO if is_debug else 100)):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)


def _install(handler: LineHandler) -> None:
    root = logging.getLogger()
    for other in [known for known in root.handlers if isinstance(known, LineHandler)]:
        root.removeHandler(other)
        other.close()
    root.addHandler(handler)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.INFO)


def _add_pid(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["pid"] = event["_record"].process
    return event


def _json_renderer(redact: Redact) -> Callable[[WrappedLogger, str, EventDict], str]:
    def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        ordered = {name: event.pop(name) for name in _STANDARD if name in event}
        ordered.update(event)
        # ASCII only, so that no reader sees a line end, an escape sequence or a change of direction in a value.
        for limit in (2_000, 400, 100):
            line = dumps(_clean(ordered, redact, limit))
            if len(line) < MAX_LINE_BYTES:
                return line
        core = {name: value for name, value in ordered.items() if name in _STANDARD}
        return dumps({**_clean(core, redact, 100), "truncated": True})

    return render


def _person_renderer(redact: Redact) -> Callable[[WrappedLogger, str, EventDict], str]:
    console = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        event.pop("pid", None)
        exception = event.pop("exception", None)
        shown = _clean(event, lambda text: _printable(redact(text)), _MAX_SCANNED_CHARS)
        if exception is not None:
            shown["exception"] = _printable(_text(exception, redact, _MAX_SCANNED_CHARS), kept="\n")
        return str(console(logger, method, shown))

    return render


def _printable(text: str, kept: str = "") -> str:
    """The text with everything escaped that ends a line or that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def _clean(value: Any, redact: Redact, limit: int, depth: int = 0) -> Any:
    """The value with every text in it redacted and cut to `limit` characters, and nothing that JSON cannot say."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {
            _text(name, redact, limit): _clean(item, redact, limit * 2 if name == "exception" else limit, depth + 1)
            for name, item in value.items()
        }
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, redact, limit, depth + 1) for item in value]
    return _text(value, redact, limit)


def _text(value: object, redact: Redact, limit: int) -> str:
    """Redacted first and cut afterwards: half a secret would not be recognised."""
    whole = str(value)
    text = redact(whole[:_MAX_SCANNED_CHARS])
    if len(whole) > _MAX_SCANNED_CHARS:
        return text[: min(limit, _MAX_SCANNED_CHARS // 2)]  # Its end may hold half a secret.
    return text if len(text) <= limit else f"{text[: limit // 2]} ... {text[-(limit // 2) :]}"
