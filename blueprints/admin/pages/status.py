"""The status page: is it up, and what to do next. Nobody has logged in here, so it says no more than the probes do."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from blueprints.probes import failed_checks, health
from blueprints.services import services
from tokenhub import __version__

bp = Blueprint("status", __name__)


@bp.get("/")
def root() -> Response:
    """Send people who open the bare address to the page that is for them."""
    return redirect(url_for("status.page"), 302)


@bp.get("/admin/", strict_slashes=False)
def page() -> str:
    """The page itself; 200 also while something is wrong, since saying so is its purpose."""
    worker = services()
    return render_template(
        "admin/status/index.html",
        version=__version__,
        failed=failed_checks(worker),
        health=health(worker),
        base_url=request.host_url.rstrip("/"),
    )
