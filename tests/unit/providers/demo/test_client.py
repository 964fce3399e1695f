from __future__ import annotations

import time
from random import Random

import pytest

from tests.unit.providers.conftest import a_command, deadlines
from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import ChatCommand, Message, Parameters, Text
from tokenhub.errors import ProviderTransient
from tokenhub.providers.demo.catalog import MANNERS, MODELS, PROVIDER
from tokenhub.providers.demo.client import DemoClient

TARGETS = {model.id: Target(PROVIDER, model) for model in MODELS}


class Naps:
    """Sleeps that are only written down."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


def test_a_whole_answer_takes_the_time_of_its_words() -> None:
    naps = Naps()
    reply = DemoClient(sleep=naps).send(a_command("hello"), TARGETS["demo-smart"], deadlines(), "r")
    assert reply.usage is not None
    manner = MANNERS["demo-smart"]
    assert naps.taken == [pytest.approx(manner.first_word_s + manner.between_words_s * reply.usage.output)]


def test_a_stream_pauses_before_every_word() -> None:
    naps = Naps()
    opened = DemoClient(sleep=naps).stream(a_command("hello"), TARGETS["demo-fast"], deadlines(), "r")
    first = next(iter(opened))
    assert first.text_bytes == 0 and naps.taken == []
    words = sum(chunk.text_bytes > 0 for chunk in opened)
    assert len(naps.taken) == words > 5
    assert naps.taken[:2] == [MANNERS["demo-fast"].first_word_s, MANNERS["demo-fast"].between_words_s]


def test_the_pauses_are_real_by_default() -> None:
    command = a_command("hello")
    command.max_output_tokens = 3
    started = time.monotonic()
    list(DemoClient().stream(command, TARGETS["demo-fast"], deadlines(), "r"))
    assert time.monotonic() - started > 0.05


def test_the_flaky_model_fails_for_the_same_requests_with_the_same_seed_and_others_never() -> None:
    def outcomes(model: str) -> list[bool]:
        client, results = DemoClient(Random(1), Naps()), []
        for _ in range(200):
            try:
                client.send(a_command("hello"), TARGETS[model], deadlines(), "r")
                results.append(True)
            except ProviderTransient as error:
                assert (error.code, error.status, error.doubtful) == ("provider_unavailable", 503, False)
                results.append(False)
        return results

    flaky = outcomes("demo-flaky")
    assert flaky == outcomes("demo-flaky") and 70 < flaky.count(False) < 130
    assert all(outcomes("demo-cheap"))


def test_the_total_deadline_and_closing_end_an_answer() -> None:
    client = DemoClient(sleep=Naps())
    with pytest.raises(ProviderTransient) as caught:
        client.send(a_command("hello"), TARGETS["demo-smart"], deadlines(total_s=0.2), "r")
    assert caught.value.code == "total_timeout"
    with pytest.raises(ProviderTransient) as late:
        list(client.stream(a_command("hello"), TARGETS["demo-smart"], deadlines(total_s=-1.0), "r"))
    assert late.value.code == "total_timeout"
    opened = client.stream(a_command("hello"), TARGETS["demo-smart"], deadlines(), "r")
    next(iter(opened))
    opened.close()
    with pytest.raises(ProviderTransient):
        list(opened)


def test_a_model_that_an_operator_adds_answers_too() -> None:
    target = Target(PROVIDER, MODELS[0].__class__(id="mine", provider_id="demo", upstream_name="whatever"))
    assert DemoClient(sleep=Naps()).send(a_command("hello"), target, deadlines(), "r").raw["model"] == "mine"


def test_another_dialect_is_answered_too_and_told_what_has_no_place() -> None:
    command = ChatCommand("anthropic", {}, 9, [Message("user", [Text("hello")])], parameters=Parameters(top_k=1))
    client = DemoClient(sleep=Naps())
    reply = client.send(command, TARGETS["demo-fast"], deadlines(), "r")
    opened = client.stream(command, TARGETS["demo-fast"], deadlines(), "r")
    said = "".join(delta.text for chunk in opened for delta in chunk.deltas)  # type: ignore[union-attr]
    assert reply.blocks == [Text(said)] and reply.not_forwarded == opened.not_forwarded == ("top_k",)
