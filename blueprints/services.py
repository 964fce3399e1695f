"""What blueprints see of the running worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from flask import current_app

from tokenhub.domain.ports import Line, Providers, Snapshot, State
from tokenhub.errors import TokenHubError
from tokenhub.services.aliases import AliasService
from tokenhub.services.callers import Callers
from tokenhub.services.catalog import CatalogService
from tokenhub.services.chat import ChatService
from tokenhub.services.keys import KeyService
from tokenhub.services.logs import LogService
from tokenhub.services.routing import RoutingService
from tokenhub.services.routing_config import RoutingConfigService


class ClientAddress(Protocol):
    """Where a request comes from."""

    def __call__(self, environ: Mapping[str, Any]) -> str:
        """The peer's address, or what a trusted proxy says of it."""


class Departure(Line, Protocol):
    """The line to a caller who may leave; whoever asked for it closes it before the last bytes are written."""

    def close(self) -> None:
        """Stop watching."""


class Departures(Protocol):
    """Watches callers."""

    def watch(self, environ: Mapping[str, Any]) -> Departure:
        """Watch the caller of the request with this WSGI environment, whose body has been read."""


class AdminToken(Protocol):
    """The administrator's secret."""

    def matches(self, presented: str) -> bool:
        """Whether this is the token; constant time, any text allowed."""


class Front(Protocol):
    """What a door needs to know of the settings."""

    max_body_bytes: int
    public_models: bool


class Metrics(Protocol):
    """What is counted of answers that leave no receipt."""

    def told(self, error: TokenHubError) -> None:
        """Count an error that a caller was told."""


class Services(Protocol):
    """The services of this worker; `runtime/wiring.py` builds them."""

    callers: Callers
    chat: ChatService
    catalog: CatalogService
    aliases: AliasService
    routing: RoutingService
    keys: KeyService
    logs: LogService
    routing_config: RoutingConfigService
    state: State
    snapshot: Snapshot
    providers: Providers
    admin_token: AdminToken
    client_address: ClientAddress
    departures: Departures
    front: Front
    metrics: Metrics


def services() -> Services:
    """The services of the app that handles this request."""
    return cast(Services, current_app.extensions["tokenhub"])
