"""The tables of the state and the version of their form. Data definition only, in words that every driver takes.

Times that end in `_at_ms` are Unix milliseconds (the wall clock, for people and budget periods). `renewed_ms`,
`expires_ms`, `opened_ms` and `tat_ns` are uptime (a clock that nobody sets), so that a change of the wall clock
neither kills a live worker nor locks a caller out. Uptime starts again with the machine: what lies in the future is
from an earlier boot and counts for nothing. BYTEA: PostgreSQL's name, and SQLite stores a blob as it is under any.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSION = 2

META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY NOT NULL, value BIGINT NOT NULL)"
"""Before the others, and the same in every version: it says which form the rest has."""

TABLES = (
    """CREATE TABLE IF NOT EXISTS api_keys (
        id TEXT PRIMARY KEY NOT NULL,
        key_hash BYTEA NOT NULL UNIQUE,
        name TEXT NOT NULL,
        prefix TEXT NOT NULL,
        scopes TEXT NOT NULL,
        version BIGINT NOT NULL,
        enabled BIGINT NOT NULL,
        created_at_ms BIGINT NOT NULL,
        last_used_at_ms BIGINT,
        expires_at_ms BIGINT,
        rotation_days BIGINT NOT NULL,
        monthly_budget_nanousd BIGINT,
        budget_reset_at_ms BIGINT,
        rate_limit_rps BIGINT NOT NULL,
        allowed_models TEXT NOT NULL,
        policy TEXT NOT NULL DEFAULT '{}',
        policy_ceilings TEXT NOT NULL DEFAULT '{}'
    )""",
    """CREATE TABLE IF NOT EXISTS budgets (
        key_id TEXT NOT NULL,
        period_at_ms BIGINT NOT NULL,
        spent_nanousd BIGINT NOT NULL,
        reserved_nanousd BIGINT NOT NULL,
        PRIMARY KEY (key_id, period_at_ms)
    )""",
    """CREATE TABLE IF NOT EXISTS requests (
        decision_id TEXT PRIMARY KEY NOT NULL,
        worker_id TEXT NOT NULL,
        opened_ms BIGINT NOT NULL,
        key_id TEXT NOT NULL,
        period_at_ms BIGINT NOT NULL,
        reserved_nanousd BIGINT NOT NULL,
        kept_nanousd BIGINT NOT NULL,
        doubtful_nanousd BIGINT NOT NULL,
        receipt BYTEA NOT NULL
    )""",
    "CREATE TABLE IF NOT EXISTS rates (name TEXT PRIMARY KEY NOT NULL, tat_ns BIGINT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS leases (
        name TEXT PRIMARY KEY NOT NULL,
        holder TEXT NOT NULL,
        renewed_ms BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS workers (
        worker_id TEXT PRIMARY KEY NOT NULL,
        pid BIGINT NOT NULL,
        renewed_ms BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL
    )""",
    "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS observations (
        model_id TEXT NOT NULL,
        provider_id TEXT NOT NULL,
        revision BIGINT NOT NULL,
        observed TEXT NOT NULL,
        PRIMARY KEY (model_id, provider_id)
    )""",
    "CREATE TABLE IF NOT EXISTS provider_keys (provider_id TEXT PRIMARY KEY NOT NULL, sealed BYTEA NOT NULL)",
)

OUTBOX = """CREATE TABLE IF NOT EXISTS outbox (
    decision_id TEXT PRIMARY KEY NOT NULL,
    settled_at_ms BIGINT NOT NULL,
    receipt BYTEA NOT NULL
)"""
"""Apart from the others: its rows are large."""

INDEXES = (
    "CREATE INDEX IF NOT EXISTS api_keys_by_age ON api_keys (created_at_ms, id)",
    "DROP INDEX IF EXISTS outbox_by_age",  # Decision ids sort by their time: one tree less to write.
)

UPGRADES: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE api_keys ADD COLUMN policy TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE api_keys ADD COLUMN policy_ceilings TEXT NOT NULL DEFAULT '{}'",
    ),
}
"""From each earlier form to the one after it. Tables that are new need nothing here."""

FIRST_ROWS = "INSERT INTO meta (name, value) VALUES ('schema', ?), ('epoch', 1) ON CONFLICT (name) DO NOTHING"

READ_VERSION = "SELECT value FROM meta WHERE name = 'schema'"
WRITE_VERSION = "UPDATE meta SET value = ? WHERE name = 'schema'"
