"""The policy table: every row is read, merged, bounded, refused and attributed the same way, at every level."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain import policy
from tokenhub.domain.keys import ApiKey
from tokenhub.domain.policy import DEFAULTS, HARD_LEVELS, LEVELS, MODES, NO_TERMS, ROWS, TABLE, Policy, Terms, merge
from tokenhub.errors import InvalidRequest

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)
CENT = 10_000_000


@dataclass(frozen=True)
class Example:
    """A row tried out. Two values that are not the default, as JSON and as text, with what they are inside; values that
    are refused; a ceiling, and what it makes of other values."""

    json: tuple[Any, Any]
    text: tuple[str, str]
    inner: tuple[Any, Any]
    bad_json: list[Any]
    bad_text: list[str]
    ceiling: Any
    bad_ceilings: list[Any]
    within: list[Any]
    """JSON values that the ceiling leaves alone."""
    beyond: list[Any]
    """JSON values that it does not."""
    brought_to: Any
    """What becomes of those, inside."""


EXAMPLES: dict[str, Example] = {
    "mode": Example(
        json=("cheap", "planning"),
        text=("cheap", "planning"),
        inner=("cheap", "planning"),
        bad_json=["fast", "thompson", "", "Cheap", ["cheap"], 1, True, None, {}],
        bad_text=["fast", "thompson", "", "CHEAP"],
        ceiling=["cheap", "normal"],
        bad_ceilings=[[], ["fast"], ["thompson"], "fast", None, 1, {"cheap": 1}, [["cheap"]], [None]],
        within=["cheap", "normal"],
        beyond=["planning", "adversarial"],
        brought_to="cheap",
    ),
    "max_budget_usd": Example(
        json=(0.01, 2),
        text=("0.01", "2"),
        inner=(CENT, 200 * CENT),
        bad_json=[-1, 100.01, float("nan"), float("inf"), 10**30, True, "0.01", "x", None, [], {}],
        bad_text=["-1", "101", "nan", "inf", "", "1_0", "١", "0x1", "1 000", "1e999999999"],
        ceiling=0.5,
        bad_ceilings=[0, -1, 101, "0.5", None, [0.5], True],
        within=[0.5, 0.01],
        beyond=[0.51, 100, 0],
        brought_to=50 * CENT,
    ),
    "max_latency_ms": Example(
        json=(100, 5_000.0),
        text=("100", "5000"),
        inner=(100, 5_000),
        bad_json=[-1, 300_001, 1.5, float("nan"), float("inf"), 10**30, True, "100", None, [], {}],
        bad_text=["-1", "300001", "1.5", "", "1_0", "١", "+1", " 1", "9" * 5000],
        ceiling=1_000,
        bad_ceilings=[0, -1, 300_001, "1000", None, [1000], True],
        within=[1_000, 5],
        beyond=[1_001, 300_000, 0],
        brought_to=1_000,
    ),
    "min_weight": Example(
        json=(7, 80),
        text=("7", "80"),
        inner=(7, 80),
        bad_json=[-1, 101, 1.5, float("nan"), True, "7", None, [], {}],
        bad_text=["-1", "101", "7.0", "", "x"],
        ceiling=60,
        bad_ceilings=[0, -1, 101, "60", None, True],
        within=[60, 100],
        beyond=[59, 1, 0],
        brought_to=60,
    ),
    "fallback": Example(
        json=("same_model", ["a", "org/b", "a"]),
        text=("same_model", " a, org/b,,a "),
        inner=("same_model", ("a", "org/b")),
        bad_json=["some", "a", "", [], [1], [""], ["a\nb"], ["x"] * 33, ["x" * 257], 1, True, None, {}],
        bad_text=["", ",", "a\x00", ",".join(map(str, range(40)))],
        ceiling="same_model",
        bad_ceilings=["all", ["same_model"], [], None, 1, ["a"]],
        within=["same_model", "none"],
        beyond=["any", ["a", "b"]],
        brought_to="same_model",
    ),
}
NAMES = list(ROWS)


def written(name: str, level: str, which: int = 0) -> Any:
    """An example as a level gives it."""
    example = EXAMPLES[name]
    return example.text[which] if level in policy.TEXT_LEVELS else example.json[which]


def resolved(
    base: Policy = DEFAULTS,
    *,
    own: dict[str, Any] | None = None,
    ceilings: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    body: dict[str, Any] | None = None,
) -> Policy:
    return policy.resolve(base, Terms(own or {}, ceilings or {}), headers or {}, body or {})


def refusal_of(level: Any, name: str, value: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        merge(DEFAULTS, level, {name: value})
    return caught.value


# ---------------------------------------------------------------- the table


def test_every_row_has_an_example_here_and_says_what_it_is() -> None:
    assert set(EXAMPLES) == set(ROWS)
    for knob in TABLE:
        assert knob.about and knob.unit and knob.accepted and knob.levels and knob.default_text, knob.name
        assert knob.ceiling is None or knob.ceiling.about
        assert knob.levels <= LEVELS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_default_is_a_value_that_its_row_takes_and_shows(name: str) -> None:
    knob = ROWS[name]
    assert knob.read(knob.show(knob.default)) == knob.default == knob.read_text(knob.default_text)
    assert knob.default not in EXAMPLES[name].inner


@pytest.mark.parametrize("name", NAMES)
def test_json_and_text_are_read_alike_and_shown_as_they_were(name: str) -> None:
    knob, example = ROWS[name], EXAMPLES[name]
    for json, text, inner in zip(example.json, example.text, example.inner, strict=True):
        assert knob.read(json) == knob.read_text(text) == inner
        assert knob.read(knob.show(inner)) == inner


def test_names_are_those_of_the_readme() -> None:
    budget = ROWS["max_budget_usd"]
    assert (budget.header, budget.variable) == ("x-tokenhub-max-budget-usd", "TOKENHUB_DEFAULT_MAX_BUDGET_USD")
    assert (DEFAULTS["mode"], DEFAULTS["max_budget_usd"], DEFAULTS["max_latency_ms"]) == ("normal", 5 * CENT, 20_000)
    assert DEFAULTS["mode"] in MODES


# ---------------------------------------------------------------- every row at every level


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NAMES)
def test_a_level_sets_a_row_and_the_result_says_so(name: str, level: Any) -> None:
    if level not in ROWS[name].levels:
        refusal_of(level, name, written(name, level))
        return
    merged = merge(DEFAULTS, level, {name: written(name, level)})
    assert merged[name] == EXAMPLES[name].inner[0]
    assert merged.set_by(name) == level
    assert merged.is_hard(name) == (level in ("key", "header", "request"))
    assert merged.hard(name) == (merged[name] if level in HARD_LEVELS else None)
    assert all(merged.set_by(other) == "default" for other in ROWS if other != name)


PAIRS = [
    (weak, strong) for weak in LEVELS for strong in LEVELS if list(LEVELS).index(weak) < list(LEVELS).index(strong)
]


@pytest.mark.parametrize(("weak", "strong"), PAIRS)
@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_level_replaces_a_weaker_one(name: str, weak: Any, strong: Any) -> None:
    given = {level: {name: written(name, level, which)} for which, level in enumerate((weak, strong))}
    base = DEFAULTS
    for level in ("server", "admin"):
        base = merge(base, level, given.get(level, {}))
    found = resolved(base, own=given.get("key"), headers=given.get("header"), body=given.get("request"))
    assert (found[name], found.set_by(name)) == (EXAMPLES[name].inner[1], strong)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NAMES)
def test_a_bad_value_is_refused_by_its_name(name: str, level: Any) -> None:
    example = EXAMPLES[name]
    for value in example.bad_text if level in policy.TEXT_LEVELS else example.bad_json:
        error = refusal_of(level, name, value)
        assert error.param == (ROWS[name].header if level == "header" else f"policy.{name}")
        assert error.message.startswith(name), value


@pytest.mark.parametrize("level", LEVELS)
def test_mode_thompson_is_said_to_come_later(level: Any) -> None:
    assert refusal_of(level, "mode", "thompson").message == "mode 'thompson' is not available yet"


def test_an_unknown_knob_is_refused() -> None:
    assert "max_buget_usd" in refusal_of("request", "max_buget_usd", 1).message
    with pytest.raises(InvalidRequest, match="max_buget_usd"):
        policy.read_ceilings({"max_buget_usd": 1})


def test_zero_means_no_limit_and_less_than_a_nano_dollar_does_not() -> None:
    assert resolved(body={"max_budget_usd": 0})["max_budget_usd"] is None
    assert resolved(body={"max_budget_usd": 1e-12})["max_budget_usd"] == 1
    assert resolved(headers={"max_budget_usd": "0.0"})["max_budget_usd"] is None


# ---------------------------------------------------------------- ceilings


@pytest.mark.parametrize("level", [*LEVELS, "default"])
@pytest.mark.parametrize("name", list(policy.CEILINGS))
def test_a_ceiling_bounds_a_value_whoever_set_it(name: str, level: str) -> None:
    example, knob = EXAMPLES[name], ROWS[name]
    terms = {"ceilings": {name: example.ceiling}}
    for value in [*example.within, *example.beyond]:
        base = DEFAULTS
        if level == "default":
            base = Policy({**DEFAULTS.settings, name: replace(DEFAULTS.settings[name], value=knob.read(value))})
        elif level in ("server", "admin"):
            text = ",".join(value) if isinstance(value, list) else str(value)
            base = merge(base, level, {name: text if level == "server" else value})  # type: ignore[arg-type]
        text = ",".join(value) if isinstance(value, list) else str(value)
        found = resolved(
            base,
            **terms,
            own={name: value} if level == "key" else None,
            headers={name: text} if level == "header" else None,
            body={name: value} if level == "request" else None,
        )
        if value in example.within:
            assert (found[name], found.set_by(name)) == (knob.read(value), level), value
        else:
            assert (found[name], found.set_by(name)) == (example.brought_to, "key_ceiling"), value
            assert found.is_hard(name)


@pytest.mark.parametrize("name", list(policy.CEILINGS))
def test_a_ceiling_holds_even_where_a_wish_within_it_is_put_aside(name: str) -> None:
    example = EXAMPLES[name]
    base = merge(DEFAULTS, "admin", {name: example.within[-1]})
    found = resolved(base, ceilings={name: example.ceiling})
    assert not found.is_hard(name)
    assert found.hard(name) == policy.CEILINGS[name].read(example.ceiling)
    demanded = resolved(base, ceilings={name: example.ceiling}, body={name: example.within[-1]})
    assert demanded.hard(name) == demanded[name] == ROWS[name].read(example.within[-1])


@pytest.mark.parametrize("name", list(policy.CEILINGS))
def test_a_bad_ceiling_is_refused_by_its_name(name: str) -> None:
    for value in EXAMPLES[name].bad_ceilings:
        with pytest.raises(InvalidRequest, match=name) as caught:
            policy.read_ceilings({name: value})
        assert caught.value.param == f"policy_ceilings.{name}"


@given(asked=st.integers(0, 100_000), ceiling=st.integers(1, 100_000))
def test_no_number_that_is_asked_for_goes_beyond_its_ceiling(asked: int, ceiling: int) -> None:
    latency = resolved(ceilings={"max_latency_ms": ceiling}, body={"max_latency_ms": asked})
    assert 0 < latency["max_latency_ms"] <= ceiling
    budget = resolved(ceilings={"max_budget_usd": ceiling / 1e6}, body={"max_budget_usd": asked / 1e6})
    assert 0 < budget["max_budget_usd"] <= ceiling * 1000
    weight = resolved(ceilings={"min_weight": 1 + ceiling % 100}, body={"min_weight": asked % 101})
    assert weight["min_weight"] >= 1 + ceiling % 100


# ---------------------------------------------------------------- keys, and what is told


def test_a_key_that_says_nothing_and_a_request_without_policy_merge_nothing() -> None:
    assert KEY.terms is NO_TERMS
    assert policy.resolve(DEFAULTS, KEY.terms, {}, {}) is DEFAULTS


def test_a_keys_policy_is_merged_once_for_each_set_of_defaults() -> None:
    key = replace(KEY, policy={"mode": "cheap"}, policy_ceilings={"max_budget_usd": 0.01})
    first = policy.resolve(DEFAULTS, key.terms, {}, {})
    assert policy.resolve(DEFAULTS, key.terms, {}, {}) is first
    assert (first.set_by("mode"), first["max_budget_usd"], first.set_by("max_budget_usd")) == (
        "key",
        CENT,
        "key_ceiling",
    )
    other = merge(DEFAULTS, "server", {"max_latency_ms": "7"})
    assert policy.resolve(other, key.terms, {}, {})["max_latency_ms"] == 7
    assert replace(key, policy={}).terms.over(DEFAULTS)[0] is DEFAULTS


def test_what_a_request_sets_does_not_stay_with_the_key() -> None:
    terms = Terms({"mode": "cheap"}, {"max_budget_usd": 1})
    assert policy.resolve(DEFAULTS, terms, {"mode": "planning"}, {"max_budget_usd": 0.5})["mode"] == "planning"
    assert policy.resolve(DEFAULTS, terms, {}, {})["mode"] == "cheap"


def test_a_key_whose_stored_policy_cannot_be_read_is_refused_not_unbounded() -> None:
    for terms in (Terms({}, {"gone": 1}), Terms({"gone": 1}, {})):
        with pytest.raises(InvalidRequest, match="gone"):
            policy.resolve(DEFAULTS, terms, {}, {})


def test_what_is_told_has_the_units_of_its_names() -> None:
    found = resolved(ceilings={"max_budget_usd": 0.02}, body={"fallback": ["b"], "max_latency_ms": 5})
    assert found.as_json() == {
        "mode": {"value": "normal", "set_by": "default"},
        "max_budget_usd": {"value": 0.02, "set_by": "key_ceiling", "ceiling": 0.02},
        "max_latency_ms": {"value": 5, "set_by": "request"},
        "min_weight": {"value": 0, "set_by": "default"},
        "fallback": {"value": ["b"], "set_by": "request"},
    }
    assert resolved(body={"max_budget_usd": 0}).as_json()["max_budget_usd"]["value"] == 0
