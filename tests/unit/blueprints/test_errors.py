"""Every error class has its status, and each surface its own body."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from blueprints import errors, headers
from tests.grammar import check_anthropic_error
from tokenhub import errors as e


def leaves(kind: type[e.TokenHubError] = e.TokenHubError) -> Iterator[type[e.TokenHubError]]:
    yield kind
    for leaf in kind.__subclasses__():
        if leaf.__module__ == e.__name__:
            yield from leaves(leaf)


def caused(cause: e.ProviderError) -> e.AllAttemptsFailed:
    return e.AllAttemptsFailed("x", attempts=(), cause=cause)


INSTANCES: list[tuple[e.TokenHubError, int]] = [
    (e.TokenHubError("x"), 500),
    (e.InvalidRequest("x"), 400),
    (e.PayloadTooLarge("x"), 413),
    (e.UnsupportedMediaType("x"), 415),
    (e.RequestTimeout("x"), 408),
    (e.Unauthenticated("x"), 401),
    (e.Forbidden("x"), 403),
    (e.NotFound("x"), 404),
    (e.Conflict("x"), 409),
    (e.RateLimited("x", retry_after_s=0.2), 429),
    (e.SpendLimitReached("x"), 429),
    (e.FeatureUnavailable("x"), 501),
    (e.Unavailable("x"), 503),
    (e.DeadlineExceeded("x"), 504),
    (e.Interruption("x"), 503),
    (e.ClientGone("x"), 499),
    (e.Stopping("x"), 503),
    (e.RoutingError("x"), 502),
    (e.NoEligibleModel("x", rejections=(), blame="caller"), 400),
    (e.NoEligibleModel("x", rejections=(), blame="server"), 503),
    (caused(e.ProviderTransient("x", status=500)), 502),
    (caused(e.ProviderTransient("x", code="total_timeout")), 504),
    (caused(e.ProviderRateLimited("x", status=429, retry_after_s=7)), 502),
    (caused(e.ProviderFatal("x", status=422, blame="caller")), 422),
    (caused(e.ProviderFatal("x", status=401, blame="provider")), 502),
    (caused(e.ContextOverflow("x", status=413)), 400),
    (e.ProviderError("x"), 502),
    (e.ContextOverflow("x"), 400),
    (e.ProviderRateLimited("x"), 502),
    (e.ProviderTransient("x"), 502),
    (e.ProviderFatal("x"), 502),
    (e.ProviderBudgetExceeded("x"), 502),
    (e.ConfigurationError("NAME", "x"), 500),
]


def test_every_class_is_tried_here() -> None:
    assert {type(error) for error, _ in INSTANCES} == set(leaves())


@pytest.mark.parametrize(("error", "status"), INSTANCES)
def test_every_error_has_its_status(error: e.TokenHubError, status: int) -> None:
    assert errors.status_of(error) == status


@pytest.fixture
def app() -> Flask:
    made = Flask(__name__)
    errors.register(made)
    headers.register(made, ())
    made.extensions["tokenhub"] = SimpleNamespace(metrics=SimpleNamespace(told=lambda error: None))
    raised: dict[str, BaseException] = {
        "spend": e.SpendLimitReached("x"),
        "rate": e.RateLimited("x", retry_after_s=1.2),
        "fields": e.InvalidRequest("x", code="validation_failed", fields={"a": ["b"]}),
        "upstream": caused(e.ProviderRateLimited("x", retry_after_s=7)),
        "bug": ZeroDivisionError("secret details"),
    }

    def fail(name: str) -> str:
        raise raised[name]

    made.add_url_rule("/v1/<name>", "v1", fail)
    made.add_url_rule("/v1/messages/<name>", "anthropic", fail)
    made.add_url_rule("/admin/v1/<name>", "admin", fail)
    return made


def get(app: Flask, path: str, **kwargs: Any) -> Any:
    answer = app.test_client().open(path, **kwargs)
    assert answer.is_json and answer.headers["x-request-id"]
    return answer


def test_a_refusal_for_budget_says_that_a_retry_is_useless(app: Flask) -> None:
    answer = get(app, "/v1/spend")
    assert answer.status_code == 429 and answer.headers["x-should-retry"] == "false"
    assert answer.json["error"] == {
        "message": "x",
        "type": "insufficient_quota",
        "param": None,
        "code": "insufficient_quota",
    }


def test_a_wait_is_told_in_both_headers(app: Flask) -> None:
    answer = get(app, "/v1/rate")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1200")
    assert get(app, "/v1/upstream").headers["retry-after"] == "7"


def test_admin_gets_its_own_shape_and_422_for_fields(app: Flask) -> None:
    answer = get(app, "/admin/v1/fields")
    assert answer.status_code == 422
    error = answer.json["error"]
    assert error["code"] == "validation_failed" and error["fields"] == {"a": ["b"]}
    assert error["request_id"] == answer.headers["x-request-id"]


def test_a_bug_tells_nothing_of_itself(app: Flask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = get(app, "/v1/bug")
    assert answer.status_code == 500 and b"secret details" not in answer.data


@pytest.mark.parametrize("path", ["/nowhere", "/v1/a/b", "/admin/v1/a/b"])
def test_unknown_routes_are_json(app: Flask, path: str) -> None:
    answer = get(app, path)
    assert answer.status_code == 404 and answer.json["error"]["code"] == "not_found"


def test_a_wrong_method_says_which_are_right(app: Flask) -> None:
    answer = get(app, "/v1/rate", method="POST")
    assert answer.status_code == 405 and "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("path", "method", "status", "kind"),
    [
        ("spend", "GET", 429, "billing_error"),
        ("rate", "GET", 429, "rate_limit_error"),
        ("fields", "GET", 400, "invalid_request_error"),
        ("upstream", "GET", 502, "api_error"),
        ("bug", "GET", 500, "api_error"),
        ("a/b", "GET", 404, "not_found_error"),
        ("rate", "POST", 405, "invalid_request_error"),
    ],
)
def test_callers_of_messages_get_anthropic_s_shape(app: Flask, path: str, method: str, status: int, kind: str) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = get(app, f"/v1/messages/{path}", method=method)
    check_anthropic_error(answer.json)
    assert answer.status_code == status and answer.json["error"]["type"] == kind
    assert answer.json["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    assert set(answer.json["error"]) == {"type", "message"}
    assert (answer.headers.get("x-should-retry") == "false") is (path == "spend")


@pytest.mark.parametrize(("error", "status"), INSTANCES)
def test_every_error_has_a_type_that_anthropic_s_clients_know(error: e.TokenHubError, status: int) -> None:
    body = errors.anthropic_error(error, "req_1")
    check_anthropic_error(body)
    assert body["request_id"] == "req_1"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (e.InvalidRequest("x"), "invalid_request_error"),
        (e.PayloadTooLarge("x"), "request_too_large"),
        (e.UnsupportedMediaType("x"), "invalid_request_error"),
        (e.RequestTimeout("x"), "timeout_error"),
        (e.Unauthenticated("x"), "authentication_error"),
        (e.Forbidden("x"), "permission_error"),
        (e.NotFound("x"), "not_found_error"),
        (e.Conflict("x"), "conflict_error"),
        (e.Unavailable("x"), "overloaded_error"),
        (e.DeadlineExceeded("x"), "timeout_error"),
        (e.NoEligibleModel("x", rejections=(), blame="caller"), "invalid_request_error"),
        (e.NoEligibleModel("x", rejections=(), blame="server"), "overloaded_error"),
        (caused(e.ProviderTransient("x", code="total_timeout")), "timeout_error"),
    ],
)
def test_anthropic_s_type_follows_the_status(error: e.TokenHubError, kind: str) -> None:
    assert errors.anthropic_error(error, "")["error"]["type"] == kind
