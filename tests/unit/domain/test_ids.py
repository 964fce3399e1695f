"""Ids that sort by their time."""

from __future__ import annotations

from tokenhub.domain.ids import ordered_id


def test_ids_sort_by_their_time_whatever_is_random() -> None:
    times_ms = [0, 1, 255, 256, 1_732_000_000_000, 1_732_000_000_001, 281_474_976_710_655]
    made = [ordered_id("dec_", ms, bytes([255 - n] * 10)) for n, ms in enumerate(times_ms)]
    assert made == sorted(made) and {len(one) for one in made} == {4 + 32}
    assert made[1] == "dec_000000000001" + "fe" * 10
