"""What doors are given to write: a chat stream that has been settled when it ends, its line, and receipts."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from tokenhub.domain.chat import Chunk, Usage
from tokenhub.domain.receipt import AttemptRecord, Receipt

DECISION_HEX = "0123456789abcdef0123456789abcdef"


def receipt(provider: str = "p", model: str = "m", **fields: Any) -> Receipt:
    """A receipt of one attempt; 7 tokens were estimated to be read."""
    return Receipt(
        id=f"dec_{DECISION_HEX}",
        request_id="req_1",
        created_at_ms=1_700_000_000_999,
        caller=None,  # type: ignore[arg-type] - nobody asks who it was
        dialect="openai",
        stream=True,
        model_requested="asked",
        prepared=SimpleNamespace(input_tokens=7),  # type: ignore[arg-type]
        attempts=[AttemptRecord(1, model, provider, "best_score")],
        **fields,
    )


class FakeStream:
    """A chat stream. `usage` is what its bill says once it has ended."""

    def __init__(
        self,
        chunks: list[Chunk],
        error: Exception | None = None,
        *,
        dialect: str = "openai",
        usage: Usage | None = None,
    ) -> None:
        self.usage: Usage | None = None
        self.closed = 0
        self.dialect = dialect
        self.receipt = receipt()
        self._chunks = self._read(chunks, error, usage or Usage(3, 4))

    def _read(self, chunks: list[Chunk], error: Exception | None, usage: Usage) -> Iterator[Chunk]:
        yield from chunks
        self.usage = usage
        if error:
            raise error

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def close(self) -> None:
        self.closed += 1


class FakeLine:
    """A line that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
