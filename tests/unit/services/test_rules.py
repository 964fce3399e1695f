from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.errors import InvalidRequest
from tokenhub.services import rules

HOUR_MS = 3_600_000

GOOD = [
    (rules.label, "  Jürgen's key ", "Jürgen's key"),
    (rules.label, "e\u0301", "\u00e9"),
    (rules.label, "מפתח", "מפתח"),
    (rules.label, "x" * 128, "x" * 128),
    (rules.label, "=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
    (rules.identifier, "meta-llama/Llama-3", "meta-llama/Llama-3"),
    (rules.identifier, "my model", "my model"),
    (rules.optional_label, None, ""),
    (rules.optional_label, "", ""),
    (rules.base_url, "", ""),
    (rules.base_url, "https://api.example.com/v1/", "https://api.example.com/v1"),
    (rules.base_url, "http://[::1]:8000", "http://[::1]:8000"),
    (
        rules.base_url,
        "https://a.openai.azure.com/openai/v1/?api-version=2024-10-21",
        "https://a.openai.azure.com/openai/v1?api-version=2024-10-21",
    ),
    (rules.plain_urls, None, ()),
    (rules.plain_urls, [], ()),
    (rules.plain_urls, ["http://b:8000/", "http://c:8000"], ("http://b:8000", "http://c:8000")),
    (rules.secret, "sk-abc", "sk-abc"),
    (rules.secret, "", ""),
    (rules.flag, False, False),
    (rules.whole(0, 100), 100, 100),
    (rules.optional(rules.whole(0, 100)), None, None),
    (rules.budget, 12.34, 12_340_000_000),
    (rules.budget, 0, None),
    (rules.budget, 0.0, None),
    (rules.budget, None, None),
    (rules.price_per_1k, 0.00015, 150_000),
    (rules.price_per_1k, 0, 0),
    (rules.price_per_1k, None, None),
    (rules.price_per_1k, 1e-9, 1),
    (rules.scopes, ["plan", "chat", "chat"], ("chat", "plan")),
    (rules.scopes, '["chat"]', ("chat",)),
    (rules.model_ids, None, ()),
    (rules.model_ids, ["a", "b/c", "a"], ("a", "b/c")),
    (rules.duration_ms, "720h", 720 * HOUR_MS),
    (rules.duration_ms, "90m", 90 * 60_000),
    (rules.duration_ms, "1h30m", 90 * 60_000),
    (rules.duration_ms, "1.5h", 90 * 60_000),
    (rules.duration_ms, "30d", 30 * 24 * HOUR_MS),
    (rules.duration_ms, "500ms", 500),
    (rules.duration_ms, "", None),
    (rules.duration_ms, None, None),
    (rules.instant_ms, "2030-01-01T00:00:00Z", 1_893_456_000_000),
    (rules.instant_ms, "2030-01-01T01:00:00.5+01:00", 1_893_456_000_500),
    (rules.instant_ms, None, None),
    (rules.array, [1], [1]),
]

BAD = [
    *(
        (rules.label, value)
        for value in (None, 1, "", "   ", "x" * 129, "a\nb", "a\0b", "\ud800", "a\u202eb", "a\u2028b")
    ),
    *((rules.identifier, value) for value in (7, "", " a", "a ", "/a", "a/", "a//b", "../a", "a/./b", ".", "a\tb")),
    *((rules.optional_label, value) for value in (1, " ", "a\nb")),
    (rules.one_of("a", "b"), "c"),
    *(
        (rules.plain_urls, value)
        for value in (
            "http://b",
            {},
            [""],
            [None],
            ["nowhere"],
            ["http://b?api-version=1"],
            ["http://b", "http://b/"],
            [f"http://b{number}" for number in range(33)],
        )
    ),
    (rules.one_of("a", "b"), ["a"]),
    *(
        (rules.base_url, value)
        for value in (
            None,
            "api.example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://",
            "https://user:pw@example.com",
            "https://@example.com",
            "https://example.com?x=1",
            "https://example.com?api-version=",
            "https://example.com?api-version=1&key=sk",
            "https://example.com?api-version=1?api-version=1",
            "https://example.com?api-version=1#f",
            "https://example.com?api-version=a%20b",
            "?api-version=1",
            "https://example.com/?",
            "https://example.com/#f",
            "https://exa mple.com",
            "https://example.com\\@evil.com",
            "https://example.com:99999",
            "https://example.com:0",
            "https://[::1",
            "https://example.com/\r\nX: y",
            "https://ex\u00e4mple.com",
            "https://e.com/" + "x" * 2048,
        )
    ),
    *((rules.secret, value) for value in (None, 5, "a b", "a\n", "schlüssel", "x" * 9000)),
    *((rules.flag, value) for value in (0, 1, "true", None)),
    *((rules.whole(0, 100), value) for value in (-1, 101, 5.0, "5", True, None)),
    *((rules.budget, value) for value in (-1, "5", True, float("nan"), float("inf"), 1e12, [])),
    *((rules.price_per_1k, value) for value in (-0.1, "0.1", 1000.01, 1e300, False)),
    *(
        (rules.scopes, value)
        for value in (None, [], "", "chat", "[]", "[" * 9999, '{"chat": 1}', ["admin"], [1], "null")
    ),
    *((rules.model_ids, value) for value in ("a", [""], [1], ["x"] * 1001)),
    *((rules.duration_ms, value) for value in (5, "5", "-5h", "0s", "1y", "h", "1h ", "١h", "99999999d", "1.2.3h")),
    *((rules.instant_ms, v) for v in (5, "2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", "tomorrow")),
    (rules.array, {"a": 1}),
]


@pytest.mark.parametrize(("rule", "value", "clean"), GOOD)
def test_what_is_good_comes_out_clean(rule, value, clean):
    assert rule(value) == clean


@pytest.mark.parametrize(("rule", "value"), BAD)
def test_what_is_bad_is_refused_with_a_sentence(rule, value):
    with pytest.raises(ValueError, match=r"^(must|scopes are)"):
        rule(value)


def test_a_bad_secret_is_not_repeated():
    with pytest.raises(ValueError) as caught:
        rules.secret("CANARY secret")
    assert "CANARY" not in str(caught.value)


def test_every_bad_and_every_unknown_field_is_named_at_its_place():
    with pytest.raises(InvalidRequest) as caught:
        rules.check({"a": 1, "b": True, "c": 2}, {"a": rules.flag, "b": rules.flag}, "entries[3].")
    assert caught.value.code == "validation_failed"
    assert caught.value.fields == {"entries[3].a": ["must be true or false"], "entries[3].c": ["unknown field"]}


def test_what_is_bad_inside_an_object_is_named_with_its_path():
    inside = rules.mapping({"b": rules.flag})
    assert rules.check({"a": {"b": True}, "n": None}, {"a": inside, "n": inside}) == {"a": {"b": True}, "n": {}}
    with pytest.raises(InvalidRequest) as caught:
        rules.check({"a": {"b": 1, "c": 2}, "n": []}, {"a": inside, "n": inside}, "at.")
    assert caught.value.fields == {
        "at.a.b": ["must be true or false"],
        "at.a.c": ["unknown field"],
        "at.n": ["must be an object"],
    }


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.parametrize("rule", sorted({rule for rule, _, _ in GOOD}, key=lambda rule: rule.__qualname__))
@given(value=ANYTHING)
def test_no_json_value_makes_a_rule_fail_otherwise(rule, value):
    try:
        rule(value)
    except ValueError:
        pass
