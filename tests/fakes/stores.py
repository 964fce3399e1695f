"""A migrated database in a folder, and a sealing that shows what it sealed."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from tokenhub.storage.database import Database, engine_for
from tokenhub.storage.migrate import upgrade


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        upgrade(f"{folder}/hub.sqlite")
        return Path(folder, "hub.sqlite").read_bytes()


def migrated(folder: Path) -> Database:
    """A database of the newest schema at `folder`/hub.sqlite; migrated once, and copied."""
    path = folder / "hub.sqlite"
    path.write_bytes(_template())
    return Database(engine_for(str(path)))


class OpenSealing:
    """Readable, and different each time, as a nonce makes it."""

    def __init__(self) -> None:
        self.count = 0

    def seal(self, secret: str, provider_id: str) -> bytes:
        self.count += 1
        return f"{self.count}|{provider_id}|{secret}".encode()

    def open(self, sealed: bytes, provider_id: str) -> str:
        _, owner, secret = sealed.decode().split("|")
        if owner != provider_id:
            raise ValueError("sealed for another provider")
        return secret
