"""Filter, score, order: what is chosen, and that every rejection has its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain import selection
from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Media, Message, Text
from tokenhub.domain.itinerary import Itinerary
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.observed import Observation, Observations
from tokenhub.domain.policy import DEFAULTS, Policy, merge
from tokenhub.errors import Forbidden, InvalidRequest, NoEligibleModel

CHEAP, DEAR = Price.per_1k_usd("0.0001", "0.0002"), Price.per_1k_usd("0.01", "0.03")


def key(**changes: object) -> ApiKey:
    fields = {"id": "key_1", "name": "k", "prefix": "tokenhub_abcd", "scopes": ("chat",), "version": 1}
    return ApiKey(**{**fields, "enabled": True, "created_at_ms": 0, **changes})  # type: ignore[arg-type]


def model(model_id: str, provider_id: str = "p", **fields: object) -> Model:
    return Model(model_id, provider_id, model_id, **{"price": CHEAP, "max_context_tokens": 8000, **fields})  # type: ignore[arg-type]


def catalog(*models: Model, providers: tuple[Provider, ...] = (Provider("p", "openai", "http://p"),)) -> Catalog:
    return Catalog.build(1, providers, models)


def command(model_name: str = "", text: str = "hello", **fields: object) -> ChatCommand:
    message = Message("user", [Text(text)])
    return ChatCommand("openai", {}, len(text) + 60, [message], model=model_name, **fields)  # type: ignore[arg-type]


def route(
    of: Catalog,
    wanted: ChatCommand,
    *,
    by: ApiKey | None = None,
    defaults: Policy = DEFAULTS,
    seed: str = "s",
    observed: Observations | None = None,
) -> Itinerary:
    prepared = selection.prepare(wanted, by or key(), defaults)
    return selection.select(prepared, of, frozenset(of.providers), seed, observed)


def order(itinerary: Itinerary) -> list[str]:
    return [c.target.model.id for c in itinerary.candidates]


def reasons(itinerary: Itinerary) -> dict[str, str]:
    return {r.model_id: r.reason for r in itinerary.rejections}


def test_a_registered_model_is_tried_first() -> None:
    itinerary = route(catalog(model("a"), model("b", price=DEAR), model("c")), command("b"))
    assert order(itinerary)[0] == "b" and itinerary.hinted


def test_an_unknown_model_is_routed() -> None:
    itinerary = route(catalog(model("cheap"), model("dear", price=DEAR)), command("nobody-has-this"))
    assert order(itinerary)[0] == "cheap" and not itinerary.hinted


def test_a_vendor_prefix_names_the_model_behind_it() -> None:
    assert route(catalog(model("a"), model("b")), command("tokenhub/b")).hinted
    assert order(route(catalog(model("v/a"), model("b")), command("v/a")))[0] == "v/a"


def test_a_named_model_that_is_disabled_is_replaced_and_listed() -> None:
    itinerary = route(catalog(model("a"), model("b", enabled=False)), command("b"))
    assert order(itinerary) == ["a"] and reasons(itinerary) == {"b": "disabled"} and not itinerary.hinted


def test_naming_a_model_that_the_key_may_not_use_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        route(catalog(model("a"), model("b")), command("b"), by=key(allowed_models=("a",)))


def test_every_rejection_has_its_reason() -> None:
    providers = (Provider("p", "openai"), Provider("off", "openai", enabled=False), Provider("nokey", "openai"))
    of = Catalog.build(
        1,
        providers,
        [
            model("good", weight=60),
            model("disabled", enabled=False),
            model("hidden", "off"),
            model("unready", "nokey"),
            model("small", max_context_tokens=10, weight=60),
            model("weak", weight=10),
            model("dear", price=DEAR, weight=60),
            model("unpriced", price=None, weight=60),
        ],
    )
    wanted = command(text="x" * 400, policy={"min_weight": 50, "max_budget_usd": 0.001})
    itinerary = selection.select(selection.prepare(wanted, key(), DEFAULTS), of, {"p", "off"}, "s")
    assert order(itinerary) == ["good"]
    assert reasons(itinerary) == {
        "disabled": "disabled",
        "hidden": "disabled",
        "unready": "provider_not_ready",
        "small": "context_overflow",
        "weak": "weight_below_minimum",
        "dear": "budget_exceeded",
        "unpriced": "price_unknown",
    }


def test_nothing_left_by_the_callers_limits_is_the_callers_doing() -> None:
    with pytest.raises(NoEligibleModel) as caught:
        route(catalog(model("a", max_context_tokens=10), model("b", enabled=False)), command(text="x" * 400))
    assert caught.value.blame == "caller" and "a: context_overflow" in caught.value.message
    assert [r.reason for r in caught.value.rejections] == ["context_overflow", "disabled"]


def test_a_refusal_names_twenty_models_and_keeps_them_all() -> None:
    with pytest.raises(NoEligibleModel) as caught:
        route(catalog(*(model(f"m{i:03}", max_context_tokens=10) for i in range(30))), command(text="x" * 400))
    assert "m019" in caught.value.message and "m020" not in caught.value.message
    assert len(caught.value.rejections) == 30


def test_a_weight_that_nobody_has_asks_for_the_best() -> None:
    itinerary = route(catalog(model("a", weight=8), model("b", weight=3)), command(policy={"min_weight": 80}))
    assert order(itinerary) == ["a"] and itinerary.clamped == {"min_weight": (80, 8)}


def test_nothing_ready_is_the_servers_doing() -> None:
    of = catalog(model("a"))
    with pytest.raises(NoEligibleModel) as caught:
        selection.select(selection.prepare(command(), key(), DEFAULTS), of, frozenset(), "s")
    assert caught.value.blame == "server"
    with pytest.raises(NoEligibleModel) as empty:
        route(catalog(), command())
    assert empty.value.blame == "server"


def test_a_server_default_budget_never_refuses_an_ordinary_call() -> None:
    defaults = merge(DEFAULTS, "server", {"max_budget_usd": "0.000001"})
    itinerary = route(catalog(model("dear", price=DEAR)), command(), defaults=defaults)
    assert order(itinerary) == ["dear"] and itinerary.set_aside == ("max_budget_usd",)


def test_a_server_default_budget_prefers_what_fits_but_keeps_the_named_model() -> None:
    defaults = merge(DEFAULTS, "server", {"max_budget_usd": "0.001"})
    of = catalog(model("cheap"), model("dear", price=DEAR))
    itinerary = route(of, command(), defaults=defaults)
    assert order(itinerary) == ["cheap"] and reasons(itinerary) == {"dear": "default_budget"}
    assert order(route(of, command("dear"), defaults=defaults))[0] == "dear"


def test_a_budgeted_key_gets_no_model_without_price_or_bound() -> None:
    by = key(monthly_budget_nanousd=10**9)
    of = catalog(model("priced"), model("unpriced", price=None), model("endless", max_context_tokens=None))
    itinerary = route(of, command(), by=by)
    assert order(itinerary) == ["priced"]
    assert reasons(itinerary) == {"unpriced": "price_unknown", "endless": "cost_unbounded"}
    capped = route(of, command(max_output_tokens=10), by=by)
    assert set(order(capped)) == {"priced", "endless"}


def test_a_budgeted_key_cannot_send_what_has_no_bound() -> None:
    wanted = command()
    wanted.messages[0].blocks.append(Media("file", {"type": "file", "file": {"file_id": "f"}}))
    with pytest.raises(NoEligibleModel):
        route(catalog(model("a")), wanted, by=key(monthly_budget_nanousd=10**9))
    assert order(route(catalog(model("a")), wanted)) == ["a"]


def test_the_bound_covers_the_worst_case_of_the_request() -> None:
    wanted = command(max_output_tokens=100, choices=3)
    bound = route(catalog(model("a")), wanted, by=key(monthly_budget_nanousd=10**12)).candidates[0].bound_nanousd
    assert bound >= wanted.body_bytes * CHEAP.input // 10**6 + 300 * CHEAP.output // 10**6


@pytest.mark.parametrize(
    ("mode", "first"), [("cheap", "cheap"), ("high_confidence", "good"), ("planning", "good"), ("adversarial", "good")]
)
def test_the_mode_weighs_cost_against_quality(mode: str, first: str) -> None:
    of = catalog(model("cheap", weight=10), model("good", weight=90, price=DEAR))
    assert order(route(of, command(policy={"mode": mode})))[0] == first


def test_a_mode_that_is_not_built_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not available yet"):
        route(catalog(model("a")), command(policy={"mode": "thompson"}))


@given(st.permutations(range(6)), st.text(alphabet="abc", max_size=4))
def test_the_order_depends_on_the_seed_and_not_on_the_input_order(order_in: list[int], seed: str) -> None:
    models = [model(f"m{i}") for i in range(6)]
    assert order(route(catalog(*models), command(), seed=seed)) == order(
        route(catalog(*(models[i] for i in order_in)), command(), seed=seed)
    )


def test_ties_are_spread_over_seeds() -> None:
    of = catalog(*(model(f"m{i}") for i in range(4)))
    firsts = {order(route(of, command(), seed=f"dec_{i}"))[0] for i in range(200)}
    assert firsts == {"m0", "m1", "m2", "m3"}


def test_the_demo_provider_is_gone_once_another_exists() -> None:
    demo, real = Provider("demo", "demo"), Provider("p", "openai")
    models = [model("demo-fast", "demo"), model("a")]
    assert set(Catalog.build(1, [demo], models).models) == {"demo-fast"}
    assert set(Catalog.build(1, [demo, real], models).models) == {"a"}


def seen(of: Catalog, **rows: Observation) -> Observations:
    return Observations(of.facts, {(name, "p"): row for name, row in rows.items()}, 1000)


def test_at_the_same_price_and_weight_the_faster_and_the_sounder_come_first() -> None:
    of = catalog(model("a"), model("b"))
    fast, slow = Observation(latency_ms=100.0), Observation(latency_ms=900.0)
    for seed in map(str, range(8)):
        assert order(route(of, command(), observed=seen(of, a=slow, b=fast), seed=seed)) == ["b", "a"]
        failing = Observation(calls=10, failures=8, seen_at_ms=1000)
        assert order(route(of, command(), observed=seen(of, a=failing), seed=seed)) == ["b", "a"]


def test_what_was_observed_of_another_catalog_counts_for_nothing() -> None:
    of, other = catalog(model("a"), model("b")), catalog(model("a"), model("b"))
    observed = seen(other, a=Observation(latency_ms=900.0), b=Observation(latency_ms=100.0))
    assert {order(route(of, command(), observed=observed, seed=f"{i}"))[0] for i in range(50)} == {"a", "b"}


def test_a_model_that_talks_more_costs_more() -> None:
    of = catalog(model("a"), model("b"))
    observed = seen(of, a=Observation(output_tokens=4000.0), b=Observation(output_tokens=100.0))
    assert order(route(of, command(), observed=observed)) == ["b", "a"]


@given(st.sampled_from(["", "m1", "fast"]), st.sampled_from(["cheap", "normal", "planning"]), st.text(max_size=4))
def test_streaming_changes_no_order(name: str, mode: str, seed: str) -> None:
    models = [model(f"m{i}", weight=50 + i % 3, price=(CHEAP, DEAR)[i % 2]) for i in range(6)]
    of = Catalog.build(1, [Provider("p", "openai", "http://p")], models, {"fast": ("m4", "m2")})
    plain, streamed = (route(of, command(name, policy={"mode": mode}, stream=s), seed=seed) for s in (False, True))
    assert order(plain) == order(streamed)


def test_an_alias_is_tried_in_its_order_then_the_others() -> None:
    models = [model("a"), model("b", price=DEAR), model("c", price=DEAR), model("d", enabled=False)]
    of = Catalog.build(1, [Provider("p", "openai", "http://p")], models, {"fast": ("d", "c", "b")})
    assert order(route(of, command("fast"))) == ["c", "b", "a"]


def test_a_fallback_list_is_looked_up_as_hints_are() -> None:
    models = [model("a"), model("b", price=DEAR), model("c", price=DEAR)]
    of = Catalog.build(1, [Provider("p", "openai", "http://p")], models, {"spare": ("c",)})
    assert route(of, command("b", policy={"fallback": ["openai/a", "spare", "nobody"]})).fallback == ("a", "c")


def test_where_the_fallback_allows_nothing_that_is_eligible_the_refusal_says_why() -> None:
    of = catalog(model("a"), model("b", enabled=False))
    with pytest.raises(NoEligibleModel) as caught:
        route(of, command("b", policy={"fallback": "none"}))
    assert "b: disabled" in caught.value.message and caught.value.blame == "caller"


@pytest.mark.parametrize(
    "asked, fallback, left",
    [
        ("dear", "none", ["dear", "cheap"]),
        ("fast", "none", ["dear", "cheap"]),
        ("off", ["dear"], ["cheap", "dear"]),
        ("off", "same_model", ["cheap", "dear"]),
    ],
)
def test_what_only_the_server_wishes_never_refuses_who_asked_for_few(
    asked: str, fallback: object, left: list[str]
) -> None:
    models = [
        model("cheap"),
        model("dear", price=DEAR, family="f"),
        model("off", enabled=False, family="f"),
        model("dearer", price=DEAR),
    ]
    of = Catalog.build(1, [Provider("p", "openai", "http://p")], models, {"fast": ("dear",)})
    defaults = merge(DEFAULTS, "server", {"max_budget_usd": "0.001"})
    itinerary = route(of, command(asked, policy={"fallback": fallback}), defaults=defaults)
    first = itinerary.first()
    assert first is not None and first.target.model.id == "dear"
    assert order(itinerary) == left and reasons(itinerary)["dearer"] == "default_budget"


def test_the_same_models_have_the_same_order_whoever_else_is_there() -> None:
    few, more = catalog(model("a"), model("b"), model("c")), catalog(*(model(name) for name in "abcdefgh"))
    among = order(route(few, command(), seed="dec_7"))
    assert [name for name in order(route(more, command(), seed="dec_7")) if name in among] == among
