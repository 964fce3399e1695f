from __future__ import annotations

import pytest

from blueprints.admin.api import routing
from tokenhub.domain.keys import ApiKey

PATH = "/admin/v1/routing/simulate"


def register(client, model_id, provider_id="acme", **fields):
    entry = {"id": model_id, "provider_id": provider_id, "max_context_tokens": 8000, "weight": 10}
    entry |= {"input_per_1k": 0.001, "output_per_1k": 0.002, **fields}
    assert client.post("/admin/v1/models", json=entry).status_code == 200


@pytest.fixture(autouse=True)
def catalog(client):
    for provider_id in ("acme", "other", "broken"):
        client.post(
            "/admin/v1/providers", json={"id": provider_id, "type": "openai", "base_url": "https://a.example.com"}
        )
    register(client, "cheap", input_per_1k=0.0001, output_per_1k=0.0002, family="x")
    register(client, "good", weight=90, max_context_tokens=200_000)
    register(client, "twin", "other", family="x")
    register(client, "unready", "broken")


def asked(client, **body):
    response = client.post(PATH, json=body)
    assert response.status_code == 200, response.json
    assert routing.Result().validate(response.json) == {}
    return response.json


def names(rows):
    return [row["model"] for row in rows]


def test_the_example_of_the_readme_chooses_the_cheapest(client):
    told = asked(client, mode="cheap", token_count=500)
    assert (told["chosen"]["model"], told["chosen"]["provider"]) == ("cheap", "acme")
    assert told["chosen"]["reason"] == "routed-weight-10"
    assert told["input_tokens_estimated"] == 500
    assert told["policy"]["mode"] == {"value": "cheap", "set_by": "request"}
    assert told["policy"]["min_weight"]["set_by"] == "default"


def test_every_candidate_has_its_score_in_parts_and_every_rejection_its_reason(client):
    told = asked(client, mode="high_confidence")
    assert names(told["candidates"])[0] == "good" and told["candidates_total"] == 3
    for row in told["candidates"]:
        assert set(row["parts"]) == {"cost", "latency", "errors", "weight"}
        assert row["score"] == pytest.approx(sum(row["parts"].values()), abs=1e-5)
    scores = [row["score"] for row in told["candidates"]]
    assert scores == sorted(scores)
    assert told["candidates"][0]["estimated_cost_usd"] == pytest.approx(0.5 * 0.001 + 0.512 * 0.002)
    assert told["rejected_total"] == 1
    assert told["rejected"][0] == {
        "model": "unready",
        "provider": "broken",
        "reason": "provider_not_ready",
        "detail": "provider broken has no usable credential",
    }


def test_the_input_may_be_given_as_messages_to_be_estimated(client):
    told = asked(client, messages=[{"role": "user", "content": "x" * 40_000}], max_tokens=5)
    assert 10_000 <= told["input_tokens_estimated"] < 10_100
    assert names(told["candidates"]) == ["good"]
    assert {row["model"]: row["reason"] for row in told["rejected"]}["cheap"] == "context_overflow"


@pytest.mark.parametrize(
    ("fallback", "then"),
    [("none", []), ("same_model", ["twin"]), (["good", "twin"], ["good", "twin"])],
)
def test_what_follows_a_failure_is_shown(client, fallback, then):
    told = asked(client, model="cheap", fallback=fallback)
    assert told["chosen"]["reason"] == "routed-hint-exact"
    assert told["hint"] == {"asked": "cheap", "kind": "exact", "models": ["cheap"]}
    assert names(told["then"]) == then


def test_an_alias_and_an_unknown_name_are_told_apart(client):
    client.post("/admin/v1/aliases", json={"name": "team", "targets": ["twin", "cheap"]})
    told = asked(client, model_hint="team")
    assert (told["chosen"]["model"], told["chosen"]["reason"]) == ("twin", "routed-alias-team")
    assert names(told["then"])[0] == "cheap"
    assert asked(client, model_hint="nobody")["hint"] == {"asked": "nobody", "kind": "unknown", "models": []}


