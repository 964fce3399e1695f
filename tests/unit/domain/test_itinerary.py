"""Failover scripts, and what holds for every script: no dead end is tried again, and it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.eligibility import Candidate, Rejection
from tokenhub.domain.hints import Hint
from tokenhub.domain.itinerary import MAX_ATTEMPTS, Attempt, Itinerary
from tokenhub.errors import (
    ContextOverflow,
    ProviderBudgetExceeded,
    ProviderError,
    ProviderFatal,
    ProviderRateLimited,
    ProviderTransient,
)


def candidate(
    model_id: str, provider_id: str = "p", context: int | None = None, bound: int = 0, family: str = ""
) -> Candidate:
    model = Model(model_id, provider_id, model_id, max_context_tokens=context, family=family)
    return Candidate(Target(Provider(provider_id, "openai"), model), 0, bound)


def exact(model_id: str, family: str = "") -> Hint:
    return Hint(model_id, "exact", (model_id,), family=family)


def alias(name: str, *model_ids: str) -> Hint:
    return Hint(name, "alias", model_ids, name)


def rejected(*model_ids: str) -> list[Rejection]:
    return [Rejection(model_id, "p", "context_overflow") for model_id in model_ids]


def walk(itinerary: Itinerary, *failures: ProviderError) -> list[str]:
    """Model ids tried, given how each attempt failed; the last one answers."""
    attempt = itinerary.first()
    if attempt is None:
        return []
    tried = [attempt.target.model.id]
    for failure in failures:
        attempt = itinerary.after(failure)
        if attempt is None:
            break
        tried.append(attempt.target.model.id)
    return tried


def test_a_transient_failure_moves_on_to_the_next_model() -> None:
    itinerary = Itinerary([candidate("a"), candidate("b"), candidate("c")], [])
    assert walk(itinerary, ProviderTransient("x"), ProviderRateLimited("x")) == ["a", "b", "c"]


def test_a_failure_of_the_callers_doing_ends_it() -> None:
    itinerary = Itinerary([candidate("a"), candidate("b")], [])
    assert walk(itinerary, ProviderFatal("x", status=400, blame="caller")) == ["a"]


def test_a_refused_credential_skips_all_models_of_the_provider() -> None:
    itinerary = Itinerary([candidate("a", "p"), candidate("b", "p"), candidate("c", "q")], [])
    assert walk(itinerary, ProviderFatal("x", status=401, blame="provider")) == ["a", "c"]


def test_a_spent_provider_account_skips_the_provider() -> None:
    itinerary = Itinerary([candidate("a", "p"), candidate("b", "p"), candidate("c", "q")], [])
    assert walk(itinerary, ProviderBudgetExceeded("x")) == ["a", "c"]


def test_an_overflow_only_tries_larger_contexts() -> None:
    candidates = [candidate("a", context=8), candidate("b", context=8), candidate("c", context=16), candidate("d")]
    assert walk(Itinerary(candidates, []), ContextOverflow("x"), ContextOverflow("x")) == ["a", "c", "d"]


def test_the_reason_of_an_attempt_says_why_it_is_made() -> None:
    itinerary = Itinerary([candidate("a"), candidate("b")], [], exact("a"))
    first = itinerary.first()
    second = itinerary.after(ProviderTransient("x", code="connect_failed"))
    assert first is not None and first.reason == "routed-hint-exact" and first.number == 1
    assert second is not None and second.reason == "failover-connect-failed" and second.number == 2


def test_a_smaller_budget_chooses_among_what_it_covers() -> None:
    itinerary = Itinerary([candidate("dear", bound=10), candidate("cheap", bound=3)], [])
    itinerary.first()
    attempt = itinerary.affordable(5)
    assert attempt is not None and attempt.target.model.id == "cheap" and attempt.number == 1
    assert [r.model_id for r in itinerary.rejections] == ["dear"]


def test_a_named_model_is_not_swapped_for_a_cheaper_one() -> None:
    itinerary = Itinerary([candidate("dear", bound=10), candidate("cheap", bound=3)], [], exact("dear"))
    itinerary.first()
    assert itinerary.affordable(5) is None and itinerary.rejections == []


def test_a_budget_may_choose_among_the_targets_of_an_alias_and_nothing_else() -> None:
    candidates = [candidate("a", bound=9), candidate("b", bound=5), candidate("c", bound=1)]
    itinerary = Itinerary(candidates, [], alias("fast", "a", "b"))
    itinerary.first()
    attempt = itinerary.affordable(5)
    assert attempt is not None and (attempt.target.model.id, attempt.reason) == ("b", "routed-alias-fast")
    assert itinerary.affordable(2) is None


def test_a_budget_may_replace_what_replaced_a_named_model() -> None:
    itinerary = Itinerary([candidate("b", bound=9), candidate("c", bound=1)], rejected("a"), exact("a"))
    itinerary.first()
    attempt = itinerary.affordable(5)
    assert attempt is not None and attempt.target.model.id == "c"


FAMILY = [
    candidate("a", "p", family="x"),
    candidate("other", "q"),
    candidate("twin", "p", family="x"),
    candidate("b", "q", family="x"),
    candidate("c", "r", family="x"),
]
"""As a selection orders them: the named one first."""


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("any", ["a", "other", "twin", "b", "c"]),
        ("same_model", ["a", "b", "c"]),
        ("none", ["a"]),
        (("c", "nobody", "other"), ["a", "c", "other"]),
        (("a", "b"), ["a", "b"]),
        ((), ["a"]),
    ],
)
@pytest.mark.parametrize("hint", [exact("a", "x"), Hint("", "", ()), Hint("nobody", "unknown", ())])
def test_the_fallback_says_what_follows_the_first(fallback: str | tuple[str, ...], expected: list[str], hint: Hint):
    """The same for the model that was named and for the best where none was."""
    assert walk(Itinerary(FAMILY, [], hint, fallback), *[ProviderTransient("x")] * 9) == expected


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("any", ["a", "other", "twin", "b", "c"]),
        ("same_model", ["a", "twin", "b", "c"]),
        ("none", []),
        (("c", "other"), ["c", "other"]),
        (("gone",), []),
    ],
)
def test_the_fallback_follows_at_once_where_the_named_model_is_not_eligible(
    fallback: str | tuple[str, ...], expected: list[str]
) -> None:
    rejections = rejected("named", "gone", "else")
    itinerary = Itinerary(FAMILY, rejections, exact("named", "x"), fallback)
    assert not itinerary.hinted and itinerary.is_empty == (not expected)
    assert walk(itinerary, *[ProviderTransient("x")] * 9) == expected


def test_what_could_not_have_been_tried_decides_nothing() -> None:
    rejections = rejected("named", "gone", "else")

    def deciding(hint: Hint, fallback: str | tuple[str, ...]) -> list[str]:
        return [r.model_id for r in Itinerary([], rejections, hint, fallback).deciding]

    assert deciding(exact("named"), "any") == ["named", "gone", "else"]
    assert deciding(exact("named"), "none") == deciding(exact("named"), "same_model") == ["named"]
    assert deciding(exact("named"), ("gone",)) == ["named", "gone"]
    assert deciding(Hint("nobody", "unknown", ()), "none") == ["named", "gone", "else"]


def test_a_model_without_a_family_is_the_same_as_no_other() -> None:
    candidates = [candidate("a", "p"), candidate("b", "q")]
    assert walk(Itinerary(candidates, [], exact("a"), "same_model"), ProviderTransient("x")) == ["a"]
    assert Itinerary(candidates, rejected("z"), exact("z"), "same_model").is_empty


def test_an_alias_leads_with_its_targets() -> None:
    candidates = [candidate("b", "p", family="x"), candidate("a", "p"), candidate("c", "q", family="x")]
    failures = [ProviderTransient("x", code="connect_failed")] * 3
    assert walk(Itinerary(candidates, [], alias("fast", "b", "a"), "any"), *failures) == ["b", "a", "c"]
    assert walk(Itinerary(candidates, [], alias("fast", "b", "a"), ()), *failures) == ["b", "a"]
    assert walk(Itinerary(candidates, [], alias("fast", "b", "a"), "same_model"), *failures) == ["b", "c"]
    assert walk(Itinerary(candidates, [], alias("fast", "b", "a"), "none"), *failures) == ["b"]
    itinerary = Itinerary(candidates, [], alias("fast", "b", "a"))
    first, second = itinerary.first(), itinerary.after(failures[0])
    assert first is not None and first.reason == "routed-alias-fast"
    assert second is not None and second.reason == "failover-connect-failed"


def test_what_replaces_a_named_model_does_not_claim_to_be_it() -> None:
    attempt = Itinerary([candidate("b")], rejected("a"), exact("a")).first()
    assert attempt is not None and attempt.reason == "routed-weight-50"


class Lazy(Sequence[Candidate]):
    """Candidates that note how far they were looked at."""

    def __init__(self, length: int) -> None:
        self.length, self.seen = length, 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if index >= self.length:
            raise IndexError
        self.seen = max(self.seen, index + 1)
        return candidate(f"m{index}", f"p{index}")

    def __iter__(self) -> Iterator[Candidate]:
        return (self[index] for index in range(self.length))


@pytest.mark.parametrize("hint", [Hint("", "", ()), exact("m0"), alias("fast", "m0", "m1")])
@pytest.mark.parametrize("fallback", ["any", "none"])
def test_candidates_are_looked_at_no_further_than_needed(hint: Hint, fallback: str) -> None:
    candidates = Lazy(5000)
    itinerary = Itinerary(candidates, [], hint, fallback)
    assert not itinerary.is_empty and itinerary.first() is not None and candidates.seen == 1
    itinerary.after(ProviderTransient("x"))
    assert candidates.seen == (2 if fallback == "any" else 1)


FAILURES = st.sampled_from(
    [
        ProviderTransient("x"),
        ProviderRateLimited("x"),
        ContextOverflow("x"),
        ProviderFatal("x", blame="target"),
        ProviderFatal("x", blame="provider"),
        ProviderFatal("x", blame="caller"),
        ProviderBudgetExceeded("x"),
    ]
)
CANDIDATES = st.lists(
    st.tuples(st.sampled_from("pqr"), st.sampled_from([None, 10, 20, 30]), st.sampled_from(["", "x"])), max_size=12
).map(lambda rows: [candidate(f"m{i}", p, context, 0, family) for i, (p, context, family) in enumerate(rows)])


FALLBACKS = st.one_of(
    st.sampled_from(["any", "same_model", "none"]), st.lists(st.sampled_from(["m0", "m1", "m5", "z"])).map(tuple)
)
HINTS = st.sampled_from([Hint("", "", ()), exact("m0"), exact("z", "x"), alias("fast", "m0", "m1")])


@given(CANDIDATES, st.lists(FAILURES, min_size=20, max_size=20), HINTS, FALLBACKS)
def test_no_script_repeats_a_dead_end_or_goes_on_for_ever(
    candidates: list[Candidate], failures: list[ProviderError], hint: Hint, fallback: str | tuple[str, ...]
) -> None:
    itinerary = Itinerary(candidates, [], hint, fallback)
    dead_providers: set[str] = set()
    seen: list[Attempt] = []
    attempt = itinerary.first()
    for failure in failures:
        if attempt is None:
            break
        seen.append(attempt)
        assert attempt.target.provider.id not in dead_providers
        if failure.blame == "provider":
            dead_providers.add(attempt.target.provider.id)
        attempt = itinerary.after(failure)
        if failure.blame == "caller":
            assert attempt is None
    assert attempt is None
    ids = [a.target.model.id for a in seen]
    assert len(set(ids)) == len(ids) <= MAX_ATTEMPTS
    assert [a.number for a in seen] == list(range(1, len(seen) + 1))
