"""Room 5, the engine room: drives an itinerary against providers. The only room that touches a provider, and the
only failover loop; sending and streaming both run through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tokenhub.domain.chat import Chunk, Reply
from tokenhub.domain.eligibility import Prepared
from tokenhub.domain.itinerary import Attempt, Itinerary
from tokenhub.domain.money import usd_text
from tokenhub.domain.ports import Deadlines, Line, ProviderClient, Providers, ReplyStream
from tokenhub.domain.receipt import AttemptRecord
from tokenhub.errors import (
    AllAttemptsFailed,
    DeadlineExceeded,
    ProviderError,
    ProviderTransient,
    SpendLimitReached,
)
from tokenhub.services.account import Account

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of upstream calls, in seconds, from the settings."""

    provider_s: float
    request_s: float


@dataclass(frozen=True, slots=True)
class Walk:
    """A request that is admitted and on its way."""

    account: Account
    prepared: Prepared
    itinerary: Itinerary
    first: Attempt
    line: Line


@dataclass(slots=True)
class OpenStream:
    """A streamed answer whose first content has been read: from here on no other provider can take over."""

    stream: ReplyStream
    head: list[Chunk]
    """What was read so far, in order; never empty."""


class Dispatcher:
    """Sends a prepared command along its itinerary until one target answers."""

    def __init__(self, providers: Providers, limits: Limits) -> None:
        self._providers = providers
        self._limits = limits

    def send(self, walk: Walk) -> Reply:
        """A whole answer. Raises AllAttemptsFailed, DeadlineExceeded, Interruption, or SpendLimitReached where the
        budget does not cover another attempt."""

        def ask(client: ProviderClient, attempt: Attempt, deadlines: Deadlines) -> Reply:
            return client.send(walk.prepared.command, attempt.target, deadlines, walk.account.receipt.request_id)

        return self._until_answered(walk, ask)

    def open(self, walk: Walk) -> OpenStream:
        """A streamed answer, read up to its first content, so that a failing provider could still be replaced."""

        def ask(client: ProviderClient, attempt: Attempt, deadlines: Deadlines) -> OpenStream:
            request_id = walk.account.receipt.request_id
            stream = client.stream(walk.prepared.command, attempt.target, deadlines, request_id)
            return OpenStream(stream, _read_head(stream))

        return self._until_answered(walk, ask)

    def _until_answered(self, walk: Walk, ask: Callable[[ProviderClient, Attempt, Deadlines], Answer]) -> Answer:
        attempt = walk.first
        while True:
            record = walk.account.begin(attempt)
            try:
                walk.line.arm()
                return ask(self._client(attempt), attempt, self._deadlines(walk))
            except ProviderError as error:
                failure = error
            finally:
                walk.line.disarm()
            walk.account.fail(record, failure)
            attempt = self._following(walk, record, failure)

    def _following(self, walk: Walk, record: AttemptRecord, failure: ProviderError) -> Attempt:
        """The next attempt, reserved; raises what the caller is told where there is none."""
        if time.monotonic() >= self._end(walk):
            raise DeadlineExceeded("no model answered in time") from failure
        following = walk.itinerary.after(failure)
        if following is None:
            raise self._give_up(walk.account, failure) from failure
        refused = walk.account.advance(record, following)
        if refused is not None:
            raise spend_limit(refused.remaining_nanousd) from failure
        return following

    def _give_up(self, account: Account, failure: ProviderError) -> AllAttemptsFailed:
        attempts = account.receipt.attempts
        tried = ", ".join(f"{a.model}: {a.outcome}" for a in attempts)
        if failure.blame == "caller" or len(attempts) == 1:
            return AllAttemptsFailed(failure.message, attempts=attempts, cause=failure)
        return AllAttemptsFailed(
            f"no model answered ({tried}); the last said: {failure.message}", attempts=attempts, cause=failure
        )

    def _client(self, attempt: Attempt) -> ProviderClient:
        try:
            return self._providers.client(attempt.target.provider.id)
        except KeyError as error:
            raise ProviderTransient(
                "the provider was removed meanwhile", code="provider_gone", blame="provider"
            ) from error

    def _end(self, walk: Walk) -> float:
        """When the whole request must be over, as time.monotonic()."""
        demanded_ms = walk.prepared.policy.hard("max_latency_ms") or 0
        return walk.account.started + min(self._limits.request_s, demanded_ms / 1000 or self._limits.request_s)

    def _deadlines(self, walk: Walk) -> Deadlines:
        left_s = self._end(walk) - time.monotonic()
        step_s = min(self._limits.provider_s, left_s)
        headers_s = step_s if walk.prepared.command.stream else left_s
        return Deadlines(step_s, headers_s, step_s, step_s, left_s)


def _read_head(stream: ReplyStream) -> list[Chunk]:
    head: list[Chunk] = []
    try:
        for chunk in stream:
            head.append(chunk)
            if chunk.is_content or chunk.finish_reason:
                return head
    except BaseException:
        stream.close()
        raise
    stream.close()
    raise ProviderTransient("the stream ended before it began", code="stream_truncated")


def spend_limit(remaining_nanousd: int) -> SpendLimitReached:
    """What a refusal for budget says to the caller."""
    return SpendLimitReached(
        "the key's monthly budget does not cover this request: "
        f"{usd_text(max(0, remaining_nanousd))} USD are left, less than what it can cost at most "
        "(a smaller max_tokens lowers that)"
    )
