"""Credentials: which carrier is read, and who passes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, request

from blueprints import errors, guards
from tokenhub.domain.ports import Refused


class State:
    """Counts what is taken from rates; refuses after `allowed`."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.names: list[str] = []

    def take(self, rates: Any) -> Refused | None:
        self.names += [rate.name for rate in rates]
        return None if len(self.names) <= self.allowed else Refused("rate", rates[0].name, 3.5)


@pytest.fixture
def app() -> Flask:
    made = Flask(__name__)
    errors.register(made)
    made.extensions["tokenhub"] = SimpleNamespace(
        admin_token=SimpleNamespace(matches=lambda presented: presented == "right"),
        client_address=lambda environ: environ["REMOTE_ADDR"],
        state=State(2),
        metrics=SimpleNamespace(told=lambda error: None),
    )

    @made.get("/secret")
    def secret() -> str:
        return guards.presented_secret(request.environ) or "none"

    @made.get("/admin/v1/x")
    def admin() -> dict[str, bool]:
        guards.require_admin()
        return {"ok": True}

    return made


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({}, "none"),
        ({"Authorization": "Bearer k1"}, "k1"),
        ({"Authorization": "bearer  k1 "}, "k1"),
        ({"x-api-key": "k2"}, "k2"),
        ({"x-api-key": "k1", "Authorization": "Bearer k1"}, "k1"),
        ({"Authorization": "Basic abc"}, "none"),
        ({"Authorization": "k1"}, "none"),
    ],
)
def test_either_carrier_is_read(app: Flask, headers: dict[str, str], seen: str) -> None:
    assert app.test_client().get("/secret", headers=headers).text == seen


def test_two_different_keys_are_refused(app: Flask) -> None:
    answer = app.test_client().get("/secret", headers={"x-api-key": "a", "Authorization": "Bearer b"})
    assert answer.status_code == 400 and answer.json["error"]["code"] == "ambiguous_credentials"


def test_the_right_admin_token_passes_even_while_wrong_ones_are_limited(app: Flask) -> None:
    client = app.test_client()
    wrong = [client.get("/admin/v1/x", headers={"Authorization": f"Bearer w{n}"}) for n in range(3)]
    assert [answer.status_code for answer in wrong] == [401, 401, 429] and wrong[2].headers["retry-after"] == "4"
    assert client.get("/admin/v1/x", headers={"Authorization": "Bearer right"}).status_code == 200
    assert client.get("/admin/v1/x", headers={"x-api-key": "right"}).status_code == 429
