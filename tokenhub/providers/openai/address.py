"""Where a server's chat completions are, and what its address tells of how to speak to it. Pure.

| base_url | what is asked |
|---|---|
| a bare host, or a path without a version | that + /v1/chat/completions |
| a path with a version (`/v1`, `/api/v3`, `/v1beta/openai`), or one that ends in /openai | that + /chat/completions |
| Azure: `.../openai/deployments/NAME?api-version=...` | that + /chat/completions, and the query |
| Azure: a bare host, or /openai | /openai/v1/chat/completions |
| anything that ends in /chat/completions | as it is: for servers that none of this fits, such as Perplexity |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit, urlunsplit

DEFAULT_BASE_URL = "https://api.openai.com/v1"

_CHAT_PATH = "/chat/completions"
_COMPLETE = re.compile(r"/v[0-9]+[a-z0-9]*(/|$)|/openai$|/openai/deployments/[^/]+$")
"""Paths to which only the name of the call is added."""
_OPENAI_HOSTS = re.compile(r"(.+\.)?api\.openai\.com")
_AZURE_HOSTS = re.compile(r".+\.(openai\.azure\.com|cognitiveservices\.azure\.com)")
_AZURE_CURRENT = "2024-09-01"
"""The first dated version of Azure's interface that knows `max_completion_tokens` and `stream_options`."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server."""

    url: str
    """Where chat completions are asked for."""
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    is_openai: bool = False
    """Whether OpenAI's own models are behind it, in their own manner: OpenAI itself, or Azure."""
    is_dated: bool = False
    """Whether it is a version of Azure's interface that lacks what came with reasoning models."""


def address(base_url: str) -> Address:
    """What a base_url says. Raises ValueError if it is no http(s) URL."""
    parts = urlsplit(base_url.strip() or DEFAULT_BASE_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must be an http:// or https:// URL")
    is_azure = _AZURE_HOSTS.fullmatch(parts.hostname) is not None
    path = parts.path.rstrip("/")
    if is_azure and path in ("", "/openai"):
        path = "/openai/v1"
    if not path.endswith(_CHAT_PATH):
        path += _CHAT_PATH if _COMPLETE.search(path) else f"/v1{_CHAT_PATH}"
    url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    if is_azure:
        return Address(url, "api-key", "", is_openai=True, is_dated=_is_dated(parts))
    return Address(url, is_openai=_OPENAI_HOSTS.fullmatch(parts.hostname) is not None)


def _is_dated(parts: SplitResult) -> bool:
    version = parse_qs(parts.query).get("api-version", [""])[0]
    return version[:4].isdigit() and version < _AZURE_CURRENT
