"""The model list in both dialects: what is offered, to whom, under which names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from blueprints import errors, headers
from blueprints.chat import models
from tokenhub.domain.catalog import Catalog, Model, Provider

PROVIDERS = [Provider("p", "openai"), Provider("off", "openai", enabled=False)]
CATALOG = Catalog.build(
    1,
    PROVIDERS,
    [
        Model("a/b", "p", "a/b", max_context_tokens=1000, max_output_tokens=100),
        Model("small", "p", "small"),
        Model("disabled", "p", "disabled", enabled=False),
        Model("gone", "off", "gone"),
    ],
    {"fast": ("nowhere", "small"), "best": ("a/b",), "dead": ("disabled", "nowhere"), "small": ("a/b",)},
)


class Key:
    """A key that may use the named models."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed

    def allows(self, model_id: str) -> bool:
        return model_id in self.allowed


def client(*allowed: str) -> Any:
    """Of an app whose caller's key may use these models; of one with a public list, where there are none."""
    app = Flask(__name__)
    app.register_blueprint(models.bp)
    errors.register(app)
    headers.register(app, ())
    identified = SimpleNamespace(key=Key(*allowed))
    app.extensions["tokenhub"] = SimpleNamespace(
        snapshot=SimpleNamespace(catalog=CATALOG),
        front=SimpleNamespace(public_models=not allowed),
        callers=SimpleNamespace(identify=lambda *args, **kwargs: identified),
        client_address=lambda environ: "peer",
        metrics=SimpleNamespace(told=lambda error: None),
    )
    return app.test_client()


def test_models_come_first_and_aliases_belong_to_us() -> None:
    listed = client().get("/v1/models").json
    assert listed["object"] == "list"
    assert [(m["id"], m["owned_by"]) for m in listed["data"]] == [
        ("a/b", "p"),
        ("small", "p"),
        ("best", "tokenhub"),
        ("fast", "tokenhub"),
    ]
    assert listed["data"][0]["context_length"] == listed["data"][0]["max_model_len"] == 1000
    assert all(m["object"] == "model" and m["created"] == 0 for m in listed["data"])


def test_a_key_sees_what_it_may_use_and_aliases_of_that() -> None:
    listed = client("small").get("/v1/models").json
    assert [m["id"] for m in listed["data"]] == ["small", "fast"]


@pytest.mark.parametrize(("name", "status"), [("a/b", 200), ("fast", 200), ("disabled", 404), ("dead", 404)])
def test_one_of_them_by_name(name: str, status: int) -> None:
    answer = client().get(f"/v1/models/{name}")
    assert answer.status_code == status
    assert answer.json["id"] == name if status == 200 else answer.json["error"]["code"] == "model_not_found"


ANTHROPIC = {"anthropic-version": "2023-06-01"}


def test_anthropic_s_clients_read_their_own_list() -> None:
    listed = client().get("/v1/models", headers=ANTHROPIC).json
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "a/b", "fast")
    assert listed["data"][0] == {
        "type": "model",
        "id": "a/b",
        "display_name": "a/b",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 1000,
        "max_tokens": 100,
    }
    assert client("nothing").get("/v1/models", headers=ANTHROPIC).json["first_id"] is None


def test_anthropic_s_clients_read_one_model_and_their_own_errors() -> None:
    assert client().get("/v1/models/fast", headers=ANTHROPIC).json["display_name"] == "fast"
    assert client().get("/v1/models/dead", headers=ANTHROPIC).json["error"]["type"] == "not_found_error"
