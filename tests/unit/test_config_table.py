"""The rows of settings that are made from the policy table, and that every row takes its own default."""

from __future__ import annotations

import pytest

from tokenhub.config_table import TABLE
from tokenhub.domain.policy import TABLE as KNOBS
from tokenhub.domain.policy import Knob


@pytest.mark.parametrize("knob", [knob for knob in KNOBS if "server" in knob.levels], ids=lambda knob: knob.name)
def test_every_row_of_the_policy_that_the_server_may_set_has_its_setting(knob: Knob) -> None:
    (row,) = (row for row in TABLE if row.name == knob.variable)
    assert (row.default, row.reloadable) == (knob.default_text, True)
    assert knob.about[1:] in row.about and row.accepted == knob.accepted


def test_every_default_in_the_table_is_accepted() -> None:
    for row in TABLE:
        if row.default:
            row.read(row.default)
