from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from tokenhub.domain.catalog import PROVIDER_TYPES, Provider
from tokenhub.providers.http import HttpClient
from tokenhub.providers.openai.client import OpenAIClient
from tokenhub.providers.registry import TYPES, ProviderRegistry
from tokenhub.providers.vllm.client import VllmClient

OPENAI = Provider(id="openai", type="openai", credential="sealed")
LOCAL = Provider(id="local", type="openai", base_url="http://127.0.0.1:9/v1")
FARM = Provider(id="farm", type="vllm", base_url="http://127.0.0.1:9", endpoints=("http://127.0.0.1:8",))
DEMO = Provider(id="demo", type="demo")


@pytest.fixture
def registry(http: HttpClient) -> ProviderRegistry:
    return ProviderRegistry(http)


def test_there_is_a_client_for_every_type_that_the_catalog_knows() -> None:
    assert tuple(TYPES) == PROVIDER_TYPES


def test_nothing_is_ready_before_the_first_rebuild(registry: ProviderRegistry) -> None:
    assert not registry.ready()
    with pytest.raises(KeyError):
        registry.client("openai")


def test_providers_are_ready_with_their_key_or_without_need_of_one(registry: ProviderRegistry) -> None:
    registry.rebuild([OPENAI, LOCAL, DEMO], {"openai": "sk-1"})
    assert registry.ready() == {"openai", "local", "demo"}
    assert isinstance(registry.client("openai"), OpenAIClient)
    registry.rebuild([OPENAI, LOCAL], {})
    assert registry.ready() == {"local"}


@pytest.mark.parametrize(
    ("provider", "key"),
    [
        (OPENAI, " \n"),
        (OPENAI, "sk-canary\nX: y"),
        (Provider(id="openai", type="openai", base_url="ftp://x"), ""),
        (Provider(id="openai", type="telepathy"), ""),
    ],
)
def test_one_unusable_provider_is_logged_and_spoils_no_other(
    registry: ProviderRegistry, caplog: pytest.LogCaptureFixture, provider: Provider, key: str
) -> None:
    registry.rebuild([provider, LOCAL], {"openai": key})
    assert registry.ready() == {"local"}
    (record,) = caplog.records
    assert (record.levelno, record.message, record.__dict__["provider_id"]) == (
        logging.WARNING,
        "provider_not_ready",
        "openai",
    )
    assert "canary" not in str(record.__dict__)


def test_a_client_is_kept_until_its_provider_or_key_changes(registry: ProviderRegistry) -> None:
    registry.rebuild([OPENAI, LOCAL], {"openai": "sk-1"})
    first, local = registry.client("openai"), registry.client("local")
    registry.rebuild([OPENAI, LOCAL], {"openai": "sk-1"})
    assert registry.client("openai") is first
    registry.rebuild([OPENAI, LOCAL], {"openai": "sk-2"})
    assert registry.client("openai") is not first and registry.client("local") is local


def test_a_farm_keeps_its_client_and_what_that_knows_until_its_endpoints_change(registry: ProviderRegistry) -> None:
    registry.rebuild([FARM], {})
    before = registry.client("farm")
    assert isinstance(before, VllmClient)
    registry.rebuild([FARM], {})
    assert registry.client("farm") is before
    registry.rebuild([replace(FARM, endpoints=())], {})
    assert registry.client("farm") is not before


def test_a_key_is_not_sent_by_a_provider_that_is_said_to_need_none(registry: ProviderRegistry) -> None:
    registry.rebuild([LOCAL], {"local": "sk-left-over"})
    before = registry.client("local")
    registry.rebuild([LOCAL], {})
    assert registry.client("local") is before


def test_what_was_ready_stays_as_it_was_for_those_who_hold_it(registry: ProviderRegistry) -> None:
    registry.rebuild([LOCAL], {})
    ready = registry.ready()
    registry.rebuild([DEMO], {})
    assert ready == {"local"} and registry.ready() == {"demo"}


def test_the_registry_does_not_show_keys(registry: ProviderRegistry) -> None:
    registry.rebuild([OPENAI], {"openai": "sk-canary"})
    assert "canary" not in repr(vars(registry))
