from __future__ import annotations

import traceback

import pytest

from tokenhub.security.crypto import KEY_BYTES, Sealer

SECRET = "sk-öffentlich-nicht"


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(bytes(range(KEY_BYTES)))


@pytest.mark.parametrize("text", ["", "a", SECRET, "x" * 100_000])
def test_what_is_sealed_opens_with_key_and_context(sealer: Sealer, text: str) -> None:
    assert sealer.open(sealer.seal(text, "provider:a"), "provider:a") == text
    assert Sealer(bytes(range(KEY_BYTES))).open(sealer.seal(text, "c"), "c") == text


def test_the_same_text_is_sealed_differently_each_time(sealer: Sealer) -> None:
    assert len({sealer.seal("same", "c") for _ in range(100)}) == 100


def test_a_sealed_text_contains_neither_the_text_nor_the_context(sealer: Sealer) -> None:
    blob = sealer.seal(SECRET, "provider:a")
    assert SECRET.encode() not in blob
    assert b"provider:a" not in blob


def test_another_context_or_key_opens_nothing(sealer: Sealer) -> None:
    blob = sealer.seal(SECRET, "provider:a")
    with pytest.raises(ValueError, match="does not open"):
        sealer.open(blob, "provider:b")
    with pytest.raises(ValueError, match="does not open"):
        Sealer(b"k" * KEY_BYTES).open(blob, "provider:a")


def test_every_changed_byte_is_noticed(sealer: Sealer) -> None:
    blob = sealer.seal("secret", "c")
    for index in range(len(blob)):
        changed = bytearray(blob)
        changed[index] ^= 1
        with pytest.raises(ValueError):
            sealer.open(bytes(changed), "c")


@pytest.mark.parametrize("length", [0, 1, 12, 28])
def test_a_cut_text_is_refused(sealer: Sealer, length: int) -> None:
    with pytest.raises(ValueError):
        sealer.open(sealer.seal("secret", "c")[:length], "c")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_only_keys_of_32_bytes_are_taken(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        Sealer(b"k" * length)


def test_the_key_is_in_no_repr_and_in_no_error() -> None:
    key = b"0123456789abcdef0123456789abcdef"
    sealer = Sealer(key)
    assert "0123" not in repr(sealer)
    try:
        sealer.open(b"\x01" * 40, "c")
    except ValueError as error:
        assert "0123" not in "".join(traceback.format_exception(error))
