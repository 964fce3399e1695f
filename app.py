"""create_app(): the one place that sees blueprints and runtime."""

from __future__ import annotations

from pathlib import Path

from flask import Flask

from blueprints import errors, headers, register_all
from blueprints.lean import LeanFlask
from tokenhub.config import Settings, from_environment
from tokenhub.runtime import wiring


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application, wired but with nothing started: no job, no connection.

    `settings` None reads the environment, as gunicorn's workers and `flask --app app` do. Never raises for a
    database, state or file that is bad: such an app answers 503 until it is good again.
    """
    settings = settings or from_environment()
    app = LeanFlask("tokenhub", root_path=str(Path(__file__).resolve().parent))
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # A redirect would be built from the caller's Host.
    runtime = wiring.build(settings, status_of=errors.status_of)
    app.extensions["tokenhub"] = runtime
    runtime.metrics.mount(app, runtime.offload)
    register_all(app)
    headers.register(app, settings.cors_origins)
    return app
