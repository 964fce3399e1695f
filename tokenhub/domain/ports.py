"""What the core needs from outside, as Protocols. Adapters implement them and meet in `runtime/wiring.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from tokenhub.domain.catalog import Catalog, Model, Provider, Target
from tokenhub.domain.chat import ChatCommand, Chunk, JsonObject, Reply
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.observed import Observation, Observations, TargetKey
from tokenhub.domain.policy import Policy

# ---------------------------------------------------------------- providers


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits of one upstream call, in seconds; `total_s` is what is left of the whole request."""

    connect_s: float
    headers_s: float
    """From the body sent to the status line. For a call that is not streamed this is `total_s`."""
    first_token_s: float
    between_chunks_s: float
    total_s: float


class ReplyStream(Protocol):
    """An open streamed answer. Iterating raises ProviderError where it breaks; an end without a finish reason is
    such a break. Whoever holds it closes it; closing twice is harmless."""

    dialect: str
    not_forwarded: tuple[str, ...]
    """The caller's top-level fields that this provider's protocol has no place for."""

    def __iter__(self) -> Iterator[Chunk]: ...

    def close(self) -> None:
        """Give the connection up at once if the stream has not ended."""


class ProviderClient(Protocol):
    """One provider's protocol. Blocks (cooperatively); raises ProviderError and nothing else."""

    def send(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> Reply:
        """Ask for a whole answer."""

    def stream(self, command: ChatCommand, target: Target, deadlines: Deadlines, request_id: str) -> ReplyStream:
        """Ask for a streamed answer; returns once the status is known to be good. Always asks for usage."""


class Providers(Protocol):
    """The clients of a worker, one per provider that is usable; swapped when the catalog or a key changes."""

    def ready(self) -> Set[str]:
        """Ids of providers that can be called: known type, and a key that could be opened (or none needed)."""

    def client(self, provider_id: str) -> ProviderClient:
        """The client of a ready provider; KeyError otherwise."""


# ---------------------------------------------------------------- the caller


class Line(Protocol):
    """The line to a caller: while it is armed, a request that ends from outside (the caller hangs up, the server
    stops) raises Interruption in whatever it waits for. Books are kept disarmed."""

    def arm(self) -> None:
        """Let an end be raised from here on; raises at once what came before."""

    def disarm(self) -> None:
        """Let nothing be interrupted from here on."""


# ---------------------------------------------------------------- state


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit to take one request from: `per_s` a second, `burst` at once. `name` as in "ip:203.0.113.7"."""

    name: str
    per_s: int
    burst: int


@dataclass(frozen=True, slots=True)
class Opening:
    """What `admit` records of a request before its first attempt."""

    decision_id: str
    key_id: str
    key_version: int
    reserve_nanousd: int
    doubtful_nanousd: int
    """What the first attempt may have cost if this worker dies before it settles: the input's estimate."""
    receipt: JsonObject
    """The receipt so far: what is settled if this worker dies."""
    rates: tuple[Rate, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Why `admit` or `advance` said no. reason: "key_changed" (other version, disabled, deleted, expired: read the
    key again), "rate" (of `name`; wait `retry_after_s`), "budget" (`name` is the key)."""

    reason: str
    name: str = ""
    retry_after_s: float = 0.0
    remaining_nanousd: int = 0


class State(Protocol):
    """What must be exact over all workers. Each method is one transaction with plain data in and out.

    Any method raises Unavailable where the state cannot be reached, is locked too long or has no room; nothing is
    half done then.
    """

    def admit(self, opening: Opening) -> Refused | None:
        """Check the key's version, take from the rates, reserve the budget, open the record: all, or nothing (rates
        taken before a refusal for budget are given back)."""

    def advance(
        self,
        decision_id: str,
        *,
        keep_nanousd: int,
        reserve_nanousd: int,
        doubtful_nanousd: int,
        receipt: JsonObject,
    ) -> Refused | None:
        """After a failed attempt: the reservation becomes what was kept so far, plus `keep_nanousd` for the failed
        attempt where it was doubtful, plus the bound of the next. Refused ("budget") leaves the reservation at what
        was kept."""

    def settle(self, decision_id: str, cost_nanousd: int, receipt: JsonObject) -> bool:
        """Close the record: charge the cost, free the reservation, queue the receipt. Exactly once: False, and nothing
        done, if it was settled before."""

    def take(self, rates: Sequence[Rate]) -> Refused | None:
        """Take one from each rate, or none of them."""

    def receipt(self, decision_id: str) -> JsonObject | None:
        """A receipt that is settled but maybe not yet in the log, or the open record of one still running."""

    # keys

    def key_by_hash(self, key_hash: bytes) -> ApiKey | None:
        """The key whose secret has this SHA-256, enabled or not."""

    def key(self, key_id: str) -> ApiKey | None:
        """One key."""

    def keys(self, limit: int, offset: int) -> tuple[list[ApiKey], int]:
        """A page of keys, newest first, and how many there are."""

    def add_key(self, key: ApiKey, key_hash: bytes) -> None:
        """Store a new key. Raises Conflict if the id exists."""

    def change_key(self, key_id: str, changes: Mapping[str, object], key_hash: bytes | None = None) -> ApiKey | None:
        """Change the named fields of ApiKey (and the secret), raise the version, give the key as it is then."""

    def delete_key(self, key_id: str) -> bool:
        """Delete a key; its spend stays in the books. False if there was none."""

    def spend(self, key_ids: Sequence[str]) -> Mapping[str, int]:
        """Nano-dollars spent in the current period by key id (0 where nothing)."""

    # catalog and provider keys

    def epoch(self) -> int:
        """The catalog epoch: grows with every change of providers, models, their keys or server-wide settings."""

    def move_epoch(self) -> int:
        """Tell all workers to read the catalog again; gives the new epoch."""

    def observations(self, since: int) -> tuple[int, Mapping[TargetKey, Observation]]:
        """What was observed of targets: the rows that are newer than a revision (0: all), and the newest revision."""

    def observations_of(self, targets: Iterable[TargetKey]) -> Mapping[TargetKey, Observation]:
        """The rows of these targets, as far as there are any."""

    def put_observations(self, rows: Mapping[TargetKey, Observation]) -> None:
        """Insert or replace rows."""

    def provider_keys(self) -> Mapping[str, bytes]:
        """Sealed provider keys by provider id."""

    def put_provider_key(self, provider_id: str, sealed: bytes) -> None:
        """Store or replace a sealed key and move the epoch."""

    def drop_provider_key(self, provider_id: str) -> None:
        """Forget a key, if there is one, and move the epoch."""

    def settings(self) -> Mapping[str, str]:
        """What a reload may change, as the master read it last: variable -> its text."""

    def put_settings(self, texts: Mapping[str, str]) -> None:
        """Replace all of them and move the epoch."""

    # outbox and leases

    def outbox(self, limit: int) -> list[JsonObject]:
        """The oldest settled receipts that are not yet in the log."""

    def outbox_rows(self, limit: int) -> int:
        """How many receipts are not yet in the log, counted up to `limit`."""

    def outbox_done(self, decision_ids: Sequence[str]) -> None:
        """Forget receipts that the log has."""

    def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a named lease; False while somebody else holds it."""

    def alive(self, worker_id: str, pid: int, seconds: float) -> None:
        """Renew this worker's row; it counts as dead `seconds` after."""

    def reconcile(self, limit: int) -> int:
        """Settle open records of dead workers at what their reservation kept for doubtful attempts; gives how many."""


# ---------------------------------------------------------------- storage

T = TypeVar("T")


class Offload(Protocol):
    """Runs work that blocks where it disturbs nobody, while the caller waits."""

    def __call__(self, work: Callable[[], T]) -> T:
        """Do the work; gives what it gives, raises what it raises."""


def here(work: Callable[[], T]) -> T:
    """The offload of a process in which blocking disturbs nobody: does the work right here."""
    return work()


class RequestLog(Protocol):
    """The request log: where receipts end up. Blocks on a database: never called on the request path."""

    def write(self, receipts: Sequence[JsonObject]) -> None:
        """Store receipts; one that is there already is left alone."""

    def read(self, decision_id: str) -> JsonObject | None:
        """One receipt."""

    def page(self, limit: int, offset: int) -> list[JsonObject]:
        """Receipts, newest first."""


Kind = Literal["provider", "model"]


class CatalogStore(Protocol):
    """Providers and models, as the operator keeps them. Blocks on a database.

    `origin` of a row: "credentials" (seeded from the file, not touched since), "admin" or "demo".
    """

    def load(self, epoch: int) -> Catalog:
        """Everything, as one snapshot."""

    def providers(self, limit: int, offset: int) -> tuple[list[Provider], int]: ...

    def provider(self, provider_id: str) -> Provider | None: ...

    def save_provider(self, provider: Provider, *, origin: str = "admin") -> None:
        """Insert or replace."""

    def delete_provider(self, provider_id: str) -> bool:
        """Delete with its models; False if there was none."""

    def models(self, limit: int, offset: int) -> tuple[list[Model], int]: ...

    def model(self, model_id: str) -> Model | None: ...

    def save_model(self, model: Model, *, origin: str = "admin") -> None:
        """Insert or replace. Raises Conflict if the provider does not exist."""

    def delete_model(self, model_id: str) -> bool: ...

    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """All aliases by name, with the model ids they stand for in the order to try."""

    def save_alias(self, name: str, targets: tuple[str, ...]) -> None:
        """Insert or replace."""

    def delete_alias(self, name: str) -> bool: ...

    def routing_defaults(self) -> Mapping[str, Any]:
        """What the administrator set of the policy table, by row name."""

    def save_routing_defaults(self, changes: Mapping[str, Any]) -> None:
        """Set the given ones in one step; None takes one back."""

    def origin(self, kind: Kind, row_id: str) -> str | None:
        """Who wrote the row last; None if there is none."""

    def seed_digest(self, kind: Kind, row_id: str) -> str | None:
        """The digest of the credentials-file entry that was seeded last under this id, even if its row is gone."""

    def remember_seed(self, kind: Kind, row_id: str, digest: str) -> None: ...


# ---------------------------------------------------------------- what services read of the running worker


class Snapshot(Protocol):
    """What the request path reads of the worker's memory: swapped as a whole, never changed in place."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def defaults(self) -> Policy:
        """The server's routing defaults, laid over the policy table's."""

    @property
    def observed(self) -> Observations:
        """What experience says of the catalog's targets."""
