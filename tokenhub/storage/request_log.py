"""The request log: the port `RequestLog` over `Database`. Receipts go in as they are and come out as they were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from tokenhub.domain.chat import JsonObject
from tokenhub.storage.database import Database
from tokenhub.storage.rows import RequestRow

MAX_TEXT = 256
MAX_INT = 2**63 - 1


class SqlRequestLog:
    """Receipts in the database, newest first. Raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = postgresql if database.engine.dialect.name == "postgresql" else sqlite
        self._insert: Insert = dialect.insert(RequestRow).on_conflict_do_nothing(index_elements=[RequestRow.id])

    def write(self, receipts: Sequence[JsonObject]) -> None:
        """Store receipts in one transaction; one that is there already is left alone."""
        if receipts:
            # Rows are made inside the work: that runs in the pool, and five hundred take milliseconds.
            self._database.run(lambda s: _insert_all(s, self._insert, receipts), write=True)

    def read(self, decision_id: str) -> JsonObject | None:
        """One receipt."""
        statement = select(RequestRow.receipt).where(RequestRow.id == decision_id)

        def work(session: Session) -> JsonObject | None:
            text = session.scalar(statement)
            return None if text is None else json.loads(text)

        return self._database.run(work)

    def page(self, limit: int, offset: int) -> list[JsonObject]:
        """Receipts, newest first."""
        newest = select(RequestRow.receipt).order_by(RequestRow.created_at_ms.desc(), RequestRow.id.desc())
        statement = newest.limit(limit).offset(offset)
        return self._database.run(lambda session: [json.loads(text) for text in session.scalars(statement)])


def _insert_all(session: Session, statement: Insert, receipts: Sequence[JsonObject]) -> None:
    session.connection().execute(statement, [_row(receipt) for receipt in receipts])


def _row(receipt: JsonObject) -> dict[str, Any]:
    """The columns of a receipt. Takes whatever is there: one odd receipt must not keep a batch from the log."""
    usage = receipt.get("usage") or {}
    is_priced = receipt.get("cost_usd", "") is not None
    return {
        "id": str(receipt["id"]),
        "created_at_ms": _whole(receipt.get("created_at_ms")) or 0,
        "request_id": _text(receipt.get("request_id")),
        "key_id": _text(receipt.get("key_id")),
        "model": _text(receipt.get("model")),
        "provider": _text(receipt.get("provider")),
        "status": _text(receipt.get("status")),
        "input_tokens": _whole(usage.get("input_tokens")) or 0,
        "output_tokens": _whole(usage.get("output_tokens")) or 0,
        "cost_nanousd": _whole(receipt.get("cost_nanousd")) or 0 if is_priced else None,
        "latency_ms": _whole(receipt.get("latency_ms")),
        "ttft_ms": _whole(receipt.get("ttft_ms")),
        "receipt": _json(receipt),
    }


def _text(value: object) -> str:
    """A column's text: short, storable as UTF-8, without NUL."""
    text = "" if value is None else str(value)
    return text[:MAX_TEXT].encode("utf-8", "replace").decode().replace("\0", "")


def _whole(value: object) -> int | None:
    return max(0, min(value, MAX_INT)) if isinstance(value, int) else None


def _json(receipt: JsonObject) -> str:
    try:
        return orjson.dumps(receipt).decode()
    except TypeError:
        # Lone surrogates, or integers over 64 bit: the slow writer takes them, escaped.
        return json.dumps(receipt)
