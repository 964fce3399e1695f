"""What a model of this protocol takes, told from its upstream name. Pure.

The API refuses what a model does not take, and does not tell beforehand in a request; Claude's names carry a version.
Models of other makers behind the same protocol take what Claude took when they copied it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)", re.IGNORECASE)
_ALWAYS_THINKS = re.compile(r"claude-(?:fable|mythos)", re.IGNORECASE)
_NEWEST = (99, 0)


@dataclass(frozen=True, slots=True)
class Manners:
    """Which optional fields of a request a model takes."""

    efforts: frozenset[str] = frozenset()
    """Values of `output_config.effort`; where there are any, the model decides itself how much to think."""
    takes_budget: bool = True
    """Thinking with a fixed budget of tokens."""
    can_rest: bool = True
    """Thinking can be turned off."""
    takes_sampling: bool = True
    """`temperature`, `top_p` and `top_k`."""
    takes_both: bool = True
    """`temperature` and `top_p` in one request."""
    takes_strict: bool = False
    """Tools with `strict`."""


@lru_cache(maxsize=1024)
def manners_of(upstream_name: str) -> Manners:
    """What the model with this name takes; a Claude without a version in its name is taken for a new one."""
    if "claude" not in upstream_name.lower():
        return Manners()
    found = _VERSION.search(upstream_name)
    version = (int(found[1]), int(found[2] or 0)) if found else _NEWEST
    efforts: tuple[str, ...] = ()
    if version >= (4, 6):
        efforts = ("low", "medium", "high") if version < (4, 7) else ("low", "medium", "high", "xhigh", "max")
    return Manners(
        efforts=frozenset(efforts),
        takes_budget=(3, 7) <= version < (4, 6),
        can_rest=version >= (3, 7) and not _ALWAYS_THINKS.search(upstream_name),
        takes_sampling=version < (4, 7),
        takes_both=version < (4, 1),
        takes_strict=version >= (4, 5),
    )
