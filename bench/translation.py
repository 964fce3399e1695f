"""What a streamed chunk costs from the provider's event to the caller's: `python -m bench.translation`.

Both halves, the provider's reader and the door's writer, without sockets: µs of CPU a chunk, best of several runs.
"""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from blueprints.chat import anthropic_out, openai_out
from blueprints.chat.answers import Writer
from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.chat import ChatCommand
from tokenhub.domain.receipt import AttemptRecord, Receipt
from tokenhub.providers.anthropic.stream import MessageReader
from tokenhub.providers.calls import EventReader
from tokenhub.providers.openai.chunks import ChunkReader
from tokenhub.providers.openai.crossing import CrossingReader

WORDS, RUNS = 2_000, 7
TARGET = Target(Provider("p", "openai"), Model("m", "p", "upstream-m"))

Doors = Callable[[Any, ChatCommand], Writer]


def openai_events() -> list[bytes]:
    """A stream of OpenAI's, a word an event."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "upstream-m"}
    return [
        json.dumps(
            {**head, "choices": [{"index": 0, "delta": {"content": f"word{n} "}, "finish_reason": None}]}
        ).encode()
        for n in range(WORDS)
    ]


def anthropic_events() -> list[bytes]:
    """A stream of Anthropic's, a word an event."""
    usage = {"input_tokens": 7, "output_tokens": 1}
    begun = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream-m",
        "content": [],
        "usage": usage,
    }
    opening = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    words = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f"word{n} "}}
        for n in range(WORDS)
    ]
    return [json.dumps(event).encode() for event in (*opening, *words)]


CASES: tuple[tuple[str, str, Callable[[], EventReader], list[bytes], Doors], ...] = (
    ("OpenAI", "OpenAI", lambda: ChunkReader(TARGET), openai_events(), openai_out.writer),
    ("Anthropic", "OpenAI", lambda: MessageReader(TARGET, "openai"), anthropic_events(), openai_out.writer),
    ("OpenAI", "Anthropic", lambda: CrossingReader(()), openai_events(), anthropic_out.writer),
    ("Anthropic", "Anthropic", lambda: MessageReader(TARGET, "anthropic"), anthropic_events(), anthropic_out.writer),
)
"""Provider's dialect, caller's dialect, reader, events, writer."""


def us_per_chunk(provider: str, reader: Callable[[], EventReader], events: list[bytes], door: Doors) -> float:
    """Read and write all events; µs for each."""
    receipt = Receipt(
        id="dec_" + "0" * 32,
        request_id="req_1",
        created_at_ms=1_700_000_000_000,
        caller=None,  # type: ignore[arg-type]  # nobody asks who it was
        dialect="openai",
        stream=True,
        model_requested="m",
        attempts=[AttemptRecord(1, "m", "p", "routed-hint-exact")],
    )
    stream = SimpleNamespace(dialect=provider.lower(), receipt=receipt)
    command = ChatCommand("openai", {}, 0, [], stream=True)

    def whole() -> int:
        reads, writes = reader(), door(stream, command)
        written = 0
        for event in events:
            chunk = reads.read(event)
            if chunk is not None:
                written += len(writes.write(chunk))
        return written

    if not whole():
        raise SystemExit("nothing was written")
    return min(timeit.repeat(whole, number=1, repeat=RUNS)) / len(events) * 1e6


def report() -> None:
    """Print the table."""
    print("| provider | caller | µs a chunk |\n|---|---|---|")
    for provider, caller, reader, events, door in CASES:
        print(f"| {provider} | {caller} | {us_per_chunk(provider, reader, events, door):.2f} |")


if __name__ == "__main__":
    report()
