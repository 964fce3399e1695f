from __future__ import annotations

import pytest

from blueprints.admin.api import aliases

PATH = "/admin/v1/aliases"
BEST = {"name": "team/best", "targets": ["gpt-4o", "claude"]}


@pytest.fixture(autouse=True)
def models(client):
    client.post("/admin/v1/providers", json={"id": "acme", "type": "openai", "base_url": "https://api.example.com"})
    for model_id in ("gpt-4o", "claude"):
        client.post("/admin/v1/models", json={"id": model_id, "provider_id": "acme"})


def test_an_alias_comes_back_as_it_was_given(client):
    response = client.post(PATH, json=BEST)
    assert aliases.ChangedAlias().validate(response.json) == {}
    assert response.json == {"ok": True, "alias": BEST}
    assert client.get(f"{PATH}/team/best").json == BEST


def test_aliases_are_listed_by_name(client):
    for name in ("b", "a"):
        client.post(PATH, json={**BEST, "name": name})
    page = client.get(PATH, query_string={"limit": 1}).json
    assert aliases.AliasPage().validate(page) == {}
    assert page == {"items": [{**BEST, "name": "a"}], "total": 2, "limit": 1, "offset": 0}


@pytest.mark.parametrize("path", ["team/best", "team%2Fbest"])
def test_a_name_with_a_slash_is_reached_raw_or_escaped(client, path):
    client.post(PATH, json=BEST)
    assert client.patch(f"{PATH}/{path}", json={"targets": ["claude"]}).json["alias"]["targets"] == ["claude"]
    assert client.delete(f"{PATH}/{path}").json == {"ok": True}
    for response in (
        client.get(f"{PATH}/{path}"),
        client.delete(f"{PATH}/{path}"),
        client.patch(f"{PATH}/{path}", json={"targets": ["claude"]}),
    ):
        assert response.status_code == 404


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "gpt-4o"}, "name"),
        ({"name": "auto"}, "name"),
        ({"name": "a//b"}, "name"),
        ({"name": None}, "name"),
        ({"targets": ["nobody"]}, "targets"),
        ({"targets": []}, "targets"),
        ({"targets": [5]}, "targets"),
        ({"targets": "gpt-4o"}, "targets"),
        ({"targets": None}, "targets"),
        ({"sticky_by": "request"}, "sticky_by"),
    ],
)
def test_a_bad_or_unknown_field_is_422_and_changes_nothing(client, values, field):
    response = client.post(PATH, json={**BEST, **values})
    assert response.status_code == 422
    assert list(response.json["error"]["fields"]) == [field]
    assert client.get(PATH).json["total"] == 0


def test_a_target_that_is_no_model_is_named(client):
    response = client.post(PATH, json={**BEST, "targets": ["gpt-4o", "nobody"]})
    assert response.json["error"]["fields"] == {"targets": ["there is no model 'nobody'"]}


def test_a_patch_cannot_rename(client):
    client.post(PATH, json=BEST)
    assert client.patch(f"{PATH}/team/best", json={"name": "other"}).status_code == 422


def test_only_the_administrator_gets_in(app):
    assert app.test_client().get(PATH).status_code == 401
