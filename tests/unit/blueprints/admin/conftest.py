"""An app with nothing but the admin API, over real services, a database file and a state in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flask import Flask

from blueprints import errors
from blueprints.admin.api import register_admin_api
from tests.fakes.state import FakeState
from tests.fakes.stores import migrated
from tokenhub.domain.observed import Observations
from tokenhub.domain.policy import DEFAULTS
from tokenhub.security import api_keys
from tokenhub.services.aliases import AliasService
from tokenhub.services.catalog import CatalogService
from tokenhub.services.keys import KeyService
from tokenhub.services.logs import LogService
from tokenhub.services.routing import RoutingService
from tokenhub.services.routing_config import RoutingConfigService
from tokenhub.storage.catalog_store import SqlCatalogStore
from tokenhub.storage.request_log import SqlRequestLog

TOKEN = "admin-token-of-the-tests"


class Token:
    def matches(self, presented: str) -> bool:
        return presented == TOKEN


class Live:
    """What a worker believes that reads the database each time."""

    defaults = DEFAULTS

    def __init__(self, store, state) -> None:
        self._store, self._state = store, state

    @property
    def catalog(self):
        return self._store.load(self._state.epoch())

    @property
    def observed(self):
        return Observations(self.catalog.facts)


class Ready:
    """Providers, all of which could be asked but those named "broken"."""

    def __init__(self, store) -> None:
        self._store = store

    def ready(self):
        return self._store.load(1).providers.keys() - {"broken"}


@pytest.fixture
def hub(tmp_path):
    database = migrated(tmp_path)
    state = FakeState()
    log = SqlRequestLog(database)
    store = SqlCatalogStore(database)
    return SimpleNamespace(
        metrics=SimpleNamespace(told=lambda error: None),
        admin_token=Token(),
        client_address=lambda environ: "127.0.0.1",
        state=state,
        log=log,
        keys=KeyService(state, api_keys),
        catalog=CatalogService(SqlCatalogStore(database), state, lambda secret, _: secret.encode(), lambda: None),
        aliases=AliasService(store, state),
        routing=RoutingService(Live(store, state), Ready(store), state),
        logs=LogService(state, log),
        routing_config=RoutingConfigService(SqlCatalogStore(database), state, lambda: DEFAULTS),
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
