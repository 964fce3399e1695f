"""API key secrets: how they are made, recognised and stored. A key has 256 random bits, so SHA-256 is enough and
fast; passwords are another matter (Argon2, in the vault)."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "tokenhub_"
SHOWN_CHARS = 4
_RANDOM_BYTES = 32
_MIN_CHARS, _MAX_CHARS = len(PREFIX) + 32, 200


def generate() -> str:
    """A new secret: `tokenhub_` and 256 random bits. To be shown once."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def key_hash(secret: str) -> bytes:
    """What is stored of a secret: its SHA-256, 32 bytes."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def credential(presented: str) -> bytes | None:
    """The hash to look a presented secret up by; None for what cannot be a key."""
    return key_hash(presented) if looks_like(presented) else None


def prefix(secret: str) -> str:
    """What a person sees of a key in a list: `tokenhub_` and four characters."""
    return secret[: len(PREFIX) + SHOWN_CHARS]


def looks_like(secret: str) -> bool:
    """Whether this could be one of our keys at all; cheap, no proof."""
    return secret.startswith(PREFIX) and _MIN_CHARS <= len(secret) <= _MAX_CHARS and secret.isascii()
