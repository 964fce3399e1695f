"""The settings: the environment, read once into a frozen `Settings`. The only reader of the environment.

The table is in `config_table.py`; `.env.example` is printed from it: `python -m tokenhub.config > .env.example`. Not
here: policy knobs (`domain/policy.py` reads them) and anything that an administrator changes at run time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tokenhub import config_values as values
from tokenhub.config_table import MIN_ADMIN_TOKEN_CHARS, ROW, TABLE, Variable
from tokenhub.domain.policy import DEFAULTS, Policy, merge
from tokenhub.domain.policy import TABLE as KNOBS
from tokenhub.errors import ConfigurationError

SHARED_DATA_DIR = Path("/data")
"""Where a container mounts its volume; the default where it is writable."""

_master_pid = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator sets. Never changes; a reload makes another one."""

    listen_host: str
    listen_port: int
    log_level: str
    db_url: str
    """An SQLAlchemy URL."""
    data_dir: Path
    state_path: Path
    credentials_file: Path
    credentials_required: bool
    """Whether the file was named, so that its absence is an error."""
    env: Literal["production", "development"]
    workers: int
    default_policy: Policy
    admin_token: str = field(repr=False)
    """ "": the one in the data folder counts."""
    cors_origins: tuple[str, ...]
    """("*",): all; empty: none."""
    rate_limit_rps: int
    rate_limit_burst: int
    trusted_proxies: tuple[values.Network, ...]
    provider_timeout_s: float
    request_timeout_s: float
    max_body_bytes: int
    public_models: bool
    texts: Mapping[str, str] = field(repr=False)
    """Every variable as it was written (or its default)."""

    @property
    def reloadable(self) -> dict[str, str]:
        """What a reload may change, by variable: what the master hands to the workers through the state."""
        return {name: text for name, text in self.texts.items() if ROW[name].reloadable}

    @property
    def log_json(self) -> bool:
        """Whether logs are JSON lines (production) or meant for a person."""
        return self.env == "production"


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from an environment and the env file it names.

    Raises ConfigurationError naming the variable, its value (never a secret's) and what is accepted. A variable that
    is set but empty counts as not set; only the admin token may not be empty in production.
    """
    given = with_env_file(environ)
    texts = {row.name: given.get(row.name) or row.default for row in TABLE}
    read = {row.name: _read(row, texts) for row in TABLE}
    _check_admin_token(given, read["TOKENHUB_ENV"])
    data_dir = read["TOKENHUB_DATA_DIR"] or _default_data_dir()
    host, port = read["TOKENHUB_LISTEN_ADDR"]
    home = Path.home() / ".tokenhub"
    return Settings(
        listen_host=host,
        listen_port=port,
        log_level=read["TOKENHUB_LOG_LEVEL"],
        db_url=read["TOKENHUB_DB_DSN"] or values.database_url(str(data_dir / "tokenhub.sqlite")),
        data_dir=data_dir,
        state_path=read["TOKENHUB_STATE_URL"] or data_dir / "state.sqlite",
        credentials_file=read["TOKENHUB_CREDENTIALS_FILE"] or home / "credentials",
        credentials_required=read["TOKENHUB_CREDENTIALS_FILE"] is not None,
        env=read["TOKENHUB_ENV"],
        workers=read["TOKENHUB_WORKERS"] or min(4, values.usable_cores()),
        default_policy=_default_policy(texts),
        admin_token=read["TOKENHUB_ADMIN_TOKEN"] or "",
        cors_origins=read["TOKENHUB_CORS_ORIGINS"],
        rate_limit_rps=read["TOKENHUB_RATE_LIMIT_RPS"],
        rate_limit_burst=read["TOKENHUB_RATE_LIMIT_BURST"],
        trusted_proxies=read["TOKENHUB_TRUSTED_PROXIES"] or (),
        provider_timeout_s=read["TOKENHUB_PROVIDER_TIMEOUT_SECS"],
        request_timeout_s=read["TOKENHUB_REQUEST_TIMEOUT_SECS"],
        max_body_bytes=read["TOKENHUB_MAX_BODY_BYTES"],
        public_models=read["TOKENHUB_PUBLIC_MODELS"],
        texts=texts,
    )


@cache
def from_environment() -> Settings:
    """The settings of this process: read once, so that a worker forked later has what its master was started with."""
    return load(os.environ)


def reread() -> Settings:
    """The settings as they would be read now: the env file may have changed. Raises ConfigurationError."""
    return load(os.environ)


def overlaid(settings: Settings, texts: Mapping[str, str]) -> Settings:
    """The settings with `Settings.reloadable` of another reading laid over them; names that no reload changes are
    ignored. Raises ConfigurationError."""
    merged = {**settings.texts, **{name: text for name, text in texts.items() if name in settings.reloadable}}
    return replace(
        settings,
        log_level=_read(ROW["TOKENHUB_LOG_LEVEL"], merged),
        default_policy=_default_policy(merged),
        rate_limit_rps=_read(ROW["TOKENHUB_RATE_LIMIT_RPS"], merged),
        rate_limit_burst=_read(ROW["TOKENHUB_RATE_LIMIT_BURST"], merged),
        texts=merged,
    )


def changed(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """Names of variables that differ: those that a reload takes over, and those that need a restart."""
    names = [name for name, text in new.texts.items() if old.texts[name] != text]
    return [name for name in names if ROW[name].reloadable], [name for name in names if not ROW[name].reloadable]


def environment() -> dict[str, str]:
    """Every variable of this process with the env file under it: what `env:NAME` references are resolved from.
    Raises ConfigurationError where the env file cannot be read."""
    return with_env_file(os.environ)


def with_env_file(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the lines of its TOKENHUB_ENV_FILE, if any, standing in where it has no such variable."""
    path = _read(ROW["TOKENHUB_ENV_FILE"], environ)
    lines = values.env_file(path) if path is not None else {}
    return {**lines, **{name: text for name, text in environ.items() if text or name not in lines}}


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and are not: probably misspelled, or of a later version."""
    return sorted(name for name in environ if name.startswith("TOKENHUB_") and name not in ROW)


def announce_metrics_dir(path: Path) -> None:
    """Tell prometheus_client (which reads the environment when it is imported) where workers share their metrics."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(path)


def shares_metrics() -> bool:
    """Whether this process is one of several that share their metrics."""
    return bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))


