"""How long a routing decision takes: `python -m bench.selection`. Prints µs by number of models, best of several runs.

A decision is everything from a prepared command to the first attempt, and what the receipt tells of it.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import replace

from tokenhub.domain import observed, selection
from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Message, Text
from tokenhub.domain.keys import ApiKey, Caller
from tokenhub.domain.money import Price
from tokenhub.domain.observed import Observation, Observations
from tokenhub.domain.policy import DEFAULTS
from tokenhub.domain.receipt import Receipt
from tokenhub.errors import NoEligibleModel

SIZES = (10, 20, 100, 1_000)
PROVIDERS = 4
NOW_MS = 1_700_000_000_000
SECONDS, RUNS = 0.05, 7

KEY = ApiKey("key_1", "bench", "tokenhub_abcd", ("chat",), 1, True, 0, monthly_budget_nanousd=10**15)
COMMAND = ChatCommand(
    "openai", {}, 300, [Message("user", [Text("Say something about routers. " * 4)])], max_output_tokens=512
)


def catalog(models: int) -> Catalog:
    """A catalog of priced models, the last tenth of them disabled."""
    return Catalog.build(
        1,
        [Provider(f"p{n}", "openai") for n in range(PROVIDERS)],
        [
            Model(
                f"model-{n:04}",
                f"p{n % PROVIDERS}",
                f"model-{n}",
                weight=40 + n % 50,
                max_context_tokens=128_000,
                price=Price.per_1k_usd(0.001 + n / 100_000, 0.002),
                enabled=n < models * 0.9,
            )
            for n in range(models)
        ],
    )


def enabled(of: Catalog) -> Catalog:
    """The same with no model disabled."""
    return Catalog.build(2, of.providers.values(), [replace(model, enabled=True) for model in of.models.values()])


def rows(of: Catalog) -> dict[observed.TargetKey, Observation]:
    """Everything was tried, some of it in vain."""
    return {
        (target.model.id, target.provider.id): Observation(
            50, 400.0 + n % 90, 100.0, 200.0 + n % 50, 120.0, 100.0, 20.0, float(n % 5 == 0), NOW_MS
        )
        for n, target in enumerate(of.targets)
    }


def best_us(work: Callable[[], object]) -> float:
    """The least of several runs, in µs a call: what disturbs only makes it slower."""
    work()
    once_s = max(timeit.timeit(work, number=3) / 3, 1e-7)
    number = max(1, int(SECONDS / once_s))
    return min(timeit.repeat(work, number=number, repeat=RUNS)) / number * 1e6


def decisions(of: Catalog) -> dict[str, float]:
    """µs of a decision of each kind."""
    some, everything = rows(of), enabled(of)
    few = replace(KEY, allowed_models=tuple(of.models)[: len(of.models) // 2])
    return {
        "all eligible": decide(everything, Observations(everything.facts, some, NOW_MS)),
        "nothing seen yet": decide(everything, Observations(everything.facts)),
        "one model named": decide(everything, Observations(everything.facts, some, NOW_MS), name="model-0005"),
        "a tenth disabled": decide(of, Observations(of.facts, some, NOW_MS)),
        "key may use half": decide(of, Observations(of.facts, some, NOW_MS), key=few),
        "and limits of its own": decide(
            of,
            Observations(of.facts, some, NOW_MS),
            key=few,
            policy={"max_budget_usd": 0.003, "max_latency_ms": 450, "min_weight": 45},
        ),
        "nothing eligible": decide(
            everything, Observations(everything.facts, some, NOW_MS), policy={"max_budget_usd": 1e-9}
        ),
    }


def decide(
    of: Catalog, seen: Observations, name: str = "auto", key: ApiKey = KEY, policy: dict[str, float] | None = None
) -> float:
    """µs from a prepared command to its first attempt."""
    prepared = selection.prepare(replace(COMMAND, model=name, policy=policy or {}), key, DEFAULTS)
    ready = frozenset(of.providers)

    def work() -> None:
        try:
            selection.select(prepared, of, ready, "dec_0", seen).first()
        except NoEligibleModel:
            pass

    return best_us(work)


def around(of: Catalog) -> dict[str, float]:
    """µs of what comes before and after a decision, and beside the requests."""
    everything = enabled(of)
    known = rows(everything)
    seen = Observations(everything.facts, known, NOW_MS)
    prepared = selection.prepare(COMMAND, KEY, DEFAULTS)
    receipt = Receipt("dec_" + "0" * 32, "req_1", NOW_MS, Caller(KEY, "127.0.0.1"), "openai", False, "auto", prepared)

    def with_receipt() -> object:
        receipt.itinerary = selection.select(prepared, everything, frozenset(of.providers), "dec_0", seen)
        return receipt.as_json()

    with_receipt()
    assert receipt.itinerary is not None  # noqa: S101 - for the type checker.
    attempt = receipt.itinerary.first()
    assert attempt is not None  # noqa: S101 - as above.
    receipt.attempted(attempt).outcome = "ok"
    settled = receipt.as_json()
    settled["usage"] |= {"input_tokens": 30, "output_tokens": 200}
    batch = [settled] * 500
    return {
        "prepare": best_us(lambda: selection.prepare(COMMAND, KEY, DEFAULTS)),
        "decision and receipt": best_us(with_receipt),
        "learning from a receipt": best_us(lambda: observed.learn(known, batch)) / len(batch),
        "taking observations in": best_us(lambda: Observations(everything.facts, known, NOW_MS)),
    }


def table(sizes: tuple[int, ...] = SIZES) -> dict[str, dict[int, float]]:
    """µs by what is done and by number of models."""
    measured: dict[str, dict[int, float]] = {}
    for size in sizes:
        of = catalog(size)
        for name, took_us in (decisions(of) | around(of)).items():
            measured.setdefault(name, {})[size] = round(took_us, 1)
    return measured


def report(measured: dict[str, dict[int, float]]) -> None:
    """Print the table."""
    sizes = list(next(iter(measured.values())))
    print("| routing decision, µs | " + " | ".join(f"{size} models" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    for name, row in measured.items():
        print(f"| {name} | " + " | ".join(str(row[size]) for size in sizes) + " |")


if __name__ == "__main__":
    report(table())
