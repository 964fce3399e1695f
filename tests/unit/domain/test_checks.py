"""Each reason not to try a target: when it applies, whom it meets, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokenhub.domain.catalog import CAPABILITIES, CAPABILITY_BITS, Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Image, Message, Parameters, Text, Tool, ToolResult
from tokenhub.domain.checks import CONTEXT_HEADROOM, Prepared, needed_capabilities
from tokenhub.domain.eligibility import CALLER_REASONS, eligible
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.observed import Observation, Observations
from tokenhub.domain.policy import DEFAULTS, merge

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
BUDGETED = replace(KEY, monthly_budget_nanousd=10**9)
PREPARED = Prepared(ChatCommand("openai", {}, 100, [Message("user", [Text("x")])]), KEY, DEFAULTS, 100, 100)
PRICE = Price(1_000_000, 1_000_000)
FITS = int(100 * CONTEXT_HEADROOM)


def verdict(
    prepared: Prepared = PREPARED,
    *,
    ready: frozenset[str] = frozenset("p"),
    kind: str = "openai",
    seen: Observation | None = None,
    **fields: object,
) -> tuple[str, str]:
    """The reason and its detail for the only model; two empty texts if it is eligible."""
    only = Model("m", "p", "m", **{"price": PRICE, **fields})  # type: ignore[arg-type]
    facts = Catalog.build(1, [Provider("p", kind)], [only]).facts
    observed = Observations(facts, {("m", "p"): seen} if seen else {})
    rejections = eligible(prepared, facts, observed, ready).rejections
    return (rejections[0].reason, rejections[0].detail) if rejections else ("", "")


def asking(**fields: object) -> Prepared:
    return replace(PREPARED, command=replace(PREPARED.command, **fields))  # type: ignore[arg-type]


def limited(**policy: object) -> Prepared:
    return replace(PREPARED, policy=merge(DEFAULTS, "request", policy))


@pytest.mark.parametrize(
    ("context", "reason"), [(100, "context_overflow"), (FITS - 1, "context_overflow"), (FITS, ""), (None, "")]
)
def test_an_estimate_needs_headroom(context: int | None, reason: str) -> None:
    assert verdict(max_context_tokens=context)[0] == reason


def test_an_estimate_is_corrected_by_what_was_counted_before_it_must_fit() -> None:
    twice, fits = Observation(input_tokens=200.0, input_tokens_estimated=100.0), int(200 * CONTEXT_HEADROOM)
    assert verdict(seen=twice, max_context_tokens=fits) == ("", "")
    short = verdict(seen=twice, max_context_tokens=fits - 1)
    assert short == ("context_overflow", f"about 200 tokens do not fit {fits - 1}")
    half = Observation(input_tokens=50.0, input_tokens_estimated=100.0)
    assert verdict(seen=half, max_context_tokens=60) == ("", "")


@pytest.mark.parametrize(
    ("fields", "capability"),
    [
        ({"tools": [Tool("t")]}, "tools"),
        ({"messages": [Message("user", [Image("https://x")])]}, "vision"),
        ({"messages": [Message("tool", [ToolResult("1", [Image("https://x")])])]}, "vision"),
        ({"parameters": Parameters(output_schema={})}, "json_schema"),
        ({"stream": True}, "streaming"),
    ],
)
def test_what_is_known_to_be_missing_is_missing_and_what_is_unknown_is_not(
    fields: dict[str, object], capability: str
) -> None:
    assert verdict(asking(**fields), capabilities=frozenset()) == ("capability_missing", f"it has no {capability}")
    assert verdict(asking(**fields), capabilities=frozenset(CAPABILITIES) - {capability})[0] == "capability_missing"
    assert verdict(asking(**fields), capabilities=frozenset({capability})) == ("", "")
    assert verdict(asking(**fields), capabilities=None) == ("", "")


def test_a_plain_request_needs_no_capability() -> None:
    assert verdict(capabilities=frozenset()) == ("", "")
    assert needed_capabilities(PREPARED.command, Catalog().facts) == 0


def test_an_anthropic_provider_gives_one_choice() -> None:
    assert verdict(asking(choices=2), kind="anthropic") == ("capability_missing", "it has no choices")
    assert verdict(asking(choices=2), kind="openai", capabilities=frozenset()) == ("", "")
    assert verdict(asking(choices=1), kind="anthropic") == ("", "")


def test_several_missing_things_are_all_told() -> None:
    assert verdict(asking(stream=True, tools=[Tool("t")]), capabilities=frozenset())[1] == "it has no tools, streaming"


def test_capabilities_have_a_bit_each() -> None:
    assert sorted(CAPABILITY_BITS.values()) == [1 << n for n in range(len(CAPABILITIES) + 1)]


def test_an_unready_provider_is_not_the_callers_doing() -> None:
    assert verdict(ready=frozenset())[0] == "provider_not_ready" not in CALLER_REASONS


def test_a_model_of_too_little_weight_is_told_so() -> None:
    facts = Catalog.build(
        1, [Provider("p", "openai")], [Model("a", "p", "a", weight=10), Model("b", "p", "b", weight=60)]
    ).facts
    rejections = eligible(limited(min_weight=50), facts, Observations(facts), frozenset("p")).rejections
    assert [(r.model_id, r.detail) for r in rejections] == [("a", "weight 10 is below 50")]


def test_a_limit_of_money_needs_a_price() -> None:
    assert verdict(limited(max_budget_usd=1), price=None)[0] == "price_unknown"
    assert verdict(replace(PREPARED, key=BUDGETED), price=None)[0] == "price_unknown"
    assert verdict(price=None) == ("", "")


def test_a_budgeted_key_needs_a_bound() -> None:
    by = replace(PREPARED, key=BUDGETED)
    assert verdict(by)[0] == "cost_unbounded"
    assert verdict(by, max_output_tokens=10) == ("", "")
    assert verdict(replace(by, command=replace(by.command, max_output_tokens=10))) == ("", "")
    assert verdict(replace(by, input_bound=None), max_output_tokens=10)[0] == "cost_unbounded"
    assert verdict(replace(PREPARED, input_bound=None)) == ("", "")


def test_what_probably_costs_more_than_the_limit_is_not_tried() -> None:
    assert verdict(limited(max_budget_usd=0.000000612)) == ("", "")  # 100 tokens, and the 512 of an answer.
    assert verdict(limited(max_budget_usd=0.000000611)) == (
        "budget_exceeded",
        "about 0.000000612 USD is more than 0.000000611",
    )


def test_what_probably_takes_longer_than_the_limit_is_not_tried() -> None:
    slow = Observation(latency_ms=2000.0)
    assert verdict(limited(max_latency_ms=1999), seen=slow) == ("latency_exceeded", "about 2000 ms is more than 1999")
    assert verdict(limited(max_latency_ms=2000), seen=slow) == ("", "")
    assert verdict(limited(max_latency_ms=1)) == ("", "")


def test_a_short_answer_is_expected_sooner() -> None:
    slow = Observation(latency_ms=2000.0, ttft_ms=200.0, output_tokens=100.0)
    short = replace(limited(max_latency_ms=500), command=replace(PREPARED.command, max_output_tokens=10))
    assert verdict(limited(max_latency_ms=500), seen=slow)[0] == "latency_exceeded"
    assert verdict(short, seen=slow) == ("", "")
    assert (
        verdict(replace(short, policy=merge(DEFAULTS, "request", {"max_latency_ms": 379})), seen=slow)[1]
        == "about 380 ms is more than 379"
    )
