"""The administrator's bearer token: from the settings, or from a file that the master made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from tokenhub.errors import ConfigurationError
from tokenhub.security import secret_files

FILE_NAME = "admin-token"
MIN_CHARS = 16


class AdminToken:
    """Compares presented tokens with the real one, in constant time. Keeps a digest, never the token."""

    __slots__ = ("_digest", "_path")

    def __init__(self, token: str, path: Path) -> None:
        """`token`: from the settings; "": the one in the file `path`, which is read when it is first needed."""
        self._digest = _digest(token) if token else None
        self._path = path

    def __repr__(self) -> str:
        return "AdminToken(...)"

    def matches(self, presented: str) -> bool:
        """Whether this is the token; any text may be presented. False while the file cannot be read."""
        expected = self._expected()
        return expected is not None and hmac.compare_digest(_digest(presented), expected)

    def _expected(self) -> bytes | None:
        if self._digest is None:
            try:
                self._digest = _digest(read(self._path))
            except ConfigurationError:
                return None
        return self._digest


def ensure(path: Path) -> None:
    """Make the file with a new token if there is none. Raises ConfigurationError where it is not usable."""
    secret_files.create(path, f"{secrets.token_urlsafe(32)}\n".encode())
    read(path)


def read(path: Path) -> str:
    """The token in the file. Raises ConfigurationError."""
    token = secret_files.read(path).decode("utf-8", "replace").strip()
    if len(token) < MIN_CHARS or not token.isascii() or not token.isprintable():
        raise ConfigurationError(str(path), f"holds no token of at least {MIN_CHARS} ASCII characters; delete it")
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
