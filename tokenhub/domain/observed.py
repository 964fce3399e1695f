"""What experience says of the targets: how fast they answer, how often they fail, how long their answers are.

Learned from settled receipts only, and pure: rows come in, rows go out (`learn`). Who stores them is in
`state/observations.py`, who calls this in `observability/observations.py`. Requests read them as `Observations`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from tokenhub.domain.catalog import Column, Facts, Positions
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.cost import EXPECTED_OUTPUT_TOKENS
from tokenhub.domain.policy import HARD_LEVELS

Picked = slice | Positions
"""Positions in a column."""
ALL = slice(None)

TargetKey = tuple[str, str]
"""Ids of a model and of its provider."""

NEW_SHARE = 0.1
"""What the newest answer counts in a running mean."""
HALF_LIFE_MS = 300_000
"""After this long a call counts half as much in the error rate."""
PRIOR_CALLS = 3.0
"""Calls without an error that every target is believed to have had lately: one failure of one call is no verdict."""
LEAST_RATIO, MOST_RATIO = 0.5, 2.5
FIXED_SHARE = 0.25
"""Share of an answer's time that does not grow with its length, where no time to first token was seen."""
SLACK_MS = 50
"""A deadline may end an attempt a little before it is over."""
FORGOTTEN = 0.001
"""Error rates below this say nothing any more."""


@dataclass(slots=True)
class Observation:
    """What was observed of one target. None: nothing yet. The means are of whole, successful answers."""

    samples: int = 0
    """Successful answers."""
    latency_ms: float | None = None
    ttft_ms: float | None = None
    """To the first content of a stream."""
    output_tokens: float | None = None
    """Length of an answer that the caller's cap did not cut."""
    input_tokens: float | None = None
    """As the provider counted them."""
    input_tokens_estimated: float | None = None
    """As we did, of the same requests."""
    calls: float = 0.0
    """Answered and failed ones, each counting less the longer ago it was: as of `seen_at_ms`."""
    failures: float = 0.0
    """Those that the target is to blame for."""
    seen_at_ms: int = 0
    """When the last of them ended."""

    def error_rate(self, now_ms: int) -> float:
        """How much of what was sent lately failed, 0..1; without new calls it goes to 0."""
        fading = _fading(now_ms - self.seen_at_ms)
        return self.failures * fading / (self.calls * fading + PRIOR_CALLS)

    @property
    def token_ratio(self) -> float:
        """What to multiply our token estimates with."""
        if not self.input_tokens or not self.input_tokens_estimated:
            return 1.0
        return min(max(self.input_tokens / self.input_tokens_estimated, LEAST_RATIO), MOST_RATIO)


NEW = Observation()
"""What is known of a target that was never tried."""


def learn(known: Mapping[TargetKey, Observation], receipts: Iterable[JsonObject]) -> dict[TargetKey, Observation]:
    """New rows of all targets that the receipts say something of; `known` has what these were, and is not changed."""
    learned: dict[TargetKey, Observation] = {}
    for receipt in receipts:
        ended_at_ms = receipt["created_at_ms"] + (receipt["latency_ms"] or 0)
        for attempt in receipt["attempts"]:
            is_answer = attempt["outcome"] == "ok"
            if not is_answer and not _is_its_fault(attempt, receipt):
                continue
            key = (attempt["model"], attempt["provider"])
            row = learned.get(key)
            if row is None:
                row = learned[key] = replace(known.get(key, NEW))
            _count(row, ended_at_ms, 0.0 if is_answer else 1.0)
            if is_answer:
                _take_answer(row, receipt, attempt)
    return learned


def targets_in(receipts: Iterable[JsonObject]) -> set[TargetKey]:
    """The targets that were tried."""
    return {(attempt["model"], attempt["provider"]) for receipt in receipts for attempt in receipt["attempts"]}


def _is_its_fault(attempt: JsonObject, receipt: JsonObject) -> bool:
    """Not where the caller asked for something impossible, left, or had no time: their doing says nothing of it."""
    if attempt.get("blame") not in ("target", "provider") or attempt["outcome"] == "context_length_exceeded":
        return False
    return not (attempt["outcome"].endswith("_timeout") and _ended_by_the_caller(attempt, receipt))


def _ended_by_the_caller(attempt: JsonObject, receipt: JsonObject) -> bool:
    """Whether the time that the caller or their key gave the whole request ran out in this attempt, the last."""
    wish = receipt["policy"].get("max_latency_ms", {})
    limit_ms = wish.get("value") if wish.get("set_by") in HARD_LEVELS else wish.get("ceiling")
    return bool(limit_ms) and attempt is receipt["attempts"][-1] and receipt["latency_ms"] + SLACK_MS >= limit_ms


def _count(row: Observation, ended_at_ms: int, failures: float) -> None:
    """Receipts come nearly in order: one that is late counts as much as it would by now."""
    passed_ms = ended_at_ms - row.seen_at_ms
    fading, share = _fading(passed_ms), _fading(-passed_ms)
    row.calls = row.calls * fading + share
    row.failures = row.failures * fading + failures * share
    row.seen_at_ms = max(row.seen_at_ms, ended_at_ms)


def _take_answer(row: Observation, receipt: JsonObject, attempt: JsonObject) -> None:
    row.samples += 1
    row.latency_ms = _mean(row.latency_ms, attempt["latency_ms"])
    if receipt["ttft_ms"] is not None:
        # Counted from the request; the attempt that answered is the last, and ends with it.
        waited_ms = receipt["latency_ms"] - attempt["latency_ms"]
        row.ttft_ms = _mean(row.ttft_ms, max(0, receipt["ttft_ms"] - waited_ms))
    if not receipt["usage"]["estimated"]:
        _take_usage(row, receipt, receipt["usage"])


