"""The chat use case: a command walks desk, map room, gate, engine room, finishing and ledger, in that order.

Every inbound dialect comes through here; a new one adds a door, nothing in this module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tokenhub.domain import selection
from tokenhub.domain.catalog import Catalog
from tokenhub.domain.chat import ChatCommand, Chunk, Reply, Usage
from tokenhub.domain.eligibility import Prepared
from tokenhub.domain.ids import ordered_id
from tokenhub.domain.itinerary import Attempt, Itinerary
from tokenhub.domain.keys import Caller
from tokenhub.domain.policy import Policy
from tokenhub.domain.ports import Line, Providers, Snapshot, State
from tokenhub.domain.receipt import Receipt, Status
from tokenhub.errors import (
    ClientGone,
    Interruption,
    NoEligibleModel,
    ProviderError,
    RateLimited,
    TokenHubError,
    Unauthenticated,
    Unavailable,
)
from tokenhub.services.account import Account, Backlog, believable, elapsed_ms
from tokenhub.services.callers import Callers
from tokenhub.services.dispatch import Dispatcher, OpenStream, Walk, spend_limit
from tokenhub.services.pace import Pace


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A whole answer and its receipt, already settled."""

    reply: Reply
    receipt: Receipt


class _KeyChanged(Unauthenticated):
    """The key is not what it was when the caller was identified; looked up once more before it is believed."""


class ChatStream:
    """A streamed answer. Iterate it to the end, or close it: either way its bill is settled, exactly once.

    Iterating ends after settlement, so what the door sends last (usage, the end mark) comes after the books are
    closed. A break raises ProviderError, settled too.
    """

    def __init__(self, opened: OpenStream, walk: Walk) -> None:
        self.receipt = walk.account.receipt
        self.dialect = opened.stream.dialect
        """Which dialect the provider speaks: whether its chunks are forwarded or written anew."""
        self.usage: Usage | None = None
        """What is billed, once the end is reached."""
        self._opened = opened
        self._walk = walk
        self._reported: Usage | None = None
        self._text_bytes = 0
        self._content_chunks = 0
        self._upstream = iter(opened.stream)
        self._chunks = self._read()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        return next(self._chunks)

    def close(self) -> None:
        """Give up the upstream if it still runs and settle what was delivered."""
        self._opened.stream.close()
        self._settle_early(ClientGone("the caller left before the end"))

    def _read(self) -> Iterator[Chunk]:
        try:
            for chunk in self._opened.head:
                self._count(chunk)
                chunk.has_follower = chunk is not self._opened.head[-1]
                yield chunk
            while (following := self._following()) is not None:
                self._count(following)
                yield following
        except (ProviderError, Interruption) as error:
            self._opened.stream.close()
            self._settle_early(error)
            raise
        self._opened.stream.close()
        self.usage = self._billed()
        self._walk.account.answered(self.receipt.attempts[-1], self.usage)

    def _following(self) -> Chunk | None:
        """The next chunk; None at the end. Only this waits for the provider, and may be interrupted."""
        self._walk.line.arm()
        try:
            return next(self._upstream, None)
        finally:
            self._walk.line.disarm()

    def _count(self, chunk: Chunk) -> None:
        self._text_bytes += chunk.text_bytes
        self._content_chunks += chunk.is_content
        if chunk.usage is not None:
            self._reported = chunk.usage

    def _billed(self) -> Usage:
        return believable(self._reported, self._walk.prepared, self._text_bytes, self._content_chunks)

    def _settle_early(self, error: TokenHubError) -> None:
        if self.usage is None:
            self.usage = self._billed()
            status: Status = "error" if isinstance(error, ProviderError) else "cancelled"
            self._walk.account.broken(self.receipt.attempts[-1], self.usage, error, status)


