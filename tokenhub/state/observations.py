"""What was observed of the targets, as the state keeps it: a small row each, so that every worker and every restart
knows it. What the numbers mean is in `domain/observed.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields

import orjson

from tokenhub.domain.observed import Observation, TargetKey
from tokenhub.state.driver import Driver, Execute

_CHANGED = "SELECT model_id, provider_id, observed, revision FROM observations WHERE revision > ?"
_ONE = "SELECT observed FROM observations WHERE model_id = ? AND provider_id = ?"
_NEWEST = "SELECT coalesce(max(revision), 0) FROM observations"
_PUT = """INSERT INTO observations (model_id, provider_id, revision, observed) VALUES (?, ?, ?, ?)
    ON CONFLICT (model_id, provider_id) DO UPDATE SET revision = excluded.revision, observed = excluded.observed"""

_FIELDS = frozenset(field.name for field in fields(Observation))


class ObservationTable:
    """Observations, over any driver."""

    def __init__(self, driver: Driver, clock_ms: Callable[[], int]) -> None:
        self._driver = driver
        self._clock_ms = clock_ms

    def observations(self, since: int) -> tuple[int, dict[TargetKey, Observation]]:
        """The rows that are newer than a revision (0: all), and the newest revision."""
        rows = self._driver.read(_CHANGED, (since,))
        newest = max((revision for *_, revision in rows), default=since)
        return newest, {(model_id, provider_id): _decode(text) for model_id, provider_id, text, _ in rows}

    def observations_of(self, targets: Iterable[TargetKey]) -> dict[TargetKey, Observation]:
        """The rows of these targets, as far as there are any."""
        found = {target: self._driver.read(_ONE, target) for target in targets}
        return {target: _decode(rows[0][0]) for target, rows in found.items() if rows}

    def put_observations(self, rows: Mapping[TargetKey, Observation]) -> None:
        """Insert or replace the rows of targets, all of one new revision."""
        texts = [(target, orjson.dumps(row).decode()) for target, row in rows.items()]

        def work(execute: Execute) -> None:
            # Greater than any that was read, also of a state that took the place of a newer one.
            revision = max(execute(_NEWEST, ())[0][0] + 1, self._clock_ms())
            for (model_id, provider_id), text in texts:
                execute(_PUT, (model_id, provider_id, revision, text))

        self._driver.write(work)


def _decode(text: str) -> Observation:
    return Observation(**{name: value for name, value in orjson.loads(text).items() if name in _FIELDS})
