from gevent import monkey; monkey.patch_all()  # fmt: skip
# ruff: noqa: D100, E402, E702, I001, UP036 - the first line must run before anything else is imported
# How gunicorn runs TokenHub: prepare once in the master, fork the workers, start what each of them runs. What is
# prepared is in tokenhub/runtime/boot.py, what a worker runs in tokenhub/runtime/wiring.py.

import logging
import signal
import sys
from typing import Any, NoReturn

if sys.version_info < (3, 11):  # Before our modules, which an older Python cannot read.
    print(f"tokenhub: needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
    sys.exit(2)

from setproctitle import setproctitle

from tokenhub import config as tokenhub_config
from tokenhub.errors import ConfigurationError
from tokenhub.observability import logs
from tokenhub.observability.gunicorn_logs import GunicornLogger
from tokenhub.runtime import metrics_folder
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
logging.getLogger("alembic").setLevel(logging.WARNING)  # It tells each of its plugins when it is imported.

_host = f"[{_settings.listen_host}]" if ":" in _settings.listen_host else _settings.listen_host

wsgi_app = "wsgi:application"
bind = f"{_host}:{_settings.listen_port}"
workers = _settings.workers
worker_class = "gevent"
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

_prepared: Any = None


def on_starting(server: Any) -> None:
    global _prepared
    from tokenhub.runtime import boot

    is_upgrade = server.master_pid != 0  # SIGUSR2: the old master still serves on the port.
    try:
        _prepared = boot.prepare(_settings, probe_port=not is_upgrade)
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
    metrics_folder.ensure(_metrics_dir)  # A worker without it would not boot.
    setproctitle("tokenhub")  # Here, because gunicorn sets its own after when_ready.


def post_fork(server: Any, worker: Any) -> None:
    setproctitle("tokenhub: worker")


def post_worker_init(worker: Any) -> None:
    from tokenhub.runtime import wiring

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Reloading is the master's.
    runtime = worker.wsgi.extensions["tokenhub"]
    _log_lines.on_drop = runtime.metrics.line_dropped
    worker.tokenhub_jobs = wiring.start(runtime)


def worker_exit(server: Any, worker: Any) -> None:
    jobs = getattr(worker, "tokenhub_jobs", None)
    if jobs is not None:
        jobs.stop()


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
