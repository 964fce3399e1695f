"""Ids that the server makes. They sort by their time, so an index over a million of them grows at its end."""

from __future__ import annotations


def ordered_id(prefix: str, unix_ms: int, random: bytes) -> str:
    """`prefix` with the time and the randomness in hex."""
    return f"{prefix}{unix_ms:012x}{random.hex()}"
