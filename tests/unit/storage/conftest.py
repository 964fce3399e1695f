"""A migrated database in a file of its own."""

from __future__ import annotations

import pytest

from tokenhub.storage.database import Database, engine_for
from tokenhub.storage.migrate import upgrade


@pytest.fixture
def path(tmp_path):
    upgrade(str(tmp_path / "hub.sqlite"))
    return tmp_path / "hub.sqlite"


@pytest.fixture
def database(path):
    return Database(engine_for(str(path), busy_timeout_s=0.05))
