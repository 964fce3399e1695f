"""What administrators may write: each rule takes one value as it came and gives it clean, or raises ValueError.

The messages teach what is accepted; they are shown beside the field. JSON, CLI, forms and the credentials file all
pass through here, so types are checked too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tokenhub.domain.keys import SCOPES
from tokenhub.domain.money import NANO_PER_USD, nanousd
from tokenhub.errors import InvalidRequest

Rule = Callable[[Any], Any]

MAX_NAME = 128
MAX_URL = 2048
MAX_ENDPOINTS = 32
MAX_SECRET = 8192
MAX_ALLOWED_MODELS = 1000
MAX_PER_1K_USD = 1000
MAX_EXPIRY_MS = 100 * 366 * 86_400_000
UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"([0-9.]+)(ms|[smhd])", re.ASCII)
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_API_VERSION = re.compile(r"api-version=[A-Za-z0-9._-]{1,64}", re.ASCII)
_SECRET = re.compile(r"[!-~]+", re.ASCII)
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str = "") -> dict[str, Any]:
    """All values, clean. Raises InvalidRequest with a message for each bad or unknown field, at `where` + its name."""
    clean: dict[str, Any] = {}
    problems: dict[str, Sequence[str]] = {}
    for name, value in values.items():
        if name not in rules:
            problems[where + name] = ["unknown field"]
            continue
        try:
            clean[name] = rules[name](value)
        except ValueError as error:
            problems[where + name] = [str(error)]
        except InvalidRequest as error:
            problems |= {f"{where}{name}.{inner}": messages for inner, messages in (error.fields or {}).items()}
    if problems:
        raise invalid(problems)
    return clean


def invalid(problems: Mapping[str, Sequence[str]]) -> InvalidRequest:
    """The error that names each bad field with what is wrong."""
    told = "; ".join(f"{path}: {messages[0]}" for path, messages in problems.items())
    return InvalidRequest(told[:1000], code="validation_failed", fields=dict(problems))


# ---------------------------------------------------------------- text


def label(value: Any) -> str:
    """A name for people: NFC, trimmed, 1 to 128 characters, none of which can deceive a reader."""
    text = unicodedata.normalize("NFC", _string(value)).strip()
    if not 1 <= len(text) <= MAX_NAME:
        raise ValueError(f"must have 1 to {MAX_NAME} characters")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _BIDI_OVERRIDES for c in text):
        raise ValueError("must not contain control characters")
    return text


def identifier(value: Any) -> str:
    """The id of a provider or model; slashes are allowed inside, as in `meta-llama/Llama-3`."""
    if not isinstance(value, str) or value != value.strip():
        raise ValueError("must be a string without white space around it")
    text = label(value)
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("must not start or end with a slash, nor contain '//', '/./' or '/../'")
    return text


def optional_label(value: Any) -> str:
    """As `label`; null and "" are the empty text."""
    return "" if value in (None, "") else label(value)


def one_of(*choices: str) -> Rule:
    """A rule that takes one of these texts."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"must be one of: {', '.join(choices)}")
        return value

    return rule


def base_url(value: Any) -> str:
    """Where a provider is, without a slash at its end; Azure's `?api-version=...` may follow. "" for none."""
    text = _string(value)
    if not text:
        return ""
    text, question, query = text.partition("?")
    if question and not _API_VERSION.fullmatch(query):
        raise ValueError("must not contain a query other than ?api-version=...; keys go into api_key")
    return plain_url(text) + question + query


