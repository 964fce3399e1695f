"""The demo provider's client: no network, real pauses, and failures where a model is meant to fail."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from random import Random

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import ChatCommand, Chunk, Reply
from tokenhub.domain.ports import Deadlines
from tokenhub.errors import ProviderTransient
from tokenhub.providers.demo import wire
from tokenhub.providers.demo.catalog import MANNERS, Manner
from tokenhub.providers.openai.request import not_carried


class DemoClient:
    """A `ports.ProviderClient`. `sleep` is where it takes its time; `rng` decides which calls fail."""

    def __init__(self, rng: Random | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._rng = rng or Random()  # noqa: S311 - nothing secret hangs on it
        self._sleep = sleep

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Reply:
        """Answer whole, in the time that a real model would take."""
        manner, answer = self._begin(command, target)
        needed_s = manner.first_word_s + manner.between_words_s * len(answer.pieces)
        self._sleep(max(0.0, min(needed_s, deadlines.total_s)))
        if needed_s > deadlines.total_s:
            raise _too_late()
        reply = wire.reply_to(command, answer)
        reply.not_forwarded = not_carried(command, target)
        return reply

    def stream(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> DemoStream:
        """Answer word by word."""
        manner, answer = self._begin(command, target)
        return DemoStream(wire.chunks_to(command, answer), manner, deadlines, self._sleep, not_carried(command, target))

    def _begin(self, command: ChatCommand, target: Target) -> tuple[Manner, wire.Draft]:
        manner = MANNERS.get(target.model.upstream_name, MANNERS["demo-fast"])
        if self._rng.randrange(10) < manner.failures_in_ten:
            raise ProviderTransient("demo-flaky fails on purpose now and then", status=503)
        answer = wire.draft(
            command,
            model=target.model.id,
            answer_id=f"chatcmpl-{secrets.token_hex(12)}",
            created_s=int(time.time()),
            is_brief=manner.is_brief,
        )
        return manner, answer


class DemoStream:
    """A `ports.ReplyStream`. Iterating goes on where it was left."""

    dialect = "openai"

    def __init__(
        self,
        answer: Iterator[Chunk],
        manner: Manner,
        deadlines: Deadlines,
        sleep: Callable[[float], None],
        not_forwarded: tuple[str, ...] = (),
    ) -> None:
        self.not_forwarded = not_forwarded
        self._answer = answer
        self._manner = manner
        self._ends_at = time.monotonic() + deadlines.total_s
        self._sleep = sleep
        self._is_closed = False
        self._chunks = self._speak()

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def close(self) -> None:
        """Say no more."""
        self._is_closed = True

    def _speak(self) -> Iterator[Chunk]:
        pause_s = self._manner.first_word_s
        for chunk in self._answer:
            if chunk.text_bytes:
                self._sleep(pause_s)
                pause_s = self._manner.between_words_s
            if self._is_closed:
                raise ProviderTransient("the stream was closed", code="connection_lost")
            if time.monotonic() > self._ends_at:
                raise _too_late()
            yield chunk


def _too_late() -> ProviderTransient:
    return ProviderTransient("the answer took longer than the whole request may", code="total_timeout")
