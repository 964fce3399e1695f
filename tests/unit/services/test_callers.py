"""Who is let in, and how often one may guess."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.services.conftest import SECRET, Bench, reply
from tokenhub.domain.ports import Rate
from tokenhub.errors import Forbidden, RateLimited, Unauthenticated

Make = Callable[..., Bench]


def test_the_holder_of_a_key_is_known(bench: Make) -> None:
    caller = bench({"a": reply()}).callers.identify(SECRET, "chat", "10.0.0.1")
    assert caller.key.name == "app" and caller.address == "10.0.0.1" and caller.scope == "chat"


@pytest.mark.parametrize("secret", ["", "tokenhub_" + "b" * 64, SECRET[:-1], SECRET + "a", "é"])
def test_anybody_else_is_refused_alike(bench: Make, secret: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        bench({"a": reply()}).callers.identify(secret, "chat", "10.0.0.1")
    assert caught.value.code == "invalid_api_key" and (not secret or secret not in caught.value.message)


@pytest.mark.parametrize("changes", [{"enabled": False}, {"expires_at_ms": 1}])
def test_a_key_that_is_off_is_refused_like_an_unknown_one(bench: Make, changes: dict[str, object]) -> None:
    b = bench({"a": reply()})
    b.state.change_key("key_1", changes)
    with pytest.raises(Unauthenticated):
        b.callers.identify(SECRET, "chat", "10.0.0.1")


def test_a_missing_scope_is_forbidden(bench: Make) -> None:
    with pytest.raises(Forbidden):
        bench({"a": reply()}).callers.identify(SECRET, "plan", "10.0.0.1")


def test_a_narrowed_scope_holds_when_the_key_is_looked_up_again(bench: Make) -> None:
    b = bench({"a": reply()})
    caller = b.caller
    b.state.change_key("key_1", {"scopes": ("plan",)})
    with pytest.raises(Forbidden):
        b.callers.again(caller)


def test_what_is_not_admitted_later_reads_the_state_each_time(bench: Make) -> None:
    b = bench({"a": reply()})
    b.callers.identify(SECRET, None, "10.0.0.1")
    b.state.delete_key("key_1")
    with pytest.raises(Unauthenticated):
        b.callers.identify(SECRET, None, "10.0.0.1", fresh=True)


def test_guessing_too_fast_is_slowed_down(bench: Make) -> None:
    b = bench({"a": reply()}, rates=(Rate("address:x", 1, 2),))
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            b.callers.identify("wrong", "chat", "x")
    with pytest.raises(RateLimited) as caught:
        b.callers.identify("wrong", "chat", "x")
    assert caught.value.retry_after_s > 0
