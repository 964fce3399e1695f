"""A chat service over a real state file and scripted providers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tokenhub.domain.catalog import Catalog, Model, Provider, Target
from tokenhub.domain.chat import ChatCommand, Chunk, Message, Reply, Text, Usage
from tokenhub.domain.keys import ApiKey, Caller
from tokenhub.domain.money import Price
from tokenhub.domain.observed import Observations
from tokenhub.domain.policy import DEFAULTS, Policy
from tokenhub.domain.ports import Deadlines, Rate
from tokenhub.errors import ClientGone, TokenHubError
from tokenhub.services.account import Backlog
from tokenhub.services.callers import Callers
from tokenhub.services.chat import ChatService
from tokenhub.services.dispatch import Dispatcher, Limits
from tokenhub.services.pace import Pace
from tokenhub.state.sqlite import SqliteState
from tokenhub.state.sqlite_file import open_schema

PRICE = Price.per_1k_usd("0.001", "0.002")
"""1,000 and 2,000 nano-dollars a token."""
SECRET = "tokenhub_" + "a" * 64
HASH = b"h" * 32


@dataclass
class ScriptedStream:
    """Chunks, then an end or a break."""

    chunks: list[Chunk]
    error: TokenHubError | None = None
    dialect: str = "openai"
    not_forwarded: tuple[str, ...] = ()
    closed: int = 0

    def __post_init__(self) -> None:
        self._left = self._read()

    def _read(self) -> Iterator[Chunk]:
        yield from self.chunks
        if self.error is not None:
            raise self.error

    def __iter__(self) -> Iterator[Chunk]:
        return self._left

    def close(self) -> None:
        self.closed += 1


@dataclass
class ScriptedProviders:
    """Answers by model id: a Reply, a ScriptedStream, or an error to raise. Counts what was asked."""

    script: dict[str, Any]
    asked: list[str] = field(default_factory=list)
    deadlines: list[Deadlines] = field(default_factory=list)

    def ready(self) -> Set[str]:
        return frozenset({"p", "q"})

    def client(self, provider_id: str) -> ScriptedProviders:
        return self

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Any:
        self.asked.append(target.model.id)
        self.deadlines.append(deadlines)
        answer = self.script[target.model.id]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    stream = send


@dataclass
class Line:
    """A line on which nothing happens, or on which the caller leaves at the nth time somebody waits for a provider."""

    leaves_at: int = 0
    armed: bool = False
    times: int = 0

    def arm(self) -> None:
        self.times += 1
        if self.times == self.leaves_at:
            raise ClientGone("gone")
        self.armed = True

    def disarm(self) -> None:
        self.armed = False


@dataclass
class Live:
    """What the service believes."""

    catalog: Catalog
    defaults: Policy = DEFAULTS

    @property
    def observed(self) -> Observations:
        return Observations(self.catalog.facts)


@dataclass
class Bench:
    """Everything a test touches."""

    state: SqliteState
    chat: ChatService
    callers: Callers
    providers: ScriptedProviders
    backlog: Backlog
    key: ApiKey
    live: Live

    @property
    def caller(self) -> Caller:
        return self.callers.identify(SECRET, "chat", "127.0.0.1")

    def receipt(self) -> Any:
        """The one receipt in the outbox."""
        (receipt,) = self.state.outbox(10)
        return receipt

    def spent(self) -> int:
        return self.state.spend([self.key.id])[self.key.id]

    def open_records(self) -> int:
        return int(self.state._driver.read("SELECT count(*) FROM requests")[0][0])


def model(model_id: str, provider_id: str = "p", **fields: Any) -> Model:
    return Model(model_id, provider_id, model_id, **{"price": PRICE, "max_context_tokens": 1000, **fields})


def command(model_name: str = "auto", **fields: Any) -> ChatCommand:
    given = {"max_output_tokens": 100, **fields}
    return ChatCommand("openai", {}, 200, [Message("user", [Text("x" * 40)])], model=model_name, **given)


def reply(text_bytes: int = 8, usage: Usage | None = None) -> Reply:
    return Reply({"choices": []}, "openai", usage, text_bytes, ("stop",))


def chunk(text: str = "", **fields: Any) -> Chunk:
    return Chunk(b"{}", len(text), bool(text), **fields)


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Makes a bench: `script` by model id, `models`, and changes to the key."""

    def make(script: dict[str, Any], models: Sequence[Model] = (), rates: tuple[Rate, ...] = (), **key: Any) -> Bench:
        path = tmp_path / "state.sqlite"
        open_schema(path)
        state = SqliteState(path, worker_id="w1")
        made = ApiKey("key_1", "app", "tokenhub_aaaa", ("chat",), 1, True, 0, **key)
        state.add_key(made, HASH)
        providers = ScriptedProviders(script)
        callers = Callers(state, lambda secret: HASH if secret == SECRET else None, lambda address, k: rates)
        backlog = Backlog(state, limit=2)
        offered = [Provider("p", "openai"), Provider("q", "openai")]
        live = Live(Catalog.build(1, offered, models or [model(name) for name in script]))
        chat = ChatService(
            state=state,
            backlog=backlog,
            callers=callers,
            snapshot=live,
            providers=providers,
            dispatcher=Dispatcher(providers, Limits(30, 600)),
            pace=Pace(),
            clock_ms=lambda: 1_700_000_000_000,
            status_of=lambda error: 599,
        )
        return Bench(state, chat, callers, providers, backlog, made, live)

    return make
