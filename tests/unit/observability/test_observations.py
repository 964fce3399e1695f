"""The sink that learns: over the state's rows, keeping nothing itself."""

from __future__ import annotations

from tokenhub.observability.observations import Observer
from tokenhub.state.sqlite import SqliteState
from tokenhub.state.sqlite_file import open_schema

T = ("gpt", "alpha")


def receipt(outcome: str = "ok", latency_ms: int = 100) -> dict[str, object]:
    return {
        "created_at_ms": 1_700_000_000_000,
        "latency_ms": latency_ms,
        "ttft_ms": None,
        "attempts": [
            {"model": "gpt", "provider": "alpha", "outcome": outcome, "latency_ms": latency_ms, "blame": "target"}
        ],
        "usage": {"input_tokens": 10, "output_tokens": 5, "estimated": False},
        "input_tokens_estimated": 10,
        "max_output_tokens": None,
        "choices": 1,
        "policy": {},
    }


class Counting(SqliteState):
    """Counts transactions that write observations."""

    puts = 0

    def put_observations(self, rows):
        self.puts += 1
        super().put_observations(rows)


def make(tmp_path) -> Counting:
    open_schema(tmp_path / "state.sqlite")
    return Counting(tmp_path / "state.sqlite", worker_id="w1")


def test_a_batch_is_learned_in_one_transaction(tmp_path):
    state = make(tmp_path)
    Observer(state).learn([receipt(), receipt(latency_ms=200), receipt("provider_unavailable")])
    row = state.observations(0)[1][T]
    assert (row.samples, round(row.latency_ms), round(row.failures), round(row.calls)) == (2, 110, 1, 3)
    assert state.puts == 1
    state.close()


def test_whoever_drains_next_goes_on_from_the_rows(tmp_path):
    state = make(tmp_path)
    Observer(state).learn([receipt()])
    Observer(state).learn([receipt(latency_ms=200)])
    assert state.observations(0)[1][T].samples == 2
    state.close()


def test_a_batch_that_says_nothing_writes_nothing(tmp_path):
    state = make(tmp_path)
    Observer(state).learn([])
    Observer(state).learn([receipt() | {"attempts": []}])
    Observer(state).learn([receipt("context_length_exceeded")])
    assert state.puts == 0 and state.observations(0) == (0, {})
    state.close()
