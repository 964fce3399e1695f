from gevent import monkey; monkey.patch_all()  # fmt: skip
# ruff: noqa: D100, E402, E702, I001, UP036 - the first line must run before anything else is imported
# How gunicorn runs TokenHub: prepare once in the master, fork the workers, start what each of them runs. What is
# prepared is in tokenhub/runtime/boot.py, what a worker runs in tokenhub/runtime/wiring.py.

import logging
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

if sys.version_info < (3, 11):  # Before our modules, which an older Python cannot read.
    print(f"tokenhub: needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
    sys.exit(2)

from setproctitle import setproctitle

from tokenhub import config as tokenhub_config
from tokenhub.errors import ConfigurationError
from tokenhub.observability import logs
from tokenhub.observability.gunicorn_logs import GunicornLogger
from tokenhub.runtime import grace_clock, metrics_folder
from tokenhub.security.redaction import redact


def _refuse(error: ConfigurationError) -> NoReturn:
    print(f"tokenhub: {error.message}", file=sys.stderr)
    sys.exit(2)


try:
    _settings = tokenhub_config.from_environment()
except ConfigurationError as error:
    _refuse(error)

_metrics_dir = metrics_folder.place(_settings.data_dir)
tokenhub_config.announce_metrics_dir(_metrics_dir)  # prometheus_client looks once, when it is first imported.
_log_lines = logs.configure(_settings.log_level, json=_settings.log_json, redact=redact)
grace_clock.install()
logging.getLogger("alembic").setLevel(logging.WARNING)  # It tells each of its plugins when it is imported.

_host = f"[{_settings.listen_host}]" if ":" in _settings.listen_host else _settings.listen_host

wsgi_app = "wsgi:application"
bind = f"{_host}:{_settings.listen_port}"
workers = _settings.workers
worker_class = "tokenhub.runtime.worker.Worker"
worker_connections = 1000
preload_app = False
timeout = 60
graceful_timeout = 60
keepalive = 5
limit_request_line = 4094
accesslog = None
logger_class = GunicornLogger
control_socket_disable = True
# No header from a client may set a CGI variable or the scheme; proxies are believed by security/client_address.py.
forwarder_headers = ""
forwarded_allow_ips = ""

CATALOG_S = 2.0
"""A worker that cannot read the catalog in this time begins without, and answers 503 until it can."""

_prepared: Any = None
_claim: Any = None


def nworkers_changed(server: Any, new_value: int, old_value: int | None) -> None:
    # The first hook there is: with --preload the application is loaded right after it, before on_starting.
    if server.cfg.preload_app:
        _refuse(ConfigurationError("--preload", "cannot be used: each worker must load the application by itself"))


def on_starting(server: Any) -> None:
    global _claim, _prepared
    from tokenhub.runtime import boot

    is_upgrade = server.master_pid != 0  # SIGUSR2: the old master still serves, on this port and from this folder.
    try:
        if is_upgrade:
            boot.take_over(_settings)
        else:
            _claim = boot.claim(_settings)
        _prepared = boot.prepare(_settings)
    except ConfigurationError as error:
        _refuse(error)
    if not is_upgrade:
        metrics_folder.clear(_metrics_dir)


def when_ready(server: Any) -> None:
    from tokenhub.runtime import boot
    from tokenhub.runtime.reload import Reload

    on_terminal = sys.stdout.isatty()
    reload = Reload(_settings)

    def hang_up() -> None:
        if on_terminal and not sys.stdout.isatty():  # The terminal was closed; nobody asked for a reload.
            raise StopIteration  # How gunicorn's own handlers stop it.
        reload()

    print(boot.announce(_prepared, tty=on_terminal), flush=True)
    server.handle_hup = hang_up
    tokenhub_config.this_is_master()


def pre_fork(server: Any, worker: Any) -> None:
    setproctitle("tokenhub")  # Here, because gunicorn sets its own after when_ready.


def post_fork(server: Any, worker: Any) -> None:
    setproctitle("tokenhub: worker")
    if not metrics_folder.make(_metrics_dir):
        # With the name of a folder that is not there it would not boot; so it tells its own metrics only.
        tokenhub_config.announce_metrics_dir(Path(tempfile.mkdtemp(prefix="tokenhub-")))
    if _claim is not None:
        _claim.let_go()


def post_worker_init(worker: Any) -> None:
    from tokenhub.runtime import wiring

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Reloading is the master's.
    runtime = worker.wsgi.extensions["tokenhub"]
    _log_lines.on_drop = runtime.metrics.line_dropped
    worker.tokenhub_jobs = wiring.start(
        runtime, is_stopping=lambda: not worker.alive, grace_s=worker.cfg.graceful_timeout
    )
    until = time.monotonic() + CATALOG_S  # It accepts connections when this returns: not before it can answer them.
    while runtime.live.catalog.epoch < 0 and time.monotonic() < until:
        time.sleep(0.01)


def worker_exit(server: Any, worker: Any) -> None:
    from tokenhub.runtime import wiring

    jobs = getattr(worker, "tokenhub_jobs", None)
    if jobs is not None:
        wiring.stop(worker.wsgi.extensions["tokenhub"], jobs)


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
