"""gunicorn's logger class (`logger_class` in `gunicorn.conf.py`): its records go through `logs.py` from the first one.

Apart from `logs.py` because only a process that gunicorn runs has gunicorn.
"""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from tokenhub.observability.logs import adopt_gunicorn


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own, without its handlers. `logs.configure()` must have run before."""

    def setup(self, cfg: Any) -> None:
        """Let gunicorn set its levels and handlers, then take them away."""
        super().setup(cfg)
        adopt_gunicorn()
