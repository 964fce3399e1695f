"""Wiring: adapters meet services here. `build` makes a worker's parts and starts nothing; `start` starts its jobs."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gevent import monkey

from tokenhub import config
from tokenhub.config import Settings
from tokenhub.domain.catalog import Catalog
from tokenhub.domain.policy import Policy
from tokenhub.errors import ConfigurationError, FeatureUnavailable, Stopping, TokenHubError
from tokenhub.observability import logs
from tokenhub.observability.drain import BATCH, Drain
from tokenhub.observability.metrics import Metrics
from tokenhub.observability.observations import Observer
from tokenhub.providers.http import HttpClient
from tokenhub.providers.registry import ProviderRegistry
from tokenhub.providers.transport import Transport
from tokenhub.runtime.departures import Departures
from tokenhub.runtime.jobs import EpochWatch, HubWatchdog, Job, Jobs, ObservationWatch
from tokenhub.runtime.live import Belief, Live
from tokenhub.runtime.offload import ThreadOffload
from tokenhub.runtime.sealing import key_context, sealer_from
from tokenhub.security import addresses, admin, api_keys
from tokenhub.security.client_address import ClientAddress
from tokenhub.services.account import Backlog
from tokenhub.services.aliases import AliasService
from tokenhub.services.callers import Callers
from tokenhub.services.catalog import CatalogService
from tokenhub.services.chat import ChatService
from tokenhub.services.dispatch import Dispatcher, Limits
from tokenhub.services.keys import KeyService
from tokenhub.services.logs import LogService
from tokenhub.services.pace import FULL_ROWS, Pace
from tokenhub.services.routing import RoutingService
from tokenhub.services.routing_config import RoutingConfigService, laid_over
from tokenhub.state.sqlite import SqliteState
from tokenhub.storage import known_models
from tokenhub.storage.catalog_store import SqlCatalogStore
from tokenhub.storage.database import Database, engine_for
from tokenhub.storage.request_log import SqlRequestLog

log = logging.getLogger(__name__)

WORKER_LIFE_S = 20.0
RECONCILE_BATCH = 200
THREADS = 6
"""For the database, the state's checkpoints and scrapes of /metrics: all that blocks in a worker."""
LAST_CALL_S, LAST_CALL_SHARE = 5.0, 0.4
"""How long before the end of the grace open requests are ended, and at most which share of it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a worker works with. Blueprints see it as `blueprints.services.Services`."""

    front: Settings
    state: SqliteState
    live: Live
    providers: ProviderRegistry
    backlog: Backlog
    pace: Pace
    callers: Callers
    chat: ChatService
    catalog: CatalogService
    aliases: AliasService
    routing: RoutingService
    keys: KeyService
    logs: LogService
    routing_config: RoutingConfigService
    metrics: Metrics
    store: SqlCatalogStore
    request_log: SqlRequestLog
    admin_token: admin.AdminToken
    client_address: ClientAddress
    departures: Departures
    offload: ThreadOffload
    worker_id: str

    @property
    def snapshot(self) -> Live:
        """What the request path reads."""
        return self.live


def build(settings: Settings, *, status_of: Callable[[TokenHubError], int]) -> Runtime:
    """Make the parts of one worker. Opens nothing; files and databases may be bad, calls then raise Unavailable."""
    worker_id = f"{os.getpid()}-{secrets.token_hex(4)}"
    group_commit = monkey.is_module_patched("threading")  # as in gunicorn's workers: then all callers are greenlets
    state = SqliteState(settings.state_path, worker_id=worker_id, group_commit=group_commit)
    offload = ThreadOffload(THREADS)
    database = Database(engine_for(settings.db_url), offload)
    known = known_models.load()
    store, request_log = SqlCatalogStore(database, known), SqlRequestLog(database)
    live = Live(_belief(settings, Catalog(), settings.default_policy))
    providers = ProviderRegistry(HttpClient(Transport(allow_address=addresses.may_be_called)))
    backlog, pace = Backlog(state), Pace()
    callers = Callers(state, _key_hash, live.rates)
    chat = ChatService(
        state=state,
        backlog=backlog,
        callers=callers,
        snapshot=live,
        providers=providers,
        dispatcher=Dispatcher(providers, Limits(settings.provider_timeout_s, settings.request_timeout_s)),
        pace=pace,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        status_of=status_of,
    )
    return Runtime(
        front=settings,
        state=state,
        live=live,
        providers=providers,
        backlog=backlog,
        pace=pace,
        callers=callers,
        chat=chat,
        catalog=CatalogService(store, state, _seal(settings.data_dir), _ask_master, known),
        aliases=AliasService(store, state),
        routing=RoutingService(live, providers, state),
        keys=KeyService(state, api_keys),
        logs=LogService(state, request_log),
        routing_config=RoutingConfigService(
            store, state, lambda: config.overlaid(settings, state.settings()).default_policy
        ),
        metrics=Metrics(lambda: live.catalog, multiprocess=config.shares_metrics()),
        store=store,
        request_log=request_log,
        admin_token=admin.AdminToken(settings.admin_token, settings.data_dir / admin.FILE_NAME),
        client_address=ClientAddress(settings.trusted_proxies),
        departures=Departures(),
        offload=offload,
        worker_id=worker_id,
    )