def test_where_nothing_is_eligible_the_reasons_are_told_and_it_is_no_error(client):
    told = asked(client, max_budget_usd=0.0000001)
    assert told["chosen"] is None and told["candidates"] == [] and told["then"] == []
    assert told["refusal"]["code"] == "no_eligible_model"
    assert {row["reason"] for row in told["rejected"]} == {"budget_exceeded", "provider_not_ready"}


def test_wishes_that_are_put_aside_and_wishes_for_too_much_are_told(client):
    told = asked(client, min_weight=95)
    assert names(told["candidates"]) == ["good"] and told["clamped"] == {"min_weight": {"asked": 95, "used": 90}}
    told = asked(client, token_count=150_000)
    assert told["chosen"]["model"] == "good" and told["chosen"]["estimated_cost_usd"] > 0.05
    assert told["set_aside"] == ["max_budget_usd"] and told["policy"]["max_budget_usd"]["set_by"] == "default"


def test_needs_are_held_against_capabilities(client):
    client.patch("/admin/v1/models/good", json={"capabilities": ["tools", "streaming"]})
    for name, expected in (("tools", True), ("streaming", True), ("vision", False), ("json_schema", False)):
        assert ("good" in names(asked(client, needs=[name])["candidates"])) == expected, name


def test_as_a_key_its_limits_and_what_is_left_of_its_budget_hold(client, hub):
    hub.state.add_key(
        ApiKey(
            "k1", "bot", "tokenhub_x", ("chat",), 1, True, 0, None, None, 0, 1_000_000_000, None, 0, ("cheap", "good")
        ),
        b"h",
    )
    told = asked(client, key_id="k1", max_tokens=100)
    assert sorted(names(told["candidates"])) == ["cheap", "good"]
    assert {row["model"]: row["reason"] for row in told["rejected"]}["twin"] == "not_allowed"
    assert asked(client, key_id="k1", model="twin")["refusal"]["code"] == "model_not_allowed"
    hub.state.spent["k1"] = 1_000_000_000 - 1_500_000
    assert asked(client, key_id="k1", max_tokens=100, mode="high_confidence")["chosen"]["model"] == "cheap"
    hub.state.spent["k1"] = 1_000_000_000
    told = asked(client, key_id="k1", max_tokens=100)
    assert told["chosen"] is None and told["refusal"]["code"] == "insufficient_quota"


def test_the_same_question_has_the_same_answer_and_leaves_nothing_behind(client, hub):
    for number in range(6):
        register(client, f"same{number}", weight=90)
    epoch = hub.state.epoch()
    first, *others = [asked(client, mode="high_confidence") for _ in range(4)]
    assert all(other == first for other in others)
    heads = {asked(client, mode="high_confidence", seed=f"s{number}")["candidates"][0]["model"] for number in range(40)}
    assert len(heads) > 1
    assert hub.state.receipts == {} and hub.state.taken == [] and hub.state.epoch() == epoch


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "fastest"}, "mode"),
        ({"mode": "thompson"}, "mode"),
        ({"max_budget_usd": 101}, "max_budget_usd"),
        ({"max_latency_ms": -1}, "max_latency_ms"),
        ({"min_weight": "many"}, "min_weight"),
        ({"fallback": "whatever"}, "fallback"),
        ({"token_count": 0}, "token_count"),
        ({"token_count": "500"}, "token_count"),
        ({"needs": ["magic"]}, "needs"),
        ({"needs": "tools"}, "needs"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"model": 5}, "model"),
        ({"key_id": "nobody"}, "key_id"),
        ({"key_id": 5}, "key_id"),
        ({"seed": ""}, "seed"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_a_bad_or_unknown_field_is_422_and_named(client, body, field):
    response = client.post(PATH, json=body)
    assert response.status_code == 422
    assert list(response.json["error"]["fields"]) == [field]


def test_a_field_that_is_null_is_absent(client):
    assert asked(client, model=None, messages=None, mode=None, token_count=None) == asked(client)


def test_the_description_names_every_row_of_the_policy_table(client):
    schema = client.get("/admin/v1/openapi.json").json["components"]["schemas"]["Simulation"]
    assert {"mode", "fallback", "token_count"} <= set(schema["properties"])


def test_only_the_administrator_gets_in(app):
    assert app.test_client().post(PATH, json={}).status_code == 401
