"""The upstream and the gateway, one of each a session, and a factory for gateways that need settings of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from openai import OpenAI

from tests.e2e.harness import Gateway, Key
from tests.factories import INPUT_PER_1K, JsonObject, model_entry, provider_entry
from tests.faults.crew import Crew
from tests.upstream.process import UpstreamProcess

SCRIPTED = """
    ok-3 ok-40 ok+named empty json echo tools tools-parallel cached slow-20-10 slow-100 slow-150-4 slow-20-2000
    hang hang-stream cut cut-headers eof no-done flaky
    status-400 status-400-context_length_exceeded status-401 status-403 status-404 status-429
    status-429-insufficient_quota status-500 status-502 status-503
    error-in-200 error-in-stream redirect html badjson badutf8 gzip
    no-usage usage-zero usage-negative usage-huge usage-string usage-nan usage-list usage-growing usage-twice
    usage-on-finish splitutf8 crlf tiny many multiline comments
""".split()
PROTOCOLS = ("openai", "anthropic", "vllm")
"""The provider types that speak to somebody."""
SCRIPTED_IN_ALL = """
    ok ok-40 empty json cached filtered stop stop-named tools tools-parallel thinking thinking-sealed thinking-tools
    splitutf8 usage-growing usage-zero no-usage crlf comments many tiny slow-20-2000 hang hang-stream
    cut eof error-in-stream error-in-200 badjson
    status-400 status-400-context_length_exceeded status-400-vllm_context_length status-401 status-429 status-500
    status-529
""".split()
TIERED = "cached+anthropic+tiered"
"""A model whose cached input has prices of its own: 100 nano-dollars a token read, 1,250 a token written."""
EDGE, EDGE_OUTPUT_PER_1K, EDGE_TOKENS = "slow-100-8+edge", 0.01, 8
"""A model whose answer, capped at EDGE_TOKENS, costs exactly what is reserved for it: input is free."""
GatewayFactory = Callable[..., Gateway]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is end to end."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


def catalogue(upstream: UpstreamProcess) -> JsonObject:
    """Two providers (base URLs without and with /v1). Whatever is routed goes to `ok`, then to `ok+spare` of the other
    provider; every other model must be named."""
    cheap: JsonObject = {"input_per_1k": 0.0005, "output_per_1k": 0.001}
    return {
        "providers": [provider_entry("alpha", upstream.url), provider_entry("beta", f"{upstream.url}/v1")],
        "models": [
            model_entry("ok", weight=100, **cheap),
            model_entry("ok+spare", "beta", weight=95, **cheap),
            model_entry("meta-llama/Llama-3", "beta"),
            model_entry(EDGE, input_per_1k=0, output_per_1k=EDGE_OUTPUT_PER_1K),
            *(model_entry(name) for name in SCRIPTED),
        ],
    }


@pytest.fixture(scope="session")
def upstream() -> Iterator[UpstreamProcess]:
    """The scripted upstream."""
    with UpstreamProcess() as running:
        yield running
        assert running.is_alive
        assert running.books()["crashes"] == []


@pytest.fixture(scope="session")
def running_gateway(upstream: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway of the session."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), catalogue(upstream))
    pids = gateway.worker_pids()
    yield gateway
    assert gateway.worker_pids() == pids, "a worker died"
    gateway.stop()
    gateway.fail_on_new_tracebacks()


@pytest.fixture
def gateway(running_gateway: Gateway) -> Iterator[Gateway]:
    """The gateway of the session; a traceback in its log fails the test that caused it."""
    yield running_gateway
    running_gateway.fail_on_new_tracebacks()


@pytest.fixture(scope="session")
def running_trio(upstream: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with one provider of each type, and short deadlines. A model is named by its script and, after a plus,
    its provider (with "elsewhere" a second one of type anthropic); nothing else answers for a model that fails."""
    cached: JsonObject = {"cache_read_per_1k": INPUT_PER_1K, "cache_write_per_1k": INPUT_PER_1K}
    gateway = Gateway(
        tmp_path_factory.mktemp("trio"),
        {
            "providers": [
                *(provider_entry(kind, upstream.url, type=kind) for kind in PROTOCOLS),
                provider_entry("elsewhere", upstream.url, type="anthropic"),
            ],
            "models": [
                model_entry(f"{script}+{provider}", provider, **cached)
                for script in SCRIPTED_IN_ALL
                for provider in (*PROTOCOLS, "elsewhere")
            ]
            + [model_entry(TIERED, "anthropic", cache_read_per_1k=0.0001, cache_write_per_1k=0.00125)],
        },
        {"TOKENHUB_DEFAULT_FALLBACK": "none", "TOKENHUB_PROVIDER_TIMEOUT_SECS": "1"},
    )
    yield gateway
    gateway.stop()
    gateway.fail_on_new_tracebacks()


@pytest.fixture
def trio(running_trio: Gateway) -> Iterator[Gateway]:
    """The gateway of all protocols; a traceback in its log fails the test that caused it."""
    yield running_trio
    running_trio.fail_on_new_tracebacks()


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[GatewayFactory]:
    """Start further gateways, with other settings or credentials; they are stopped at the end of the test."""
    started: list[Gateway] = []

    def start(credentials: JsonObject | None, env: Mapping[str, str] | None = None) -> Gateway:
        folder = tmp_path / f"gateway{len(started)}"
        folder.mkdir()
        started.append(Gateway(folder, credentials, env))
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()
        gateway.fail_on_new_tracebacks()


@pytest.fixture
def key(gateway: Gateway) -> Key:
    """A fresh API key with all scopes and no budget."""
    return gateway.new_key(scopes=["chat", "plan", "embeddings"])


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    """The OpenAI SDK with the first key, without retries of its own."""
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.first_key, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    """The fault rows of a file (its ROWS), begun when the first is asked for."""
    made = Crew(request.module.ROWS)
    yield made
    made.close()
