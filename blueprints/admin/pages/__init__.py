"""The admin's screens, one module each. They work without JavaScript; what they show without a login is no secret."""

from __future__ import annotations

from flask import Flask

from blueprints.admin.pages import status


def register_pages(app: Flask) -> None:
    """Mount every screen, and send `/` to the first one."""
    app.register_blueprint(status.bp)