def plain_urls(value: Any) -> tuple[str, ...]:
    """URLs of further servers, none of them twice; null is none."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_ENDPOINTS:
        raise ValueError(f"must be an array of at most {MAX_ENDPOINTS} URLs")
    urls = tuple(plain_url(url) for url in value)
    if len(set(urls)) < len(urls):
        raise ValueError("must not contain the same URL twice")
    return urls


def plain_url(value: Any) -> str:
    """A URL without user information, query and fragment, and without a slash at its end."""
    text = _string(value)
    if len(text) > MAX_URL or not _SECRET.fullmatch(text) or "\\" in text:
        raise ValueError(f"must be a URL of at most {MAX_URL} printable ASCII characters")
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError("must be a URL such as https://api.example.com/v1")
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise ValueError("must not contain user information, a query or a fragment; keys go into api_key")
    return text.rstrip("/")


def secret(value: Any) -> str:
    """A provider's key; "" where there is none. The message never repeats it."""
    text = _string(value)
    if text and (len(text) > MAX_SECRET or not _SECRET.fullmatch(text)):
        raise ValueError(f"must have at most {MAX_SECRET} printable ASCII characters and no white space")
    return text


# ---------------------------------------------------------------- numbers


def flag(value: Any) -> bool:
    """true or false, and nothing that looks like it."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def whole(low: int, high: int) -> Rule:
    """A rule that takes integers from low to high."""

    def rule(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return rule


def optional(rule: Rule) -> Rule:
    """The same rule, and null."""
    return lambda value: None if value is None else rule(value)


def budget(value: Any) -> int | None:
    """USD, as nano-dollars; 0 and null are no budget."""
    return (_amount(value) or None) if value is not None else None


def price_per_1k(value: Any) -> int | None:
    """USD per 1,000 tokens, as nano-dollars per 1,000 tokens; null is not known."""
    if value is None:
        return None
    amount = _amount(value)
    if amount > MAX_PER_1K_USD * NANO_PER_USD:
        raise ValueError(f"must be at most {MAX_PER_1K_USD} USD per 1,000 tokens")
    return amount


def _amount(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of USD, or null")
    try:
        return nanousd(value)
    except ValueError as error:
        raise ValueError("must be a number of USD, 0 or more") from error


# ---------------------------------------------------------------- arrays, and what keys have


def array(value: Any) -> list[Any]:
    """A list of whatever."""
    if not isinstance(value, list):
        raise ValueError("must be an array")
    return value


def scopes(value: Any) -> tuple[str, ...]:
    """Scopes as an array, or as the JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, list) or not value or not all(isinstance(scope, str) for scope in value):
        raise ValueError('must be an array of scopes such as ["chat"]')
    if not set(value) <= set(SCOPES):
        raise ValueError(f"scopes are: {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in value)


def model_ids(value: Any) -> tuple[str, ...]:
    """Ids of models, without repetition; empty and null are all models."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_ALLOWED_MODELS:
        raise ValueError(f"must be an array of at most {MAX_ALLOWED_MODELS} model ids")
    return tuple(dict.fromkeys(identifier(model_id) for model_id in value))


def duration_ms(value: Any) -> int | None:
    """A duration in Go's form ("720h", "1h30m") or in days ("30d"), in milliseconds; null and "" are never."""
    if value in (None, ""):
        return None
    text = _string(value)
    if not _DURATION.fullmatch(text):
        raise ValueError('must be a duration such as "720h", "90m" or "30d"')
    parts = _DURATION_PART.findall(text)
    total_ms = int(sum(float(number) * UNIT_MS[unit] for number, unit in parts))
    if not 0 < total_ms <= MAX_EXPIRY_MS:
        raise ValueError("must be longer than 0 and at most 100 years")
    return total_ms


def instant_ms(value: Any) -> int | None:
    """A point in time (RFC 3339, with its offset), in Unix milliseconds; null and "" are never."""
    if value in (None, ""):
        return None
    text = _string(value)
    try:
        if not _RFC_3339.fullmatch(text):
            raise ValueError
        return int(datetime.fromisoformat(text.upper()).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise ValueError("must be a time such as 2030-01-31T12:00:00Z") from error


def mapping(inner: Mapping[str, Rule]) -> Rule:
    """A rule that takes an object whose fields pass these rules, and gives it as it came; null is empty."""

    def rule(value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValueError("must be an object")
        check(value, inner)
        return value

    return rule


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value
