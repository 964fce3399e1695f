"""Metrics: counted once, labelled from closed sets, summed over processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.errors import InvalidRequest, ProviderTransient, RateLimited, TokenHubError, Unavailable
from tokenhub.observability.metrics import Metrics, error_codes

CATALOG = Catalog.build(1, [Provider("openai", "openai")], [Model("gpt", "openai", "gpt-4o")])


class Scraped:
    """The metrics of one process and what a scrape of them says."""

    def __init__(self, **options) -> None:
        self.metrics = Metrics(lambda: CATALOG, multiprocess=False, **options)
        app = Flask(__name__)
        self.metrics.mount(app)
        self.client = app.test_client()

    def text(self) -> str:
        return self.client.get("/metrics").text

    def value(self, sample: str) -> float | None:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.text(), re.MULTILINE)
        return float(found[1]) if found else None


@pytest.fixture
def scraped():
    return Scraped()


TARGET = 'model="gpt",provider="openai"'


def test_a_good_answer_counts_once_everywhere(scraped, a_receipt):
    scraped.metrics.observe([a_receipt(stream=True, ttft_ms=200)])
    assert scraped.value(f'tokenhub_requests_total{{{TARGET},status="ok"}}') == 1
    assert scraped.value(f'tokenhub_tokens_total{{direction="input",{TARGET}}}') == 10
    assert scraped.value(f'tokenhub_tokens_total{{direction="output",{TARGET}}}') == 5
    assert scraped.value(f"tokenhub_cost_usd_total{{{TARGET}}}") == pytest.approx(0.002)
    assert scraped.value(f"tokenhub_request_latency_seconds_sum{{{TARGET}}}") == 1.5
    assert scraped.value(f'tokenhub_request_latency_seconds_bucket{{le="1.0",{TARGET}}}') == 0
    assert scraped.value(f'tokenhub_request_latency_seconds_bucket{{le="2.5",{TARGET}}}') == 1
    assert scraped.value(f"tokenhub_time_to_first_token_seconds_sum{{{TARGET}}}") == 0.2
    assert "tokenhub_request_errors_total{" not in scraped.text()


def test_a_failure_counts_by_its_code_and_not_as_a_latency(scraped, a_receipt):
    code = ProviderTransient.default_code
    scraped.metrics.observe([a_receipt(status="error", error_code=code, cost_nanousd=0, input=0, output=0)])
    assert scraped.value(f'tokenhub_requests_total{{{TARGET},status="error"}}') == 1
    assert scraped.value(f'tokenhub_request_errors_total{{code="{code}",{TARGET}}}') == 1
    assert "tokenhub_request_latency_seconds_count{" not in scraped.text()
    assert "tokenhub_cost_usd_total{" not in scraped.text()


def test_a_request_that_reached_no_target_has_empty_labels(scraped, a_receipt):
    scraped.metrics.observe([a_receipt(model="", status="error", error_code="no_eligible_model")])
    assert scraped.value('tokenhub_requests_total{model="",provider="",status="error"}') == 1


def test_strange_names_and_codes_make_no_new_series(scraped, a_receipt):
    scraped.metrics.observe([a_receipt(status="error", error_code="x")])
    before = scraped.text().count("\n")
    scraped.metrics.observe([a_receipt(model=f"m{n}", provider=f"p{n}", status="ok", stream=True) for n in range(2000)])
    scraped.metrics.observe([a_receipt(status="error", error_code=f"code{n}\n") for n in range(2000)])
    text = scraped.text()
    assert text.count("\n") - before < 60
    assert scraped.value('tokenhub_requests_total{model="other",provider="other",status="ok"}') == 2000
    assert scraped.value(f'tokenhub_request_errors_total{{code="other",{TARGET}}}') == 2001
    assert not re.search(r'"(m|p|code)\d', text)


def test_error_codes_are_those_of_the_exception_tree():
    codes = error_codes()
    assert {"invalid_request", "insufficient_quota", "provider_rate_limited", "internal_error"} <= codes
    assert all(leaf.default_code in codes for leaf in TokenHubError.__subclasses__())


def test_worker_side_counts_show(scraped):
    scraped.metrics.told(RateLimited("x", retry_after_s=1))
    scraped.metrics.told(Unavailable("x"))
    scraped.metrics.told(InvalidRequest("x"))
    scraped.metrics.line_dropped()
    scraped.metrics.drained(37)
    assert scraped.value("tokenhub_rate_limited_total") == 1
    assert scraped.value("tokenhub_unavailable_total") == 1
    assert scraped.value("tokenhub_log_lines_dropped_total") == 1
    assert scraped.value("tokenhub_outbox_rows") == 37


def test_stalls_add_up_and_the_worst_is_forgotten_after_a_minute():
    now = [1000.0]
    scraped = Scraped(clock=lambda: now[0])
    for late_s in (0.001, 0.2, 0.03, 0.0):
        scraped.metrics.hub_late(late_s)
    assert scraped.value("tokenhub_hub_stall_seconds_count") == 2
    assert scraped.value("tokenhub_hub_stall_seconds_sum") == pytest.approx(0.23)
    assert scraped.value("tokenhub_hub_worst_stall_seconds") == 0.2
    now[0] += 61
    scraped.metrics.hub_late(0.002)
    assert scraped.value("tokenhub_hub_worst_stall_seconds") == 0.002


def test_metrics_can_be_built_twice_and_do_not_share_counts(a_receipt):
    first, second = Scraped(), Scraped()
    first.metrics.observe([a_receipt()])
    assert first.value(f'tokenhub_requests_total{{{TARGET},status="ok"}}') == 1
    assert second.value(f'tokenhub_requests_total{{{TARGET},status="ok"}}') is None


def test_only_our_own_metrics_are_exported(scraped):
    names = re.findall(r"^# TYPE (\S+)", scraped.text(), re.MULTILINE)
    assert names
    assert all(name.startswith("tokenhub_") for name in names)


def test_the_scrape_runs_where_it_is_told_and_head_works():
    places = []
    app = Flask(__name__)

    def offload(work):
        places.append("pool")
        return work()

    Metrics(lambda: CATALOG, multiprocess=False).mount(app, offload)
    assert app.test_client().head("/metrics").status_code == 200
    assert places == ["pool"]


WORKER = """
import json, sys
from flask import Flask
from tokenhub.domain.catalog import Catalog, Model, Provider
assert "prometheus_client" not in sys.modules, "imported before it is needed"
from tokenhub.observability.metrics import Metrics
assert "prometheus_client" not in sys.modules, "importing the module must not import it"
catalog = Catalog.build(1, [Provider("openai", "openai")], [Model("gpt", "openai", "gpt-4o")])
Metrics(lambda: catalog, multiprocess=True)
metrics = Metrics(lambda: catalog, multiprocess=True)
receipts = json.loads(sys.argv[1])
metrics.observe(receipts)
metrics.hub_late(0.01 * len(receipts))
metrics.drained(len(receipts))
app = Flask("worker")
metrics.mount(app)
client = app.test_client()
for path in ("/metrics", "/metrics?name[]=tokenhub_requests_total"):
    assert client.get(path).status_code == 200
print(client.get("/metrics").text)
"""


def run_worker(folder: Path, receipts: list[dict]) -> str:
    """A process of its own with that many receipts; gives its scrape."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(receipts)],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_processes_add_up_in_any_ones_scrape(tmp_path, a_receipt):
    run_worker(tmp_path, [a_receipt()] * 3)
    text = run_worker(tmp_path, [a_receipt(), a_receipt(status="error", error_code="bad")])
    assert f'tokenhub_requests_total{{{TARGET},status="ok"}} 4.0' in text
    assert f'tokenhub_requests_total{{{TARGET},status="error"}} 1.0' in text
    assert f"tokenhub_request_latency_seconds_count{{{TARGET}}} 4.0" in text
    assert f'tokenhub_tokens_total{{direction="input",{TARGET}}} 50.0' in text
    assert "tokenhub_hub_stall_seconds_count 2.0" in text
    assert "tokenhub_hub_worst_stall_seconds 0.03" in text
    assert "tokenhub_outbox_rows 2.0" in text
    assert 'pid="' not in text
