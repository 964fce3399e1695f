from __future__ import annotations

from typing import Any

import pytest

from tokenhub.errors import ProviderFatal, ProviderTransient
from tokenhub.providers.reading import count, dump, encode, load_object, text_size


def deep(levels: int = 300) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("payload", "value", "is_exact"),
    [
        (b'{"a": 1}', {"a": 1}, True),
        (b'{"a": NaN, "b": 1}', {"a": None, "b": 1}, False),
        (b'{"a": 1e999}', {"a": None}, False),
        (b'{"a": "x\\ud83d"}', {"a": "x?"}, True),
    ],
)
def test_an_object_is_read_also_where_a_server_writes_it_oddly(payload: bytes, value: Any, is_exact: bool) -> None:
    assert load_object(payload) == (value, is_exact)


@pytest.mark.parametrize("payload", [b"", b"x", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 99_999, b"{" * (2 << 20)])
def test_anything_else_is_a_bad_response(payload: bytes) -> None:
    with pytest.raises(ProviderTransient) as caught:
        load_object(payload)
    assert caught.value.code == "bad_response"


def test_what_is_nested_too_deeply_is_the_fault_of_who_said_it() -> None:
    with pytest.raises(ProviderTransient):
        dump({"a": deep()})
    with pytest.raises(ProviderFatal) as caught:
        encode({"a": deep()})
    assert caught.value.blame == "caller"
    assert dump({"a": 1}) == encode({"a": 1}) == b'{"a":1}'


def test_a_count_is_whole_and_not_absurd() -> None:
    assert [count(value) for value in (0, 7, 10**9 - 1)] == [0, 7, 10**9 - 1]
    assert not any(count(value) for value in (-1, 10**9, 1.0, True, "7", None, [7]))


def test_the_size_of_a_text_is_in_bytes_and_of_anything_else_nothing() -> None:
    assert [text_size(value) for value in ("abc", "é€😀", "\ud83d", None, 7, ["abc"])] == [3, 9, 1, 0, 0, 0]