def this_is_master() -> None:
    """Note that this process is the one that reloads; what is forked from it later knows it."""
    global _master_pid
    _master_pid = os.getpid()


def signal_master() -> None:
    """Ask the master to reload. Does nothing where this process is not its child (tests, commands)."""
    if _master_pid and os.getppid() == _master_pid:
        os.kill(_master_pid, signal.SIGHUP)


def example() -> str:
    """The text of `.env.example`."""
    blocks = [f"# {row.about}.\n# Accepted: {row.accepted}.\n#{row.name}={row.default}\n" for row in TABLE]
    return "# Every setting of TokenHub with its default. Copy to .env; `make run` reads that.\n\n" + "\n".join(blocks)


def _read(row: Variable, texts: Mapping[str, str]) -> Any:
    text = texts.get(row.name) or row.default
    if not text:
        return None
    try:
        return row.read(text)
    except ValueError as error:
        shown = "its value" if row.secret else repr(text[:80])
        why = f" ({error})" if str(error) else ""
        raise ConfigurationError(row.name, f"{shown} cannot be used{why}; accepted: {row.accepted}") from None


def _check_admin_token(texts: Mapping[str, str], env: str) -> None:
    name = "TOKENHUB_ADMIN_TOKEN"
    token = texts.get(name)
    if token is None or env != "production" or len(token) >= MIN_ADMIN_TOKEN_CHARS:
        return
    what = "it is too short" if token else "it is set but empty"
    raise ConfigurationError(name, f"{what}; accepted: {ROW[name].accepted}, or leave it unset to have one made")


def _default_policy(texts: Mapping[str, str]) -> Policy:
    """The policy table with what the server sets of it; a text that is the table's own default sets nothing."""
    given = {
        knob.name: _read(ROW[knob.variable], texts)
        for knob in KNOBS
        if "server" in knob.levels and texts[knob.variable] not in ("", knob.default_text)
    }
    return merge(DEFAULTS, "server", given)


def _default_data_dir() -> Path:
    is_usable = SHARED_DATA_DIR.is_dir() and os.access(SHARED_DATA_DIR, os.W_OK | os.X_OK)
    return SHARED_DATA_DIR if is_usable else Path.home() / ".tokenhub" / "data"


if __name__ == "__main__":
    print(example(), end="")
