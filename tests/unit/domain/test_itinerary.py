"""Failover scripts, and what holds for every script: no dead end is tried again, and it ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.catalog import Model, Provider, Target
from tokenhub.domain.eligibility import Candidate
from tokenhub.domain.itinerary import MAX_ATTEMPTS, Attempt, Itinerary
from tokenhub.errors import (
    ContextOverflow,
    ProviderBudgetExceeded,
    ProviderError,
    ProviderFatal,
    ProviderRateLimited,
    ProviderTransient,
)


def candidate(model_id: str, provider_id: str = "p", context: int | None = None, bound: int = 0) -> Candidate:
    model = Model(model_id, provider_id, model_id, max_context_tokens=context)
    return Candidate(Target(Provider(provider_id, "openai"), model), 0, bound)


def walk(itinerary: Itinerary, *failures: ProviderError) -> list[str]:
    """Model ids tried, given how each attempt failed; the last one answers."""
    attempt = itinerary.first()
    tried = [attempt.target.model.id] if attempt else []
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
    itinerary = Itinerary([candidate("a"), candidate("b")], [], hinted=True)
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
    itinerary = Itinerary([candidate("dear", bound=10), candidate("cheap", bound=3)], [], hinted=True)
    itinerary.first()
    assert itinerary.affordable(5) is None


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
    st.tuples(st.sampled_from("pqr"), st.sampled_from([None, 10, 20, 30])), min_size=0, max_size=12
).map(lambda rows: [candidate(f"m{i}", provider, context) for i, (provider, context) in enumerate(rows)])


@given(CANDIDATES, st.lists(FAILURES, min_size=20, max_size=20))
def test_no_script_repeats_a_dead_end_or_goes_on_for_ever(
    candidates: list[Candidate], failures: list[ProviderError]
) -> None:
    itinerary = Itinerary(candidates, [])
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