def _take_usage(row: Observation, receipt: JsonObject, usage: JsonObject) -> None:
    length = usage["output_tokens"] / max(1, receipt.get("choices", 1))
    cap = receipt.get("max_output_tokens")
    expected = EXPECTED_OUTPUT_TOKENS if row.output_tokens is None else row.output_tokens
    if cap is None or length < cap or length > expected:  # One that was cut tells only that it would be longer.
        row.output_tokens = _mean(row.output_tokens, length)
    if usage["input_tokens"] > 0 and receipt["input_tokens_estimated"] > 0:
        row.input_tokens = _mean(row.input_tokens, usage["input_tokens"])
        row.input_tokens_estimated = _mean(row.input_tokens_estimated, receipt["input_tokens_estimated"])


def _mean(mean: float | None, value: float) -> float:
    return float(value) if mean is None else mean + NEW_SHARE * (value - mean)


def _fading(passed_ms: int) -> float:
    return 0.5 ** (passed_ms / HALF_LIFE_MS) if passed_ms > 0 else 1.0


NOTHING: Mapping[TargetKey, Observation] = MappingProxyType({})


class Observations:
    """What is known by experience at one moment, as columns in the order of a catalog's targets. Never changed in
    place, except for `standings`, where the scorer keeps what it worked out."""

    def __init__(self, facts: Facts, rows: Mapping[TargetKey, Observation] = NOTHING, now_ms: int = 0) -> None:
        """`now_ms`: Unix milliseconds; errors of long ago count less. Rows of other targets are passed over."""
        size = len(facts.targets)
        self.facts = facts
        self.rows = rows
        self.now_ms = now_ms
        self.latency_ms, self.ttft_ms = np.full(size, math.nan), np.full(size, math.nan)
        """NaN: not known."""
        self.errors, self.token_ratios = np.zeros(size), np.ones(size)
        lengths = np.full(size, float(EXPECTED_OUTPUT_TOKENS))
        for (model_id, provider_id), row in rows.items():
            position = facts.positions.get(model_id)
            if position is not None and facts.targets[position].provider.id == provider_id:
                self._take(position, row, row.error_rate(now_ms), lengths)
        self.output_tokens: Column = np.minimum(lengths, facts.output_caps)
        """Expected of one choice, within what the model can give."""
        self.input_prices: Column = facts.input_prices * self.token_ratios
        """Nano-dollars for a token of our estimate."""
        self.longest_output = max(self.output_tokens.tolist(), default=0.0)
        self.most_ratio = max(self.token_ratios.tolist(), default=1.0)
        self.slowest_ms = max((ms for ms in self.latency_ms.tolist() if ms == ms), default=0.0)
        """0: no latency is known."""
        self.standings: dict[Any, Any] = {}

    def _take(self, position: int, row: Observation, error_rate: float, lengths: Column) -> None:
        self.errors[position] = error_rate if error_rate >= FORGOTTEN else 0.0
        self.token_ratios[position] = row.token_ratio
        if row.latency_ms is not None:
            self.latency_ms[position] = row.latency_ms
        if row.ttft_ms is not None:
            self.ttft_ms[position] = row.ttft_ms
        if row.output_tokens is not None:
            lengths[position] = row.output_tokens

    @property
    def is_fading(self) -> bool:
        """Whether it changes by itself as time goes on."""
        return bool(self.errors.any())

    def predicted_ms(self, max_output_tokens: int | None, of: Picked = ALL) -> Column:
        """How long a whole answer probably takes: less than is usual where the caller's cap cuts it. NaN: not known."""
        usual_ms = self.latency_ms[of]
        if max_output_tokens is None or max_output_tokens >= self.longest_output:
            return usual_ms
        ttft_ms = self.ttft_ms[of]
        fixed_ms = np.fmin(usual_ms, np.where(np.isnan(ttft_ms), FIXED_SHARE * usual_ms, ttft_ms))
        share = np.minimum(max_output_tokens / np.maximum(self.output_tokens[of], 1.0), 1.0)
        predicted_ms: Column = fixed_ms + (usual_ms - fixed_ms) * share
        return predicted_ms

    def most_nanousd(self, input_tokens: int, max_output_tokens: int | None, choices: int) -> float:
        """No estimate is more than this."""
        longest = self.longest_output if max_output_tokens is None else min(max_output_tokens, self.longest_output)
        return input_tokens * self.most_ratio * self.facts.dearest_input + longest * self.facts.dearest_output * choices

    def estimates_nanousd(self, input_tokens: int, max_output_tokens: int | None, choices: int) -> Column:
        """What the request probably costs; what caches save is not counted on. NaN: the price is not known."""
        if max_output_tokens is None or max_output_tokens >= self.longest_output:
            lengths = self.output_tokens
        else:
            lengths = np.minimum(self.output_tokens, max_output_tokens)
        estimates: Column = input_tokens * self.input_prices + lengths * self.facts.output_prices * choices
        if input_tokens * self.most_ratio > self.facts.least_tier_tokens:
            for position in self.facts.tiered:
                tokens = input_tokens * self.token_ratios[position]
                price = self.facts.targets[position].model.price
                if price is not None:
                    tier = price.at(int(tokens))
                    estimates[position] = (tokens * tier.input + lengths[position] * choices * tier.output) / 1e6
        return estimates
