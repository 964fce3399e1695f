"""create_app(): the one place that sees blueprints and runtime."""

from __future__ import annotations

from pathlib import Path

from flask import Flask
from flask_cors import CORS

from blueprints import errors, guards, register_all
from tokenhub.config import Settings, from_environment
from tokenhub.runtime import wiring

EXPOSED = ("x-request-id", "x-tokenhub-model", "x-tokenhub-provider", "x-tokenhub-decision-id", "x-tokenhub-reason")
"""Response headers that a script in a browser may read. No credentials are ever allowed across origins."""


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application, wired but with nothing started: no job, no connection.

    `settings` None reads the environment, as gunicorn's workers and `flask --app app` do. Never raises for a
    database, state or file that is bad: such an app answers 503 until it is good again.
    """
    settings = settings or from_environment()
    app = Flask("tokenhub", root_path=str(Path(__file__).resolve().parent))
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    runtime = wiring.build(settings, status_of=errors.status_of)
    app.extensions["tokenhub"] = runtime
    runtime.metrics.mount(app)
    guards.register(app)
    if settings.cors_origins:
        CORS(app, resources={r"/v1/*": {"origins": list(settings.cors_origins)}}, expose_headers=EXPOSED, max_age=300)
    register_all(app)
    return app
