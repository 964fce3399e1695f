"""The table of settings: every environment variable that TokenHub reads, once. `config.py` turns it into `Settings`.

A new setting is a row here and a field there; `.env.example` and the tests follow by themselves. The rows of routing
defaults are made from the policy table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenhub import config_values as values
from tokenhub.domain.policy import TABLE as KNOBS
from tokenhub.domain.policy import Knob

MIN_ADMIN_TOKEN_CHARS = 16


@dataclass(frozen=True, slots=True)
class Variable:
    """One row. `read` turns the text into the value, or raises ValueError saying what is wrong with it."""

    name: str
    default: str
    """As text; "" where it depends on the machine (`about` says how)."""
    read: Callable[[str], Any]
    accepted: str
    about: str
    reloadable: bool = False
    secret: bool = False


def _routing_default(knob: Knob) -> Variable:
    """What the server has of a row of the policy table where nothing stronger sets it."""
    about = f"Default of the policy's {knob.name}: {knob.about[0].lower()}{knob.about[1:]}"
    return Variable(
        knob.variable, knob.default_text, values.checked(knob.read_text), knob.accepted, about, reloadable=True
    )


_SECONDS = "seconds, 0.1 to 86400"

TABLE: tuple[Variable, ...] = (
    Variable(
        "TOKENHUB_LISTEN_ADDR",
        ":8080",
        values.listen_address,
        "[host]:port, such as :8080, 127.0.0.1:8080 or [::1]:8080",
        "Where to listen; without a host on all IPv4 interfaces",
    ),
    Variable(
        "TOKENHUB_LOG_LEVEL",
        "info",
        values.one_of(*values.LOG_LEVELS),
        ", ".join(values.LOG_LEVELS),
        "How much to log",
        reloadable=True,
    ),
    Variable(
        "TOKENHUB_DB_DSN",
        "",
        values.database_url,
        "a file path or sqlite:///path",
        "The database: catalog and request log. Default: tokenhub.sqlite in the data folder",
    ),
    Variable(
        "TOKENHUB_DATA_DIR",
        "",
        values.absolute_path,
        "a folder",
        "Our own files, kept 0600 in a folder of 0700. Default: /data where that is writable, else ~/.tokenhub/data",
    ),
    Variable(
        "TOKENHUB_STATE_URL",
        "",
        values.state_path,
        "sqlite:///path",
        "What all workers must agree on: keys, budgets, limits. Default: state.sqlite in the data folder",
    ),
    Variable(
        "TOKENHUB_CREDENTIALS_FILE",
        "",
        values.absolute_path,
        "a file path",
        "JSON with providers and models to begin with. Default: ~/.tokenhub/credentials, if it is there",
    ),
    Variable(
        "TOKENHUB_ENV_FILE",
        "",
        values.absolute_path,
        "a file path",
        "NAME=VALUE lines that stand in where the environment has no such variable; read again by a reload",
    ),
    Variable(
        "TOKENHUB_ENV",
        "production",
        values.one_of("production", "development"),
        "production, development",
        "production logs JSON and refuses a weak admin token",
    ),
    Variable(
        "TOKENHUB_WORKERS", "", values.integer(1, 64), "1 to 64", "Worker processes. Default: the cores, at most 4"
    ),
    *(_routing_default(knob) for knob in KNOBS if "server" in knob.levels),
    Variable(
        "TOKENHUB_ADMIN_TOKEN",
        "",
        values.visible_ascii,
        f"at least {MIN_ADMIN_TOKEN_CHARS} visible ASCII characters (in development: any number)",
        "Bearer token of /admin/v1. Default: made at the first start, in the file admin-token of the data folder",
        secret=True,
    ),
    Variable(
        "TOKENHUB_CORS_ORIGINS",
        "*",
        values.origins,
        "*, none, or comma-separated origins such as https://app.example.com",
        "Web pages that may call /v1 from a browser",
    ),
    Variable(
        "TOKENHUB_RATE_LIMIT_RPS",
        "60",
        values.integer(1, 1_000_000),
        "1 to 1000000",
        "Requests a second from one address, and for one key that has no limit of its own",
        reloadable=True,
    ),
    Variable(
        "TOKENHUB_RATE_LIMIT_BURST",
        "120",
        values.integer(1, 1_000_000),
        "1 to 1000000",
        "Requests at once above that rate",
        reloadable=True,
    ),
    Variable(
        "TOKENHUB_TRUSTED_PROXIES",
        "",
        values.networks,
        "comma-separated addresses or networks, such as 127.0.0.1, 10.0.0.0/8",
        "Proxies whose X-Forwarded-For is believed. Default: none",
    ),
    Variable(
        "TOKENHUB_PROVIDER_TIMEOUT_SECS",
        "30",
        values.seconds,
        _SECONDS,
        "Bounds connecting to a provider, the headers and first token of a stream, and silence between its chunks",
    ),
    Variable(
        "TOKENHUB_REQUEST_TIMEOUT_SECS",
        "600",
        values.seconds,
        _SECONDS,
        "Bounds a whole request; the only limit on an answer that is not streamed",
    ),
    Variable(
        "TOKENHUB_MAX_BODY_BYTES",
        "10485760",
        values.integer(1024, 1 << 30),
        "1024 to 1073741824",
        "Largest request body",
    ),
    Variable(
        "TOKENHUB_PUBLIC_MODELS",
        "false",
        values.boolean,
        "true, false",
        "Whether /v1/models answers without a key",
    ),
)

ROW: Mapping[str, Variable] = {row.name: row for row in TABLE}
