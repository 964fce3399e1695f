"""One vLLM provider with three endpoints: a good one, a slow one, and one that is not there until it is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.e2e.harness import Answer, Gateway, free_port, until
from tests.e2e.test_money import at_once
from tests.factories import chat_body, model_entry, provider_entry
from tests.upstream.process import UpstreamProcess

SLOW_MS = 100
SCRIPTED = "ok hang cut-headers status-503 status-429 status-400".split()
BACK_WITHIN_S = 15
"""An endpoint that failed a few times in a row is left alone for some seconds."""


@dataclass
class Fleet:
    """The endpoints, and a gateway of one worker before them: each worker has its own turn."""

    gateway: Gateway
    good: UpstreamProcess
    slow: UpstreamProcess
    port: int
    """Where the third one is while it runs."""
    third: UpstreamProcess | None = None

    @property
    def running(self) -> list[UpstreamProcess]:
        return [each for each in (self.good, self.slow, self.third) if each is not None]

    def start_third(self) -> UpstreamProcess:
        """Start it, if it does not run, and wait until it has its turn."""
        if self.third is None:
            self.third = UpstreamProcess(self.port)
        until(lambda: self.counts(lambda: self.ask(3)) == [1, 1, 1], BACK_WITHIN_S)
        return self.third

    def stop_third(self) -> None:
        if self.third is not None:
            self.third.stop()
        self.third = None

    def counts(self, ask: Callable[[], object]) -> list[int]:
        """How many requests each running endpoint gets meanwhile."""
        marks = [each.mark() for each in self.running]
        ask()
        return [len(each.calls(mark)) for each, mark in zip(self.running, marks, strict=True)]

    def ask(self, times: int, model: str = "ok", stream: bool = False) -> list[Answer]:
        return [self.gateway.chat(chat_body(model, stream=stream)) for _ in range(times)]

    def asked(self, times: int, model: str = "ok", stream: bool = False) -> tuple[list[Answer], list[int]]:
        """The answers, and how many requests each running endpoint got for them."""
        answers: list[Answer] = []
        counts = self.counts(lambda: answers.extend(self.ask(times, model, stream)))
        return answers, counts


@pytest.fixture(scope="module")
def running_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with UpstreamProcess() as good, UpstreamProcess(delay_ms=SLOW_MS) as slow:
        port = free_port()
        endpoints = [f"{slow.url}/v1", f"http://127.0.0.1:{port}"]
        gateway = Gateway(
            tmp_path_factory.mktemp("fleet"),
            {
                "providers": [provider_entry("vllm", good.url, type="vllm", endpoints=endpoints)],
                "models": [model_entry(name, "vllm") for name in SCRIPTED],
            },
            {
                "TOKENHUB_DEFAULT_FALLBACK": "none",
                "TOKENHUB_WORKERS": "1",
                "TOKENHUB_PROVIDER_TIMEOUT_SECS": "1",
                "TOKENHUB_REQUEST_TIMEOUT_SECS": "2",
            },
        )
        made = Fleet(gateway, good, slow, port)
        yield made
        gateway.stop()
        made.stop_third()


@pytest.fixture
def fleet(running_fleet: Fleet) -> Iterator[Fleet]:
    yield running_fleet
    running_fleet.gateway.fail_on_new_tracebacks()


def statuses(answers: Sequence[Answer]) -> set[int]:
    return {answer.status for answer in answers}


def test_a_dead_endpoint_is_skipped_and_nothing_is_asked_twice(fleet: Fleet) -> None:
    fleet.stop_third()
    for stream in (False, True):
        answers, counts = fleet.asked(12, stream=stream)
        assert statuses(answers) == {200}
        assert sum(counts) == 12, "each request is one POST"
        assert all(4 <= count <= 8 for count in counts), f"in turn, but for those that the dead one left: {counts}"
    receipt = fleet.gateway.receipt(answers[0].decision_id)
    assert len(receipt["attempts"]) == 1, "which endpoint answers is the provider's own affair"


def test_an_endpoint_that_is_started_comes_back_and_takes_its_turn(fleet: Fleet) -> None:
    fleet.start_third()
    assert fleet.counts(lambda: fleet.ask(12)) == [4, 4, 4]
    assert fleet.counts(lambda: fleet.ask(6, stream=True)) == [2, 2, 2]


def test_turns_are_taken_by_requests_at_the_same_time_too(fleet: Fleet) -> None:
    fleet.start_third()
    counts = fleet.counts(lambda: at_once(30, lambda number: fleet.ask(1, stream=number % 2 == 1)[0]))
    assert counts == [10, 10, 10]


@pytest.mark.parametrize("model", ["status-503", "status-429"])
def test_a_refusal_that_is_the_servers_own_affair_goes_to_each_endpoint_once(fleet: Fleet, model: str) -> None:
    fleet.start_third()
    answers, counts = fleet.asked(1, model)
    assert (statuses(answers), counts) == ({502}, [1, 1, 1])
    assert answers[0].headers["retry-after"] == "1"


def test_the_callers_mistake_is_asked_once(fleet: Fleet) -> None:
    answers, counts = fleet.asked(1, "status-400")
    assert (statuses(answers), sum(counts)) == ({400}, 1)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["hang", "cut-headers"])
def test_what_may_have_been_worked_on_is_never_posted_again(fleet: Fleet, model: str, stream: bool) -> None:
    answers, counts = fleet.asked(1, model, stream)
    assert statuses(answers) <= {502, 504}
    assert sum(counts) == 1, "a doubtful request is not repeated elsewhere"


def test_an_endpoint_that_dies_is_noticed_by_nobody(fleet: Fleet) -> None:
    fleet.start_third()
    fleet.stop_third()
    answers, counts = fleet.asked(10)
    assert (statuses(answers), sum(counts)) == ({200}, 10)


def test_the_admin_sees_and_changes_the_endpoints(fleet: Fleet) -> None:
    provider = fleet.gateway.admin("GET", "/providers/vllm").json()
    given = [f"{fleet.slow.url}/v1", f"http://127.0.0.1:{fleet.port}"]
    assert provider["endpoints"] == given
    changed = fleet.gateway.admin("PATCH", "/providers/vllm", {"endpoints": []})
    assert changed.status == 200, changed
    try:
        until(lambda: fleet.asked(4)[1][:2] == [4, 0])
    finally:
        fleet.gateway.admin("PATCH", "/providers/vllm", {"endpoints": given})
