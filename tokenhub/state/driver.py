"""What the ledger asks of a database: one writing transaction, or one reading statement. No SQL, no database here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

Row = tuple[Any, ...]
Execute = Callable[[str, Sequence[object]], list[Row]]
"""Runs one statement to its end and gives its rows. A parameter is a `?`; no statement has one in its text."""

T = TypeVar("T")


class Driver(Protocol):
    """Runs statements. Raises Unavailable where the database cannot be used, and nothing else of its own."""

    def write(self, work: Callable[[Execute], T]) -> T:
        """Run `work` in a transaction that no other writer can interleave: committed when it returns, rolled back
        when it raises. It may be run again, so it changes nothing outside, and it must not wait for anything."""

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run one statement that changes nothing; it sees one committed moment."""

    def close(self) -> None:
        """Give the connection up; the next call opens another."""
