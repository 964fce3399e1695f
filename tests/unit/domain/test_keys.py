"""What a key may use."""

from __future__ import annotations

from dataclasses import replace

from tokenhub.domain.keys import ApiKey, Caller

KEY = ApiKey("key_1", "k", "tokenhub_abcd", ("chat",), 1, True, 0)


def test_a_key_without_a_list_may_use_every_model() -> None:
    assert KEY.allows("anything")


def test_a_key_with_a_list_may_use_only_what_is_in_it() -> None:
    listed = replace(KEY, allowed_models=("a",))
    assert listed.allows("a") and not listed.allows("b")


def test_a_callers_credential_is_not_shown() -> None:
    assert "SECRET" not in repr(Caller(KEY, "127.0.0.1", b"SECRET"))
