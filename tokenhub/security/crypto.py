"""Sealing texts with AES-256-GCM. Where the key comes from is not known here (`runtime/boot.py`, later the vault)."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Sealer:
    """Seals and opens texts under one key. A text opens only with the context that it was sealed with.

    A sealed text is one version byte, a random nonce of 96 bits, and the ciphertext with its tag of 128 bits.
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return "Sealer(...)"

    def seal(self, text: str, context: str) -> bytes:
        """Seal a text. `context` says what it is for, such as "provider:openai"; it is bound to it, not stored."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, text.encode(), _bound(context))

    def open(self, blob: bytes, context: str) -> str:
        """The text again. Raises ValueError where key, context or a single bit differ."""
        if len(blob) < len(_VERSION) + _NONCE_BYTES + _TAG_BYTES or blob[:1] != _VERSION:
            raise ValueError("this is not a sealed text of a known version")
        nonce, ciphertext = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, _bound(context)).decode()
        except InvalidTag:
            raise ValueError("this sealed text does not open with this key and context") from None


def _bound(context: str) -> bytes:
    return _VERSION + context.encode()
