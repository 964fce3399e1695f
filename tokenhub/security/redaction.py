"""Keeping secrets out of texts that are logged or shown. A safety net: nothing should put a secret there at all."""

from __future__ import annotations

import re

MASK = "[redacted]"

_HEADER = re.compile(
    r"""(?i)\b((?:x-api-key|api[-_]?key|(?:proxy-)?authorization|x-goog-api-key|admin[-_]token)["']?\s*[:=]\s*["']?)"""
    r"""((?:bearer|basic)\s+)?[^\s"',;&}]+"""
)
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s\"',;&}]+")
_KEY = re.compile(r"\b(sk-|sk_|gsk_|xai-|nvapi-|AIza|ghp_|hf_)[A-Za-z0-9_\-]{8,}")
_OURS = re.compile(r"\b(tokenhub_)(?=[a-z_]*[A-Z0-9\-])[A-Za-z0-9_\-]{12,}")
"""Names of metrics begin like this too, but are all in lower case."""
_IN_URL = re.compile(r"(?i)(https?://)[^/\s@]+@")


def redact(text: str) -> str:
    """The text with everything masked that looks like a key, a bearer token, or a password in a URL. Keys keep the
    prefix that says whose they are."""
    text = _HEADER.sub(lambda match: f"{match[1]}{match[2] or ''}{MASK}", text)
    text = _BEARER.sub(rf"\1{MASK}", text)
    text = _KEY.sub(rf"\1{MASK}", text)
    text = _OURS.sub(rf"\1{MASK}", text)
    return _IN_URL.sub(rf"\1{MASK}@", text)
