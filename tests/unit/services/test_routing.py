"""What a simulation tells is what a request would meet, and it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.state import FakeState
from tokenhub.domain import selection
from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.domain.chat import ChatCommand, Image, Message, Text
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.money import Price
from tokenhub.domain.observed import NOTHING, Observation, Observations, TargetKey
from tokenhub.domain.policy import DEFAULTS
from tokenhub.errors import InvalidRequest, SpendLimitReached, Unavailable
from tokenhub.services import rules
from tokenhub.services.routing import ANYBODY, RULES, Question, RoutingService

PRICE = Price.per_1k_usd("0.001", "0.002")
PROVIDERS = (
    Provider("p", "openai", "http://p"),
    Provider("q", "openai", "http://q"),
    Provider("off", "openai", "http://off", enabled=False),
)


class Ready:
    """Providers of which only these could be asked; asking one is an error."""

    def __init__(self, *ids: str) -> None:
        self._ids = frozenset(ids)

    def ready(self) -> Set[str]:
        return self._ids

    def client(self, provider_id: str) -> Any:
        raise AssertionError("a simulation asks nobody")


def model(model_id: str, provider_id: str = "p", **fields: Any) -> Model:
    return Model(model_id, provider_id, model_id, **{"price": PRICE, "max_context_tokens": 8000, **fields})


def service(
    models: Sequence[Model], *, state: FakeState | None = None, aliases: dict[str, tuple[str, ...]] | None = None
) -> RoutingService:
    return believing(Catalog.build(1, PROVIDERS, models, aliases or {}), Ready("p", "q"), state)


def believing(
    catalog: Catalog, ready: Ready, state: FakeState | None = None, rows: Mapping[TargetKey, Observation] = NOTHING
) -> RoutingService:
    live = SimpleNamespace(catalog=catalog, defaults=DEFAULTS, observed=Observations(catalog.facts, rows, 1000))
    return RoutingService(live, ready, state or FakeState())  # type: ignore[arg-type]


def command(model_name: str = "", **fields: Any) -> ChatCommand:
    return ChatCommand("native", {}, 60, [Message("user", [Text("hello")])], model=model_name, **fields)


def ids(rows: Sequence[Any]) -> list[str]:
    return [row.target.model.id for row in rows]


def test_a_simulation_is_what_selection_gives() -> None:
    models = [model(f"m{i}", weight=i * 10) for i in range(5)]
    found = service(models).simulate(Question(command(), seed="s"))
    catalog = Catalog.build(1, PROVIDERS, models)
    expected = selection.select(selection.prepare(command(), ANYBODY, DEFAULTS), catalog, {"p", "q"}, "s")
    assert ids(found.candidates) == ids(expected.candidates)
    first = expected.first()
    assert first is not None and found.attempts[0].target.model.id == first.target.model.id
    assert found.refusal is None and len(found.attempts) == 5


def test_a_token_count_stands_in_for_messages() -> None:
    of = service([model("small", max_context_tokens=1000), model("large", max_context_tokens=100_000)])
    found = of.simulate(Question(command(), token_count=20_000))
    assert found.prepared.input_tokens == 20_000 and ids(found.candidates) == ["large"]
    estimated = of.simulate(Question(command())).prepared.input_tokens
    assert 0 < estimated < 100


@pytest.mark.parametrize("name", ["tools", "vision", "json_schema", "streaming"])
def test_a_need_is_held_against_what_models_can(name: str) -> None:
    of = service([model("all"), model("plain", capabilities=frozenset()), model("fit", capabilities=frozenset({name}))])
    found = of.simulate(Question(command(), needs=(name,)))
    assert set(ids(found.candidates)) == {"all", "fit"}
    assert [(r.model_id, r.reason) for r in found.rejections] == [("plain", "capability_missing")]


def test_the_command_of_a_question_is_left_as_it_was() -> None:
    asked = command()
    service([model("a")]).simulate(Question(asked, needs=("tools", "vision", "json_schema", "streaming")))
    assert asked == command()


def test_a_need_that_is_in_the_command_already_is_not_added_again() -> None:
    picture = Message("user", [Image("https://image.invalid/x.png")])
    asked = ChatCommand("native", {}, 60, [picture])
    once = service([model("a")]).simulate(Question(asked)).prepared.input_tokens
    assert service([model("a")]).simulate(Question(asked, needs=("vision",))).prepared.input_tokens == once


def test_nothing_eligible_is_an_answer() -> None:
    found = service([model("a", weight=1)]).simulate(Question(command(policy={"max_budget_usd": 0.00000001})))
    assert found.attempts == [] and list(found.candidates) == []
    assert found.refusal is not None and found.refusal.code == "no_eligible_model"
    assert [r.reason for r in found.rejections] == ["budget_exceeded"]


def test_a_policy_that_no_request_could_have_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        service([model("a")]).simulate(Question(command(policy={"mode": "fastest"})))
    assert caught.value.param == "policy.mode"


def budgeted(state: FakeState, budget: int, spent: int) -> None:
    state.add_key(ApiKey("k1", "bot", "tokenhub_x", ("chat",), 1, True, 0, monthly_budget_nanousd=budget), b"h")
    state.spent["k1"] = spent


def test_what_is_left_of_a_budget_may_change_the_choice_or_leave_none() -> None:
    state = FakeState()
    dear = model("dear", weight=99, price=Price.per_1k_usd("0.1", "0.2"))
    of = service([dear, model("cheap", weight=1)], state=state, aliases={"best": ("dear", "cheap")})
    asked = command(max_output_tokens=10, policy={"mode": "high_confidence"})
    budgeted(state, 10**12, 0)
    assert of.simulate(Question(asked, key_id="k1")).attempts[0].target.model.id == "dear"
    state.spent["k1"] = 10**12 - 5_000_000
    assert of.simulate(Question(asked, key_id="k1")).attempts[0].target.model.id == "cheap"
    by_alias = of.simulate(Question(command("best", max_output_tokens=10), key_id="k1"))
    assert by_alias.attempts[0].reason == "routed-alias-best" and ids(by_alias.attempts) == ["cheap"]
    for name in ("", "dear"):
        state.spent["k1"] = 10**12 - (5_000_000 if name else 0)
        refused = of.simulate(Question(command(name, max_output_tokens=10), key_id="k1"))
        assert refused.attempts == [] and isinstance(refused.refusal, SpendLimitReached)


def test_a_simulation_leaves_nothing_in_the_state() -> None:
    state = FakeState()
    budgeted(state, 10**12, 5)
    before = (dict(state.rows), dict(state.spent), state.epoch())
    service([model("a")], state=state).simulate(Question(command(), key_id="k1"))
    assert (state.rows, state.spent, state.epoch()) == before
    assert state.receipts == {} and state.taken == []


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        service([model("a")]).simulate(Question(command(), key_id="nobody"))
    assert caught.value.fields == {"key_id": ["there is no key 'nobody'"]}


def test_models_say_whether_they_can_be_asked() -> None:
    models = [model("a"), model("b", "off"), model("c", "q", enabled=False)]
    of = believing(Catalog.build(1, PROVIDERS, models), Ready("p", "off"))
    found, total = of.models(limit=10, offset=0)
    assert total == 3
    assert [(seen.target.model.id, seen.why_not) for seen in found] == [
        ("a", ""),
        ("b", "the provider is disabled"),
        ("c", "the model is disabled"),
    ]
    assert [(seen.provider.id, seen.why_not) for seen in of.providers()] == [
        ("off", "the provider is disabled"),
        ("p", ""),
        ("q", "the provider has no usable credential"),
    ]
    assert [seen.target.model.id for seen in of.models(limit=1, offset=1)[0]] == ["b"]


def test_experience_is_shown_and_weighed() -> None:
    catalog = Catalog.build(1, PROVIDERS, [model("fast"), model("slow", "q"), model("new")])
    rows = {
        ("fast", "p"): Observation(samples=3, latency_ms=100.0, calls=7.0, failures=1.0, seen_at_ms=1000),
        ("slow", "q"): Observation(samples=3, latency_ms=9000.0, seen_at_ms=1000),
    }
    of = believing(catalog, Ready("p", "q"), rows=rows)
    found = {seen.target.model.id: seen for seen in of.models(10, 0)[0]}
    assert found["fast"].observed == rows["fast", "p"] and found["fast"].error_rate == pytest.approx(0.1)
    assert found["new"].observed is None and found["new"].error_rate == 0.0
    simulated = of.simulate(Question(command(policy={"max_latency_ms": 5000})))
    assert [r.model_id for r in simulated.rejections] == ["slow"]
    assert {c.target.model.id: c.predicted_ms for c in simulated.candidates} == {"fast": 100.0, "new": None}


def test_before_the_catalog_is_loaded_nothing_is_told() -> None:
    of = believing(Catalog(), Ready())
    for act in (lambda: of.models(10, 0), of.providers, lambda: of.simulate(Question(command()))):
        with pytest.raises(Unavailable):
            act()


@pytest.mark.parametrize(
    ("name", "value"), [("token_count", 0), ("token_count", True), ("needs", ["x"]), ("needs", "tools"), ("seed", 5)]
)
def test_what_a_question_cannot_have_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest):
        rules.check({name: value}, RULES)
