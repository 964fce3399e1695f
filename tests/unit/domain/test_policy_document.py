"""docs/policy.md is the table, and the table says everything that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenhub.domain import policy_document
from tokenhub.domain.policy import CEILINGS, LEVELS, TABLE, Knob

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "policy.md"


def test_the_document_is_the_tables() -> None:
    told = "run: python -m tokenhub.domain.policy_document > docs/policy.md"
    assert DOCUMENT.read_text() == policy_document.document(), told


@pytest.mark.parametrize("knob", TABLE, ids=lambda knob: knob.name)
def test_a_row_is_documented_with_what_it_takes_and_its_name_at_each_level(knob: Knob) -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{knob.name}` |")]
    assert len(lines) == 2 + (knob.name in CEILINGS)
    for text in (knob.unit, knob.accepted, knob.about, f"`{knob.default_text}`"):
        assert text and f"| {text} |" in lines[0]
    assert lines[1].count("|") == 2 + len(LEVELS)
    assert (f"`{knob.variable}`" in lines[1]) == ("server" in knob.levels)
    assert (f"`{knob.header}`" in lines[1]) == ("header" in knob.levels)


def test_a_level_that_may_not_set_a_row_has_no_name_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(policy_document, "TABLE", (replace(TABLE[0], levels=frozenset({"request"})),))
    assert "| `mode` | - | - | - | - | `mode` |" in policy_document.document()
