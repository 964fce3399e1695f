"""How good a candidate is for a mode: a weighted sum of min-max normalised objectives, lower is better."""

from __future__ import annotations

from collections.abc import Sequence

from tokenhub.domain.eligibility import Candidate

PROFILES: dict[str, tuple[float, float]] = {
    "cheap": (0.70, 0.10),
    "normal": (0.25, 0.25),
    "high_confidence": (0.05, 0.70),
    "planning": (0.10, 0.60),
    "adversarial": (0.10, 0.60),
}
"""mode -> (what cost counts, what the model's weight counts)."""


def score(candidates: Sequence[Candidate], mode: str) -> None:
    """Give every candidate its score. A cost that is not known counts as the dearest known one."""
    if not candidates:
        return
    cost_share, weight_share = PROFILES[mode]
    known = [c.estimate_nanousd for c in candidates if c.estimate_nanousd is not None]
    cheapest, dearest = (min(known), max(known)) if known else (0, 0)
    weights = [c.target.model.weight for c in candidates]
    lightest = min(weights)
    per_cost = cost_share / ((dearest - cheapest) or 1)
    per_weight = weight_share / ((max(weights) - lightest) or 1)
    for candidate, weight in zip(candidates, weights, strict=True):
        cost = dearest if candidate.estimate_nanousd is None else candidate.estimate_nanousd
        candidate.score = per_cost * (cost - cheapest) - per_weight * (weight - lightest)