class ChatService:
    """Answers chat commands."""

    def __init__(
        self,
        *,
        state: State,
        backlog: Backlog,
        callers: Callers,
        snapshot: Snapshot,
        providers: Providers,
        dispatcher: Dispatcher,
        pace: Pace,
        clock_ms: Callable[[], int],
        status_of: Callable[[TokenHubError], int],
    ) -> None:
        """`status_of`: the HTTP status an error is told with, for the receipt."""
        self._state = state
        self._backlog = backlog
        self._callers = callers
        self._snapshot = snapshot
        self._providers = providers
        self._dispatcher = dispatcher
        self._pace = pace
        self._clock_ms = clock_ms
        self._status_of = status_of

    def complete(self, command: ChatCommand, caller: Caller, request_id: str, line: Line) -> ChatResult:
        """Answer with a whole reply, trying targets in itinerary order. The receipt is settled when this returns."""
        walk = self._enter(command, caller, request_id, line)
        account = walk.account
        with self._settling(account):
            reply = self._dispatcher.send(walk)
            account.receipt.not_forwarded += reply.not_forwarded
            usage = believable(reply.usage, walk.prepared, reply.text_bytes, 0)
            account.answered(account.receipt.attempts[-1], usage)
            reply.usage = usage
            return ChatResult(reply, account.receipt)

    def stream(self, command: ChatCommand, caller: Caller, request_id: str, line: Line) -> ChatStream:
        """Answer with a stream whose first content is there. Errors up to then are raised here, with nothing sent."""
        walk = self._enter(command, caller, request_id, line)
        account = walk.account
        with self._settling(account):
            opened = self._dispatcher.open(walk)
            account.receipt.not_forwarded += opened.stream.not_forwarded
            account.receipt.ttft_ms = elapsed_ms(account.started)
            return ChatStream(opened, walk)

    # rooms 2 to 4 -------------------------------------------------------

    def _enter(self, command: ChatCommand, caller: Caller, request_id: str, line: Line) -> Walk:
        try:
            return self._route(command, caller, request_id, line)
        except _KeyChanged:
            return self._route(command, self._callers.again(caller), request_id, line)

    def _route(self, command: ChatCommand, caller: Caller, request_id: str, line: Line) -> Walk:
        started = time.monotonic()
        catalog, defaults = self._loaded()
        prepared = selection.prepare(command, caller.key, defaults)
        receipt = self._receipt(prepared, caller, request_id)
        account = Account(self._state, self._backlog, receipt, started)
        try:
            itinerary = selection.select(
                prepared, catalog, self._providers.ready(), receipt.id, self._snapshot.observed
            )
        except NoEligibleModel as error:
            receipt.rejections = error.rejections
            self._log_refusal(account, error)
            raise
        receipt.itinerary = itinerary
        return Walk(account, prepared, itinerary, self._admit(account, itinerary), line)

    def _loaded(self) -> tuple[Catalog, Policy]:
        catalog = self._snapshot.catalog
        if catalog.epoch < 0:
            raise Unavailable("the catalog is not loaded yet", code="starting")
        return catalog, self._snapshot.defaults

    def _receipt(self, prepared: Prepared, caller: Caller, request_id: str) -> Receipt:
        command, now_ms = prepared.command, self._clock_ms()
        return Receipt(
            id=ordered_id("dec_", now_ms, os.urandom(10)),
            request_id=request_id,
            created_at_ms=now_ms,
            caller=caller,
            dialect=command.dialect,
            stream=command.stream,
            model_requested=command.model,
            prepared=prepared,
            not_forwarded=command.not_forwarded,
        )

    def _admit(self, account: Account, itinerary: Itinerary) -> Attempt:
        """Reserve the first attempt. A budget that does not cover the best model may still cover another one, unless
        the caller named theirs."""
        self._pace.hold()
        rates = self._callers.rates(account.receipt.caller)
        remaining_nanousd = 0
        attempt = itinerary.first()
        while attempt is not None:
            refused = account.admit(attempt, rates)
            if refused is None:
                return attempt
            if refused.reason == "rate":
                raise RateLimited(
                    f"too many requests for this {refused.name.split(':')[0]}", retry_after_s=refused.retry_after_s
                )
            if refused.reason == "budget":
                remaining_nanousd = refused.remaining_nanousd
                attempt = itinerary.affordable(remaining_nanousd)
            else:
                raise _KeyChanged("no valid API key")
        error = spend_limit(remaining_nanousd)
        self._log_refusal(account, error)
        raise error

    def _log_refusal(self, account: Account, error: TokenHubError) -> None:
        """Give a refused request its row too: who asked for what, and why not."""
        if account.admit(None, ()) is None:
            account.refused(error, self._status_of(error))

    @contextmanager
    def _settling(self, account: Account) -> Iterator[None]:
        """Settle on every way out that is not an answer."""
        try:
            yield
        except Interruption as error:
            account.abandon(error, self._status_of(error))
            raise
        except TokenHubError as error:
            account.refused(error, self._status_of(error))
            raise
        except BaseException:
            # A bug, or the worker being stopped: the bill is settled all the same, the 500 handler does the rest.
            interrupted = TokenHubError("the request was interrupted")
            account.abandon(interrupted, self._status_of(interrupted))
            raise