def start(runtime: Runtime, *, is_stopping: Callable[[], bool] = lambda: False, grace_s: float = 60.0) -> Jobs:
    """Start a worker's jobs; call it after the fork. Never raises for a bad state or database: jobs try again.

    `is_stopping` tells that the worker was asked to stop; what still runs near the end of `grace_s` is then ended,
    told and settled, before the server would cut it.
    """
    _quieten_collector()
    jobs = Jobs(
        [*_jobs(runtime), Job("stopping", 0.1, _LastCall(runtime, is_stopping, grace_s))],
        state=runtime.state,
        holder=runtime.worker_id,
        offload=runtime.offload,
    )
    jobs.start()
    return jobs


def stop(runtime: Runtime, jobs: Jobs) -> None:
    """Stop the jobs and settle what still waits to be settled."""
    jobs.stop()
    runtime.backlog.retry()


class _LastCall:
    """Job: once the worker stops, ends every request that would not be over in time."""

    def __init__(self, runtime: Runtime, is_stopping: Callable[[], bool], grace_s: float) -> None:
        self._runtime = runtime
        self._is_stopping = is_stopping
        self._wait_s = max(grace_s * (1 - LAST_CALL_SHARE), grace_s - LAST_CALL_S)
        self._since: float | None = None

    def __call__(self) -> None:
        if self._since is None and self._is_stopping():
            self._since = time.monotonic()
        if self._since is not None and time.monotonic() - self._since >= self._wait_s:
            ended = self._runtime.departures.end_all(Stopping("the server is stopping: ask again"))
            if ended:
                log.warning("requests_ended", extra={"requests": ended, "why": "server_stopping"})


def _quieten_collector() -> None:
    """Keep Python's cycle collector off the request path: what was imported lives for ever and is not looked at again,
    and a request leaves few cycles behind, so looking every 700 allocations only costs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def refresh(runtime: Runtime, epoch: int) -> None:
    """Believe what database and state say now: catalog, keys, reloadable settings."""
    settings = config.overlaid(runtime.front, runtime.state.settings())
    catalog = runtime.store.load(epoch)
    runtime.providers.rebuild(
        catalog.providers.values(), _opened(runtime.front.data_dir, runtime.state.provider_keys())
    )
    defaults, unread = laid_over(settings.default_policy, runtime.store.routing_defaults())
    if unread:
        log.error("routing_defaults_unreadable", extra={"names": unread})
    runtime.live.swap(_belief(settings, catalog, defaults))
    logs.set_level(settings.log_level)


def _belief(settings: Settings, catalog: Catalog, defaults: Policy) -> Belief:
    return Belief(catalog, defaults, settings.rate_limit_rps, settings.rate_limit_burst)


def _jobs(runtime: Runtime) -> list[Job]:
    state = runtime.state
    drain = Drain(state, runtime.request_log, [runtime.metrics.observe, Observer(state).learn])

    def drained() -> bool:
        rows = drain.run_once()
        runtime.metrics.drained(rows)
        return rows == BATCH

    def look_at_backlog() -> None:
        runtime.pace.rows = state.outbox_rows(FULL_ROWS)

    return [
        Job("alive", 5.0, lambda: state.alive(runtime.worker_id, os.getpid(), WORKER_LIFE_S)),
        Job("epoch", 0.25, EpochWatch(state.epoch, lambda epoch: refresh(runtime, epoch))),
        Job("observed", 1.0, ObservationWatch(state, runtime.live)),
        Job("backlog", 0.25, runtime.backlog.retry),
        Job("drain", 0.5, drained, lease="drain"),
        Job("pace", 0.5, look_at_backlog),
        Job("reconcile", 5.0, lambda: state.reconcile(RECONCILE_BATCH) == RECONCILE_BATCH, lease="reconcile"),
        Job("housekeeping", 1.0, state.housekeeping, lease="housekeeping", pooled=True),
        Job("watchdog", 0.02, HubWatchdog(runtime.metrics.hub_late)),
    ]


def _key_hash(secret: str) -> bytes | None:
    return api_keys.key_hash(secret) if api_keys.looks_like(secret) else None


def _seal(data_dir: Path) -> Callable[[str, str], bytes]:
    def seal(secret: str, provider_id: str) -> bytes:
        try:
            return sealer_from(data_dir).seal(secret, key_context(provider_id))
        except ConfigurationError as error:
            log.error("sealing_key_unusable", extra={"why": error.message})
            raise FeatureUnavailable("provider keys cannot be stored: the sealing key is not readable") from error

    return seal


def _opened(data_dir: Path, sealed: Mapping[str, bytes]) -> dict[str, str]:
    """The provider keys that can be opened; one that cannot makes its provider not ready, and is told."""
    opened: dict[str, str] = {}
    if not sealed:
        return opened
    try:
        sealer = sealer_from(data_dir)
    except ConfigurationError as error:
        log.error("sealing_key_unusable", extra={"why": error.message})
        return opened
    for provider_id, blob in sealed.items():
        try:
            opened[provider_id] = sealer.open(blob, key_context(provider_id))
        except ValueError:
            log.error("provider_key_unreadable", extra={"provider_id": provider_id})
    return opened


def _ask_master() -> None:
    """Have the master resolve key references: SIGHUP to it, if a master of ours is there."""
    config.signal_master()
