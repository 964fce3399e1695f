"""A worker's provider clients: built from the catalog and the opened keys, swapped as a whole.

Which provider is asked is decided elsewhere; that there is a way to ask it is known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType

from tokenhub.domain.catalog import Provider
from tokenhub.domain.ports import ProviderClient
from tokenhub.providers.anthropic.client import AnthropicClient
from tokenhub.providers.demo.client import DemoClient
from tokenhub.providers.http import HttpClient
from tokenhub.providers.openai.client import OpenAIClient
from tokenhub.providers.vllm.client import VllmClient

log = logging.getLogger(__name__)

TYPES: Mapping[str, Callable[[Provider, str, HttpClient], ProviderClient]] = MappingProxyType(
    {
        "openai": OpenAIClient,
        "anthropic": AnthropicClient,
        "vllm": VllmClient,
        "demo": lambda provider, api_key, http: DemoClient(),
    }
)
"""Provider type -> how its client is made from the provider, its key ("" where it needs none) and the HTTP client."""


@dataclass(frozen=True, slots=True, repr=False)
class _Entry:
    provider: Provider
    key: str
    client: ProviderClient


class ProviderRegistry:
    """Implements `ports.Providers`. Reading never waits for a rebuild."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._entries: Mapping[str, _Entry] = MappingProxyType({})

    def rebuild(self, providers: Iterable[Provider], keys: Mapping[str, str]) -> None:
        """Replace all clients; one whose provider and key are the same as before is kept. `keys`: opened keys by
        provider id. A provider that cannot be used is left out (not ready), and said so in the log."""
        before = self._entries
        entries = {}
        for provider in providers:
            try:
                entries[provider.id] = _entry(provider, keys, before.get(provider.id), self._http)
            except ValueError as error:
                log.warning("provider_not_ready", extra={"provider_id": provider.id, "why": str(error)})
        self._entries = MappingProxyType(entries)

    def ready(self) -> Set[str]:
        """Ids of providers that can be called."""
        return self._entries.keys()

    def client(self, provider_id: str) -> ProviderClient:
        """The client of a ready provider; KeyError otherwise."""
        return self._entries[provider_id].client


def _entry(provider: Provider, keys: Mapping[str, str], before: _Entry | None, http: HttpClient) -> _Entry:
    """The client of one provider; ValueError says why there can be none."""
    key = keys.get(provider.id, "") if provider.credential != "none" else ""
    if before is not None and before.provider == provider and before.key == key:
        return before
    if provider.credential != "none" and not key.strip():
        raise ValueError("its key is not there or could not be opened")
    if provider.type not in TYPES:
        raise ValueError(f"type {provider.type!r} is not known")
    return _Entry(provider, key, TYPES[provider.type](provider, key, http))
