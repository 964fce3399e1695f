from __future__ import annotations

import pytest

from tests.fakes.state import FakeState
from tests.fakes.stores import migrated
from tokenhub.errors import NotFound
from tokenhub.services.logs import LogService
from tokenhub.storage.request_log import SqlRequestLog

MINE = {"id": "dec_1", "key_id": "key_mine", "created_at_ms": 1}


@pytest.fixture
def state():
    return FakeState()


@pytest.fixture
def log(tmp_path):
    return SqlRequestLog(migrated(tmp_path))


@pytest.fixture
def logs(state, log):
    return LogService(state, log)


def test_a_receipt_is_found_in_the_state_first_and_in_the_log_after_it_was_drained(logs, state, log):
    state.settle("dec_1", 0, MINE)
    assert logs.decision("dec_1", "key_mine") == MINE
    log.write(state.outbox(10))
    state.outbox_done(["dec_1"])
    assert logs.decision("dec_1", "key_mine") == MINE


def test_a_receipt_of_another_key_looks_like_one_that_is_not_there(logs, state, log):
    state.settle("dec_1", 0, MINE)
    log.write([{**MINE, "id": "dec_2"}])
    told = []
    for decision_id in ("dec_1", "dec_2", "dec_3"):
        with pytest.raises(NotFound) as caught:
            logs.decision(decision_id, "key_other")
        told.append(caught.value.message)
    assert len(set(told)) == 1


def test_the_administrator_reads_all_newest_first(logs, log):
    log.write([{**MINE, "id": f"dec_{n}", "created_at_ms": n} for n in range(3)])
    assert [receipt["id"] for receipt in logs.page(2, 0)] == ["dec_2", "dec_1"]
    assert [receipt["id"] for receipt in logs.page(2, 2)] == ["dec_0"]
