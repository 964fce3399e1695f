from __future__ import annotations

import hashlib

import pytest

from tokenhub.security import api_keys


def test_a_generated_key_has_the_prefix_and_256_random_bits() -> None:
    keys = {api_keys.generate() for _ in range(1000)}
    assert len(keys) == 1000
    for key in keys:
        assert key.startswith("tokenhub_")
        assert len(key) == len("tokenhub_") + 43
        assert api_keys.looks_like(key)


def test_what_is_stored_is_the_sha256() -> None:
    key = api_keys.generate()
    assert api_keys.key_hash(key) == hashlib.sha256(key.encode()).digest()
    assert api_keys.credential(key) == api_keys.key_hash(key)


def test_what_is_shown_is_four_characters_after_the_prefix() -> None:
    assert api_keys.prefix("tokenhub_abcdefgh") == "tokenhub_abcd"


@pytest.mark.parametrize(
    "text",
    ["", "tokenhub_", "sk-1234567890123456789012345678901234567890", "tokenhub_" + "é" * 43, "tokenhub_" + "a" * 500],
)
def test_what_cannot_be_a_key_is_not_looked_up(text: str) -> None:
    assert not api_keys.looks_like(text)
    assert api_keys.credential(text) is None


def test_a_lone_surrogate_can_be_hashed() -> None:
    assert len(api_keys.key_hash("tokenhub_\ud800")) == 32
