"""The Prometheus metrics, and `GET /metrics`. Totals come from receipts, so they say what the request log says.

Names use base units (seconds, dollars, tokens). Every label value is from a closed set: models and providers of the
catalog, error codes of `errors.py`, "other" for the rest; "" where a request reached no target.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from tokenhub.domain.catalog import Catalog
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.money import NANO_PER_USD
from tokenhub.domain.ports import Offload, here
from tokenhub.errors import RateLimited, TokenHubError, Unavailable

if TYPE_CHECKING:
    from prometheus_flask_exporter import PrometheusMetrics

LATENCY_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
TTFT_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
STALL_BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
STALL_FLOOR_S = 0.005
"""A hub that is late by less does ordinary work; it is not counted as a stall."""
WORST_STALL_WINDOW_S = 60.0
OTHER = "other"
_Sums = dict[tuple[Any, tuple[str, ...]], float]
"""(counter, label values) -> how much to add."""


def error_codes(kind: type[TokenHubError] = TokenHubError) -> set[str]:
    """Every code of the exception tree: what an error label can be."""
    return {kind.default_code}.union(*(error_codes(leaf) for leaf in kind.__subclasses__()))


class Metrics:
    """The collectors of one process. `catalog` gives the catalog of the moment.

    `multiprocess`: whether PROMETHEUS_MULTIPROC_DIR is set, so that any worker tells the sum over all.
    prometheus_client looks at that variable once, when it is imported, and `gunicorn.conf.py` sets it first: hence
    the imports in here, not above.
    """

    def __init__(
        self, catalog: Callable[[], Catalog], *, multiprocess: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._catalog = catalog
        self._clock = clock
        self._codes = error_codes()
        # Not the process-wide registry: an app that is built twice would register everything twice.
        own = CollectorRegistry()
        self._exporter = _exporter(own, multiprocess=multiprocess)
        target = ("model", "provider")
        self._requests = Counter(
            "tokenhub_requests", "Requests by outcome: ok, error or cancelled.", (*target, "status"), registry=own
        )
        self._errors = Counter("tokenhub_request_errors", "Failed requests by code.", (*target, "code"), registry=own)
        self._tokens = Counter("tokenhub_tokens", "Tokens, input and output.", (*target, "direction"), registry=own)
        self._cost = Counter("tokenhub_cost_usd", "What answers cost, in dollars.", target, registry=own)
        self._latency = Histogram(
            "tokenhub_request_latency_seconds",
            "From request to end of a good answer.",
            target,
            registry=own,
            buckets=LATENCY_BUCKETS_S,
        )
        self._ttft = Histogram(
            "tokenhub_time_to_first_token_seconds",
            "From request to first content of a stream.",
            target,
            registry=own,
            buckets=TTFT_BUCKETS_S,
        )
        self._rate_limited = Counter("tokenhub_rate_limited", "Requests refused by a rate limit.", registry=own)
        self._unavailable = Counter(
            "tokenhub_unavailable", "Requests refused because something they need was down.", registry=own
        )
        self._dropped = Counter("tokenhub_log_lines_dropped", "Log lines that nobody took.", registry=own)
        self._outbox = Gauge(
            "tokenhub_outbox_rows",
            "Receipts in the drainer's last batch; a full batch (250) means that more are waiting.",
            registry=own,
            multiprocess_mode="livemostrecent",
        )
        self._stall = Histogram(
            "tokenhub_hub_stall_seconds",
            "How long a worker stood still; only stalls of 5 ms and more.",
            registry=own,
            buckets=STALL_BUCKETS_S,
        )
        self._worst_stall = Gauge(
            "tokenhub_hub_worst_stall_seconds",
            "Longest stall of any worker in its last minute.",
            registry=own,
            multiprocess_mode="livemax",
        )
        self._worst_s, self._worst_since = 0.0, clock()

    def mount(self, app: Flask, offload: Offload = here) -> None:
        """Serve `GET /metrics`. `offload` runs the reading of all workers' files off the hub."""

        def metrics() -> Response:
            # Not the exporter's own route: that one fails on `?name[]=` in multiprocess mode.
            accept = request.headers.get("Accept")
            text, content_type = offload(lambda: self._exporter.generate_metrics(accept))
            return Response(text, content_type=content_type)

        app.add_url_rule("/metrics", "metrics", metrics)

    def observe(self, receipts: Sequence[JsonObject]) -> None:
        """Count settled receipts."""
        catalog = self._catalog()
        sums: _Sums = defaultdict(int)
        for receipt in receipts:
            self._observe(receipt, catalog, sums)
        # Once a batch, not once a receipt: to raise a counter that workers share costs several microseconds.
        for (counter, labels), amount in sums.items():
            counter.labels(*labels).inc(amount)

    def _observe(self, receipt: JsonObject, catalog: Catalog, sums: _Sums) -> None:
        model, provider, status = receipt["model"], receipt["provider"], receipt["status"]
        target = (
            model if not model or model in catalog.models else OTHER,
            provider if not provider or provider in catalog.providers else OTHER,
        )
        sums[self._requests, (*target, status)] += 1
        if status != "ok":
            code = receipt["error_code"]
            sums[self._errors, (*target, code if code in self._codes else OTHER)] += 1
        usage = receipt["usage"]
        if usage["input_tokens"] or usage["output_tokens"]:
            sums[self._tokens, (*target, "input")] += usage["input_tokens"]
            sums[self._tokens, (*target, "output")] += usage["output_tokens"]
        if receipt["cost_nanousd"]:
            sums[self._cost, target] += receipt["cost_nanousd"] / NANO_PER_USD
        if status == "ok":
            self._latency.labels(*target).observe(receipt["latency_ms"] / 1000)
        if receipt["stream"] and receipt["ttft_ms"] is not None:
            self._ttft.labels(*target).observe(receipt["ttft_ms"] / 1000)

    def drained(self, rows: int) -> None:
        """Tell how many receipts the drainer moved at once."""
        self._outbox.set(rows)

    def told(self, error: TokenHubError) -> None:
        """Count what a caller was told, where no receipt says it: a rate limit, a state that could not serve."""
        if isinstance(error, RateLimited):
            self._rate_limited.inc()
        elif isinstance(error, Unavailable):
            self._unavailable.inc()

    def line_dropped(self) -> None:
        """Count a log line that could not be written."""
        self._dropped.inc()

    def hub_late(self, late_s: float) -> None:
        """Tell how late the watchdog woke: every time, so that an old stall is forgotten after a minute."""
        if late_s >= STALL_FLOOR_S:
            self._stall.observe(late_s)
        now = self._clock()
        if late_s > self._worst_s or now - self._worst_since > WORST_STALL_WINDOW_S:
            self._worst_s, self._worst_since = late_s, now
            self._worst_stall.set(late_s)


def _exporter(registry: object, *, multiprocess: bool) -> PrometheusMetrics:
    """The exporter, without its metrics per path: they cost every request and a series for each path tried."""
    from prometheus_flask_exporter import PrometheusMetrics
    from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

    if multiprocess:
        return GunicornInternalPrometheusMetrics(app=None, path=None, export_defaults=False)
    return PrometheusMetrics(app=None, path=None, export_defaults=False, registry=registry)
