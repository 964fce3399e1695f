"""How good a candidate is for a mode: a weighted sum of min-max normalised objectives, lower is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokenhub.domain.eligibility import Candidate

PROFILES: dict[str, tuple[float, float]] = {
    "cheap": (0.70, 0.10),
    "normal": (0.25, 0.25),
    "high_confidence": (0.05, 0.70),
    "planning": (0.10, 0.60),
    "adversarial": (0.10, 0.60),
}
"""mode -> (what cost counts, what the model's weight counts)."""


def _normalised(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    spread = high - low
    return [(value - low) / spread if spread else 0.0 for value in values]


def score(candidates: Sequence[Candidate], mode: str) -> list[Candidate]:
    """Give every candidate its score. A cost that is not known counts as the dearest known one."""
    if not candidates:
        return []
    cost_share, weight_share = PROFILES[mode]
    dearest = max((c.estimate_nanousd or 0) for c in candidates)
    costs = _normalised([dearest if c.estimate_nanousd is None else c.estimate_nanousd for c in candidates])
    weights = _normalised([c.target.model.weight for c in candidates])
    return [
        replace(candidate, score=cost_share * cost - weight_share * weight)
        for candidate, cost, weight in zip(candidates, costs, weights, strict=True)
    ]
