"""The calls to vLLM: which endpoint is asked, and which next where one could not be. Each endpoint is spoken to as any
OpenAI-compatible server; whose turn it is, is decided in rotation.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import TypeVar

from tokenhub.domain.catalog import Provider, Target
from tokenhub.domain.chat import ChatCommand, Chunk, Reply
from tokenhub.domain.ports import Deadlines, ReplyStream
from tokenhub.errors import ProviderError, ProviderTransient
from tokenhub.providers.http import HttpClient
from tokenhub.providers.openai.client import OpenAIClient
from tokenhub.providers.vllm import failures
from tokenhub.providers.vllm.rotation import Rotation, Turn
from tokenhub.providers.vllm.wire import MANNERS

MAX_REFUSALS = 3
"""How many endpoints one request may be refused by: one that brings servers down must not reach all of them."""

Answer = TypeVar("Answer")


class VllmClient:
    """A `ports.ProviderClient` over several endpoints."""

    def __init__(
        self,
        provider: Provider,
        api_key: str,
        http: HttpClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        """Raises ValueError for a URL or key that cannot be used; the message does not show the key."""
        if not provider.base_url.strip():
            raise ValueError("its base_url is missing")
        endpoints = [
            OpenAIClient(replace(provider, base_url=url, endpoints=()), api_key, http, MANNERS, failures.classify)
            for url in (provider.base_url, *provider.endpoints)
        ]
        self._clock = clock
        self._rotation = Rotation(endpoints, clock, rng or Random())  # noqa: S311 - nothing secret hangs on it

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Reply:
        """Ask for a whole answer."""
        reply, turn = self._ask(lambda endpoint, limits: endpoint.send(command, target, limits, request_id), deadlines)
        turn.answered()
        return reply

    def stream(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> ReplyStream:
        """Ask for a streamed answer; returns once the status and content type of one endpoint are good."""
        stream, turn = self._ask(
            lambda endpoint, limits: endpoint.stream(command, target, limits, request_id), deadlines
        )
        return WatchedStream(stream, turn)

    def _ask(
        self, ask: Callable[[OpenAIClient, Deadlines], Answer], deadlines: Deadlines
    ) -> tuple[Answer, Turn[OpenAIClient]]:
        """What the first endpoint gives that gives anything, within `deadlines.total_s` over all of them.

        Raises the failure of the last one that was tried.
        """
        ends_at = self._clock() + deadlines.total_s
        refusals = 0
        last: ProviderError | None = None
        for turn in self._rotation.turns():
            left_s = ends_at - self._clock()
            if last is not None and left_s <= 0:
                break
            try:
                return ask(turn.member, _within(deadlines, left_s)), turn
            except ProviderError as failure:
                if failures.is_endpoints(failure):
                    turn.failed(failure)
                refusals += failure.status is not None
                if not failures.costs_nothing(failure) or refusals >= MAX_REFUSALS:
                    raise
                last = failure
        raise last or ProviderTransient("there is no endpoint", blame="provider")


class WatchedStream:
    """A `ports.ReplyStream` that tells the rotation how its endpoint does: it works when there is content, and does
    not where the stream breaks before."""

    def __init__(self, stream: ReplyStream, turn: Turn[OpenAIClient]) -> None:
        self.dialect = stream.dialect
        self.not_forwarded = stream.not_forwarded
        self._stream = stream
        self._turn = turn
        self._is_closed = False
        self._chunks = self._read()

    def __iter__(self) -> Iterator[Chunk]:
        return self._chunks

    def close(self) -> None:
        """Give the connection up at once if the stream has not ended."""
        self._is_closed = True
        self._stream.close()

    def _read(self) -> Iterator[Chunk]:
        try:
            for chunk in self._stream:
                if chunk.is_content or chunk.finish_reason:
                    self._turn.answered()
                    yield chunk
                    break
                yield chunk
        except ProviderError as failure:
            if not self._is_closed and failures.is_endpoints(failure):
                self._turn.failed(failure)
            raise
        yield from self._stream


def _within(deadlines: Deadlines, left_s: float) -> Deadlines:
    return replace(deadlines, headers_s=min(deadlines.headers_s, left_s), total_s=left_s)
