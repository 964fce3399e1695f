"""What the master does once, before any worker exists: check, make what is missing, migrate, seed, tell.

It opens its own connections and closes them again, because workers are forked from this process later. Everything
that can be wrong here is a ConfigurationError: one line, exit code 2.
"""

from __future__ import annotations

import errno
import logging
import os
import shlex
import socket
from dataclasses import dataclass, field
from pathlib import Path

from tokenhub import config
from tokenhub.config import Settings
from tokenhub.errors import ConfigurationError
from tokenhub.runtime import claim as claims
from tokenhub.runtime import credentials, stores
from tokenhub.runtime.stores import Stores
from tokenhub.security import admin, api_keys, sealing_key, secret_files
from tokenhub.services.keys import KeyService
from tokenhub.state.sqlite_file import open_schema
from tokenhub.storage import migrate

log = logging.getLogger(__name__)

FIRST_KEY_FILE = "first-api-key"
HELLO = '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}'


@dataclass(frozen=True, slots=True)
class Boot:
    """What came of it."""

    settings: Settings
    is_demo: bool
    """Whether only the built-in provider answers."""
    first_key: str = field(repr=False, default="")
    """The secret in the file, if it still is a key; else ""."""

    @property
    def url(self) -> str:
        """Where a person on this machine finds the server."""
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.settings.listen_host, self.settings.listen_host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.listen_port}"


def claim(settings: Settings) -> claims.Claim:
    """Make sure that nobody else has the port or the data folder; keep what this gives. Raises ConfigurationError."""
    os.umask(0o077)
    probe(settings.listen_host, settings.listen_port)
    secret_files.ensure_folder(settings.data_dir)
    return claims.Claim(settings.data_dir)


def take_over(settings: Settings) -> None:
    """As `claim`, for a master that was exec'd by the one that has both."""
    claims.take_over(settings.data_dir)


def prepare(settings: Settings) -> Boot:
    """Make everything ready for workers. Raises ConfigurationError; what was done until then is harmless."""
    os.umask(0o077)  # State and database are private too, and are made by SQLite.
    secret_files.ensure_folder(settings.data_dir)
    wanted = credentials.read(settings.credentials_file, is_required=settings.credentials_required)
    sealing_key.ensure(settings.data_dir / sealing_key.FILE_NAME)
    if not settings.admin_token:
        admin.ensure(settings.data_dir / admin.FILE_NAME)
    migrate.upgrade(settings.db_url)
    open_schema(settings.state_path)
    environ = config.environment()
    with stores.opened(settings) as opened:
        stores.apply(opened, settings, wanted, environ)
        first_key = _first_key(opened, settings.data_dir / FIRST_KEY_FILE)
        is_demo = opened.is_demo()
    for name in config.unknown(environ):
        log.warning("unknown_setting", extra={"variable": name})
    return Boot(settings, is_demo, first_key)


def probe(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on. gunicorn would find out late, after five seconds of trying."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(1)  # Two sockets may be bound to one address as long as neither listens.
    except OSError as error:
        why = {
            errno.EADDRINUSE: "is in use: stop what listens there, or choose another port",
            errno.EACCES: "needs privileges: choose a port above 1023",
        }.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
        raise ConfigurationError("TOKENHUB_LISTEN_ADDR", f"port {port} of {host} {why}") from None


def announce(boot: Boot, *, tty: bool) -> str:
    """What is printed once when the server is ready. Secrets only to a terminal: a log is no place for them."""
    settings = boot.settings
    key_file = settings.data_dir / FIRST_KEY_FILE
    admin_file = settings.data_dir / admin.FILE_NAME
    lines = [
        f"TokenHub is ready: {boot.url}",
        f"  admin token   {'from TOKENHUB_ADMIN_TOKEN' if settings.admin_token else f'in {admin_file}'}",
    ]
    if boot.is_demo:
        lines.append("  provider      the built-in demo (until you add one)")
    if not boot.first_key:
        lines.append("  API key       make one: POST /admin/v1/apikeys")
        return "\n".join(lines)
    lines.append(f"  API key       {boot.first_key if tty else f'in {key_file}'}")
    bearer = boot.first_key if tty else f"$(cat {shlex.quote(str(key_file))})"
    lines.append(
        f'  try it        curl {boot.url}/v1/chat/completions -H "Authorization: Bearer {bearer}" '
        f"-H 'Content-Type: application/json' -d '{HELLO}'"
    )
    return "\n".join(lines)


class _Planned:
    """Gives out a secret that is already in its file; otherwise as `security/api_keys.py`."""

    key_hash = staticmethod(api_keys.key_hash)
    prefix = staticmethod(api_keys.prefix)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def generate(self) -> str:
        """The planned secret."""
        return self._secret


def _first_key(opened: Stores, path: Path) -> str:
    """Make the first key if there is no key at all; gives the secret in the file if it is a key still.

    The file is written first: a start that is killed in between leaves a file that is written again, not a key that
    nobody knows.
    """
    if opened.state.keys(1, 0)[1] == 0:
        secret = api_keys.generate()
        secret_files.replace(path, f"{secret}\n".encode())
        KeyService(opened.state, _Planned(secret)).ensure_first_key()
        return secret
    if not path.exists():
        return ""
    secret = secret_files.read(path).decode("ascii", "replace").strip()
    key = opened.state.key_by_hash(api_keys.key_hash(secret)) if api_keys.looks_like(secret) else None
    return secret if key is not None and key.enabled else ""
