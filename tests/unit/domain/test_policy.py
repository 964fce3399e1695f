"""The policy table: every row is read, merged, refused and attributed the same way."""

from __future__ import annotations

import pytest

from tokenhub.domain.policy import DEFAULTS, MODES, ROWS, TABLE, merge
from tokenhub.errors import InvalidRequest

GOOD = {"mode": "cheap", "max_budget_usd": 0.5, "max_latency_ms": 100, "min_weight": 7}
BAD = {"mode": "fast", "max_budget_usd": 101, "max_latency_ms": 300_001, "min_weight": 101}


def test_every_row_has_an_example_here() -> None:
    assert set(GOOD) == set(BAD) == set(ROWS)


@pytest.mark.parametrize("name", list(ROWS))
def test_a_request_sets_a_row_and_the_result_says_so(name: str) -> None:
    policy = merge(DEFAULTS, "request", {name: GOOD[name]})
    assert policy.set_by(name) == "request"
    assert policy[name] == ROWS[name].read(GOOD[name])
    assert all(policy.set_by(other) == "default" for other in ROWS if other != name)


@pytest.mark.parametrize("name", list(ROWS))
def test_a_request_replaces_what_the_server_set(name: str) -> None:
    if "server" not in ROWS[name].levels:
        with pytest.raises(InvalidRequest):
            merge(DEFAULTS, "server", {name: GOOD[name]})
        return
    server = merge(DEFAULTS, "server", {name: GOOD[name]})
    assert server.set_by(name) == "server"
    other = {"mode": "normal", "max_budget_usd": 1, "max_latency_ms": 5}[name]
    both = merge(server, "request", {name: other})
    assert both.set_by(name) == "request" and both[name] == ROWS[name].read(other)


@pytest.mark.parametrize("name", list(ROWS))
@pytest.mark.parametrize("junk", [None, "x", [], {}, float("nan"), float("inf"), True, -1, 10**30, "1_0"])
def test_a_bad_value_is_named(name: str, junk: object) -> None:
    for value in (BAD[name], junk):
        with pytest.raises(InvalidRequest, match=name) as caught:
            merge(DEFAULTS, "request", {name: value})
        assert caught.value.param == f"policy.{name}"


def test_an_unknown_knob_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="max_buget_usd"):
        merge(DEFAULTS, "request", {"max_buget_usd": 1})


def test_zero_means_no_limit() -> None:
    assert merge(DEFAULTS, "request", {"max_budget_usd": 0})["max_budget_usd"] is None


def test_every_row_says_what_it_is() -> None:
    for knob in TABLE:
        assert knob.about and knob.levels
    assert DEFAULTS["mode"] in MODES
