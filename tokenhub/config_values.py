"""How the texts of settings are read: each function takes a text and gives a value, or raises ValueError whose text
(if any) says what is wrong. Pure but for paths. Which setting uses which is in `config_table.py`..
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tokenhub.errors import ConfigurationError

Network = IPv4Network | IPv6Network
LOG_LEVELS = ("debug", "info", "warn", "error")
MAX_ENV_FILE_BYTES = 1 << 20

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]*)):(?P<port>[0-9]{1,5})", re.ASCII)
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?", re.ASCII)
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.ASCII)


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return read


def integer(low: int, high: int) -> Callable[[str], int]:
    """A plain decimal integer within bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 12 or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return read


def seconds(text: str) -> float:
    """A time, from a tenth of a second to a day."""
    if not _NUMBER.fullmatch(text) or not 0.1 <= float(text) <= 86_400:
        raise ValueError
    return float(text)


def boolean(text: str) -> bool:
    """true or false (also 1, 0, yes, no, on, off)."""
    word = text.lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError


def checked(knob: Callable[[Any], Any]) -> Callable[[str], str]:
    """A policy value that stays text: `knob` reads (and here only checks) it, `merge` reads it again."""

    def read(text: str) -> str:
        knob(text)
        return text

    return read


def listen_address(text: str) -> tuple[str, int]:
    """Host and port to bind; no host means all IPv4 interfaces."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        raise ValueError
    if match["v6"] is not None:
        return str(IPv6Address(match["v6"])), int(match["port"])
    return match["host"] or "0.0.0.0", int(match["port"])  # noqa: S104 - the documented default


def absolute_path(text: str) -> Path:
    """A path with ~ filled in, independent of the working folder."""
    if "\0" in text:
        raise ValueError
    return Path(text).expanduser().absolute()


def database_url(text: str) -> str:
    """A path or SQLAlchemy URL as an SQLAlchemy URL."""
    return f"sqlite:///{_sqlite_path(text, path_allowed=True)}"


def state_path(text: str) -> Path:
    """The file of an sqlite:/// URL."""
    return _sqlite_path(text, path_allowed=False)


def _sqlite_path(text: str, *, path_allowed: bool) -> Path:
    """The file that a URL (or a path) names. Memory is refused: workers are processes and would each have their own."""
    scheme, is_url, rest = text.partition("://")
    if not is_url and not (path_allowed and ":" not in text.split("/")[0]):
        raise ValueError
    if is_url and scheme.startswith("postgres"):
        raise ValueError("PostgreSQL is not available yet")
    if is_url and (scheme not in ("sqlite", "sqlite+pysqlite") or not rest.startswith("/")):
        raise ValueError
    path = rest[1:] if is_url else text
    if not path or ":memory:" in path or "?" in path:
        raise ValueError
    return absolute_path(path)


def visible_ascii(text: str) -> str:
    """A secret that fits into a header."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError
    return text


def origins(text: str) -> tuple[str, ...]:
    """("*",) for all, () for none, else the origins."""
    if text in ("*", "none"):
        return ("*",) if text == "*" else ()
    found = _listed(text)
    if not all(_ORIGIN.fullmatch(origin) and urlsplit(origin).hostname for origin in found):
        raise ValueError
    return found


def networks(text: str) -> tuple[Network, ...]:
    """Addresses (as networks of one) and networks."""
    return tuple(ip_network(item) for item in _listed(text))


def _listed(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def env_file(path: Path) -> dict[str, str]:
    """NAME=VALUE lines; blank ones and # comments are skipped, quotes around a value are taken off.

    Raises ConfigurationError naming the file and the line, never a value.
    """
    name = "TOKENHUB_ENV_FILE"
    try:
        with path.open("rb") as file:
            lines = file.read(MAX_ENV_FILE_BYTES).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(name, f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(name, f"{path} cannot be read: {error.strerror}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise ConfigurationError(name, f"{path} line {number} is not NAME=VALUE")
        found[match[1]] = _unquoted(match[2])
    return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
