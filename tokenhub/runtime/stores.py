"""State and catalog as the master uses them, at start and at reload: opened, changed, closed. No threads, because
workers are forked from the master at any time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tokenhub.config import Settings
from tokenhub.domain.ports import CatalogStore
from tokenhub.errors import ConfigurationError, Unavailable
from tokenhub.providers.demo import catalog as demo
from tokenhub.runtime.credentials import Credentials
from tokenhub.runtime.sealing import key_context, sealer_from
from tokenhub.services.seeding import Seeding
from tokenhub.state.sqlite import SqliteState
from tokenhub.storage.catalog_store import SqlCatalogStore
from tokenhub.storage.database import Database, engine_for

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stores:
    """What the master writes to."""

    state: SqliteState
    catalog: CatalogStore

    def is_demo(self) -> bool:
        """Whether only the built-in provider is offered."""
        offered = self.catalog.load(self.state.epoch()).providers
        return any(provider.type == demo.PROVIDER.type for provider in offered.values())


@contextmanager
def opened(settings: Settings) -> Iterator[Stores]:
    """State and catalog, closed at the end. Raises ConfigurationError where one of them cannot be used."""
    engine = engine_for(settings.db_url)
    state = SqliteState(settings.state_path, worker_id="master")
    try:
        yield Stores(state, SqlCatalogStore(Database(engine)))
    except Unavailable as error:
        name = "TOKENHUB_DB_DSN" if error.code == "database_unavailable" else "TOKENHUB_STATE_URL"
        raise ConfigurationError(name, error.message) from error
    finally:
        state.close()
        engine.dispose()


def apply(stores: Stores, settings: Settings, wanted: Credentials, environ: Mapping[str, str]) -> list[str]:
    """Seed the credentials and the demo, resolve key references, hand the reloadable settings to the workers, and have
    them read it all. Gives what changed in the catalog, as "provider x" or "model y"."""
    sealer = sealer_from(settings.data_dir)
    seeding = Seeding(
        stores.catalog,
        stores.state,
        lambda secret, provider_id: sealer.seal(secret, key_context(provider_id)),
        lambda sealed, provider_id: sealer.open(sealed, key_context(provider_id)),
    )
    seeded = seeding.seed(wanted.providers, wanted.models)
    seeding.seed_demo(demo.PROVIDER, demo.MODELS)
    for name in seeding.resolve_references(environ.get):
        log.warning("key_reference_unresolved", extra={"variable": name})
    for entry in seeded.skipped:
        log.warning("credentials_entry_skipped", extra={"entry": entry, "reason": "its provider is not there"})
    stores.state.put_settings(settings.reloadable)  # moves the epoch
    return seeded.changed
