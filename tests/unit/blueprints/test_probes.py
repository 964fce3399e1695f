"""Probes: the right status for each kind of trouble, and no word too many."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flask import Flask

from blueprints import probes
from tokenhub.domain.catalog import Catalog, Model, Provider
from tokenhub.errors import Unavailable

SECRET_NAMES = ("acme-provider", "acme-model", "upstream.test", "ACME_KEY")


def worker(*, provider_enabled=True, model_enabled=True, ready=("acme-provider",), epoch=1, state_is_up=True):
    """What a probe sees of a worker; by default all is well."""
    provider = Provider("acme-provider", "openai", "https://upstream.test", provider_enabled, "env:ACME_KEY")
    model = Model("acme-model", "acme-provider", "acme-model", enabled=model_enabled)

    def answer() -> int:
        if not state_is_up:
            raise Unavailable("state file /data/state.sqlite is locked")
        return epoch

    return SimpleNamespace(
        metrics=SimpleNamespace(told=lambda error: None),
        snapshot=SimpleNamespace(catalog=Catalog.build(epoch, [provider], [model])),
        providers=SimpleNamespace(ready=lambda: frozenset(ready)),
        state=SimpleNamespace(epoch=answer),
    )


def get(path: str, runtime: SimpleNamespace, method: str = "GET"):
    app = Flask(__name__)
    app.extensions["tokenhub"] = runtime
    app.register_blueprint(probes.bp)
    return app.test_client().open(path, method=method)


def test_healthz_is_ok_with_a_provider_and_a_model():
    response = get("/healthz", worker())
    assert (response.status_code, response.json) == (200, {"status": "ok", "adapters": 1, "models": 1})


@pytest.mark.parametrize(
    ("trouble", "adapters", "models"),
    [
        ({"ready": ()}, 0, 1),
        ({"provider_enabled": False}, 0, 1),
        ({"ready": ("another",)}, 0, 1),
        ({"model_enabled": False}, 1, 0),
    ],
)
def test_healthz_is_unhealthy_where_nothing_could_answer(trouble, adapters, models):
    response = get("/healthz", worker(**trouble))
    assert response.status_code == 503
    assert response.json == {"status": "unhealthy", "adapters": adapters, "models": models}


def test_readyz_is_ready_with_a_catalog_and_a_state():
    response = get("/readyz", worker())
    assert (response.status_code, response.json) == (200, {"status": "ready", "failed": []})


@pytest.mark.parametrize(
    ("trouble", "failed"),
    [
        ({"epoch": -1}, ["catalog"]),
        ({"state_is_up": False}, ["state"]),
        ({"epoch": -1, "state_is_up": False}, ["catalog", "state"]),
    ],
)
def test_readyz_names_what_failed_in_fixed_words(trouble, failed):
    response = get("/readyz", worker(**trouble))
    assert (response.status_code, response.json) == (503, {"status": "not_ready", "failed": failed})


def test_readyz_does_not_need_a_provider():
    assert get("/readyz", worker(ready=())).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_answer_head(path):
    response = get(path, worker(), "HEAD")
    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_tell_no_name_no_address_and_no_key(path):
    for runtime in (worker(), worker(state_is_up=False, ready=())):
        text = get(path, runtime).text
        assert not [name for name in (*SECRET_NAMES, "sqlite", "/data") if name in text]
