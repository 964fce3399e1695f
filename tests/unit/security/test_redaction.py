from __future__ import annotations

import time

import pytest

from tokenhub.security.api_keys import generate
from tokenhub.security.redaction import redact

CANARY = "C4nary0123456789abcdefXYZ"


@pytest.mark.parametrize(
    "text",
    [
        f"key sk-{CANARY} refused",
        f"sk-proj-{CANARY}",
        f"sk-ant-api03-{CANARY}-x",
        f"Authorization: Bearer {CANARY}",
        f"authorization: bearer {CANARY}",
        f"{{'Authorization': 'Bearer {CANARY}'}}",
        f'"Authorization":"Bearer {CANARY}"',
        f"Authorization=Basic {CANARY}",
        f"x-api-key: {CANARY}",
        f'{{"x-api-key": "{CANARY}"}}',
        f'"api_key": "{CANARY}"',
        f"?api_key={CANARY}&x=1",
        f"tokenhub_{CANARY}",
        f"https://user:{CANARY}@host/path",
        f"hf_{CANARY} gsk_{CANARY}",
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str) -> None:
    assert CANARY not in redact(text)
    assert "[redacted]" in redact(text)


def test_our_own_keys_are_masked_whole() -> None:
    for _ in range(200):
        key = generate()
        assert redact(f"no key {key}.").replace(".", "") == "no key tokenhub_[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        "tokenhub_requests_total 5 at https://host/path?a=1",
        "a task-list, disk-usage and risk-averse desk-lamp",
        "model gpt-4o answered in 12 ms",
        "",
    ],
)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_redaction_takes_linear_time() -> None:
    for text in ("api_key=" * 20_000, "sk-" * 60_000, "bearer " * 30_000, "https://" * 20_000, "a" * 200_000):
        started = time.perf_counter()
        redact(text)
        assert time.perf_counter() - started < 1.0
