"""The master's answer to SIGHUP: read env file, credentials and log level again; all of it, or nothing.

gunicorn calls it in its main loop. It never raises (that would stop the server), starts no thread and leaves no
connection open. Workers keep running: they find the result in the state, where the moved epoch sends them.
"""

from __future__ import annotations

import logging

from tokenhub import config
from tokenhub.config import Settings
from tokenhub.errors import TokenHubError
from tokenhub.observability import logs
from tokenhub.runtime import credentials, stores

log = logging.getLogger(__name__)


class Reload:
    """Call it to reload. Remembers what was loaded last, to tell what changed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self) -> None:
        """Reload, or log one line that says why not."""
        try:
            self._reload()
        except TokenHubError as error:
            log.error("reload_refused", extra={"reason": error.message})
        except Exception:
            # Whatever it is: the server runs on with what it has.
            log.exception("reload_failed")

    def _reload(self) -> None:
        found = config.reread()
        settings = config.overlaid(self.settings, found.texts)
        changed, needs_restart = config.changed(self.settings, found)
        # Where the file is is not reloadable, what is in it is.
        wanted = credentials.read(settings.credentials_file, is_required=settings.credentials_required)
        with stores.opened(settings) as opened:
            entries = stores.apply(opened, settings, wanted, config.environment())
        logs.set_level(settings.log_level)
        self.settings = settings
        log.info("reloaded", extra={"settings": changed, "catalog": entries, "needs_restart": needs_restart})
