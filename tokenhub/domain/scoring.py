"""How good a target is for a mode: a weighted sum of four objectives, each normalised to 0..1; lower is better.

What a request does not change (latency, errors, weight) is a `Standing`, worked out once for a set of targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tokenhub.domain.catalog import Column

LATENCY_SPREAD = 0.1
"""Share of the greatest latency. Latencies that differ by less are not stretched over the whole scale: means of what
was observed are never still, and must not outweigh what the operator said."""
ERROR_SPREAD = 0.05
"""As above, of error rates: one failure in a thousand calls is luck."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What each objective counts in a mode."""

    cost: float
    latency: float
    errors: float
    weight: float


PROFILES: dict[str, Profile] = {
    "cheap": Profile(0.70, 0.10, 0.10, 0.10),
    "normal": Profile(0.25, 0.25, 0.25, 0.25),
    "high_confidence": Profile(0.05, 0.10, 0.15, 0.70),
    "planning": Profile(0.10, 0.10, 0.20, 0.60),
    "adversarial": Profile(0.10, 0.10, 0.20, 0.60),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What a mode holds of some targets before a request names a cost: the parts of their scores, and their sum."""

    latency: Column
    errors: Column
    weight: Column
    """Of a heavier model the lower, so 0 or below."""
    total: Column


def standing(mode: str, latency_ms: Column, errors: Column, weights: Column) -> Standing:
    """Weigh what is known of targets. A latency that is not known (NaN) counts as the mean of the known ones."""
    profile = PROFILES[mode]
    unknown = np.isnan(latency_ms)
    if unknown.any():
        known = latency_ms[~unknown]
        latency_ms = np.where(unknown, known.mean() if len(known) else 0.0, latency_ms)
    latency = profile.latency * _normalised(latency_ms, LATENCY_SPREAD * np.maximum.reduce(latency_ms))
    failing = profile.errors * _normalised(errors, ERROR_SPREAD)
    weight = -profile.weight * _normalised(weights)
    return Standing(latency, failing, weight, latency + failing + weight)


def costs(mode: str, estimates: Column) -> Column:
    """The parts that the costs of a request have in the scores. One that is not known (NaN) counts as the dearest."""
    share = PROFILES[mode].cost
    cheapest, dearest = np.fmin.reduce(estimates), np.fmax.reduce(estimates)
    if not dearest > cheapest:  # Also where none is known.
        return np.zeros(len(estimates))
    parts: Column = np.fmin((estimates - cheapest) / (dearest - cheapest) * share, share)
    return parts


def _normalised(values: Column, least_spread: float = 0.0) -> Column:
    """Lay values over 0..1, from the least to the most; if all are equal, or none is known, all are 0."""
    least = np.minimum.reduce(values)
    spread = max(np.maximum.reduce(values) - least, least_spread)
    if not spread > 0.0:
        return np.zeros(len(values))
    normalised: Column = (values - least) / spread
    return normalised
