"""An app with nothing but the admin API, over real services, a database file and a state in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flask import Flask

from blueprints import errors
from blueprints.admin.api import register_admin_api
from tests.fakes.state import FakeState
from tests.fakes.stores import migrated
from tokenhub.security import api_keys
from tokenhub.services.catalog import CatalogService
from tokenhub.services.keys import KeyService
from tokenhub.services.logs import LogService
from tokenhub.storage.catalog_store import SqlCatalogStore
from tokenhub.storage.request_log import SqlRequestLog

TOKEN = "admin-token-of-the-tests"


class Token:
    def matches(self, presented: str) -> bool:
        return presented == TOKEN


@pytest.fixture
def hub(tmp_path):
    database = migrated(tmp_path)
    state = FakeState()
    log = SqlRequestLog(database)
    return SimpleNamespace(
        metrics=SimpleNamespace(told=lambda error: None),
        admin_token=Token(),
        client_address=lambda environ: "127.0.0.1",
        state=state,
        log=log,
        keys=KeyService(state, api_keys),
        catalog=CatalogService(SqlCatalogStore(database), state, lambda secret, _: secret.encode(), lambda: None),
        logs=LogService(state, log),
    )


@pytest.fixture
def app(hub):
    app = Flask("tokenhub")
    app.url_map.strict_slashes = False
    app.extensions["tokenhub"] = hub
    register_admin_api(app)
    errors.register(app)
    return app


@pytest.fixture
def client(app):
    """A client that holds the admin token."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
    return client
