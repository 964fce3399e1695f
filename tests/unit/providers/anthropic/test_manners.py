from __future__ import annotations

import pytest

from tokenhub.providers.anthropic.manners import Manners, manners_of

OLD_EFFORTS = frozenset({"low", "medium", "high"})
EFFORTS = OLD_EFFORTS | {"xhigh", "max"}


@pytest.mark.parametrize(
    ("name", "efforts", "budget", "sampling", "both"),
    [
        ("claude-3-5-haiku-20241022", frozenset(), False, True, True),
        ("claude-3-7-sonnet-20250219", frozenset(), True, True, True),
        ("claude-sonnet-4-20250514", frozenset(), True, True, True),
        ("claude-opus-4-1-20250805", frozenset(), True, True, False),
        ("claude-sonnet-4-5", frozenset(), True, True, False),
        ("claude-haiku-4-5-20251001", frozenset(), True, True, False),
        ("claude-sonnet-4-6", OLD_EFFORTS, False, True, False),
        ("anthropic/claude-opus-4.7", EFFORTS, False, False, False),
        ("us.anthropic.claude-opus-4-8-v1:0", EFFORTS, False, False, False),
        ("claude-sonnet-5", EFFORTS, False, False, False),
        ("claude-haiku-5-5", EFFORTS, False, False, False),
        ("claude-mythos-preview", EFFORTS, False, False, False),
    ],
)
def test_what_a_claude_takes_is_told_by_the_version_in_its_name(
    name: str, efforts: frozenset[str], budget: bool, sampling: bool, both: bool
) -> None:
    manners = manners_of(name)
    assert (manners.efforts, manners.takes_budget, manners.takes_sampling, manners.takes_both) == (
        efforts,
        budget,
        sampling,
        both,
    )


def test_some_models_cannot_but_think_and_old_ones_cannot_at_all() -> None:
    assert not manners_of("claude-fable-5-1").can_rest and not manners_of("claude-3-opus-20240229").can_rest
    assert manners_of("claude-opus-5").can_rest and manners_of("claude-sonnet-4-5").can_rest


def test_other_makers_models_take_what_claude_once_took() -> None:
    assert manners_of("kimi-k2") == manners_of("glm-4.6") == Manners()
    assert manners_of("claude-opus-4-5").takes_strict and not manners_of("kimi-k2").takes_strict
