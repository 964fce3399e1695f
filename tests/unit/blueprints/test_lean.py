"""Flask without what requests here do not use."""

from __future__ import annotations

import pytest
from flask import Flask, request, session, url_for

from blueprints.lean import LeanAnswer, LeanFlask, json_answer


@pytest.fixture
def app() -> Flask:
    app = LeanFlask("lean")

    @app.get("/v1/models/<path:model_id>")
    def model(model_id: str) -> LeanAnswer:
        return json_answer(
            model_id.encode(), {"x-a": request.args.get("a", ""), "x-url": url_for("model", model_id="b")}
        )

    @app.get("/session")
    def keep() -> str:
        session["a"] = "b"
        return ""

    @app.after_request
    def note(response):
        response.headers["x-late"] = str(response.status_code)
        return response

    return app


def test_routes_depend_on_method_and_path_alone(app: Flask) -> None:
    client = app.test_client()
    for host in ("localhost", "elsewhere.test:99", "a_b.test"):
        answer = client.get("/v1/models/a/%C3%BC?a=1", headers={"Host": host})
        assert (answer.status_code, answer.text, answer.headers["x-a"]) == (200, "a/ü", "1")
    assert client.post("/v1/models/a").status_code == 405
    assert client.get("/nowhere").status_code == 404


def test_an_answer_has_its_headers_type_and_size_and_takes_more(app: Flask) -> None:
    answer = app.test_client().get("/v1/models/abc")
    assert answer.headers.getlist("Content-Length") == ["3"]
    assert answer.content_type == "application/json" and answer.headers["x-late"] == "200"
    assert answer.headers["x-url"] == "/v1/models/b"


def test_pieces_leave_as_they_come_and_are_closed_by_who_sends_them() -> None:
    told = []

    def pieces():
        try:
            yield b"a"
            yield b"b"
        finally:
            told.append("closed")

    answer = LeanAnswer(pieces(), {"Content-Type": "text/event-stream"})
    sent = answer({}, lambda status, headers: told.append((status, headers)))
    assert next(iter(sent)) == b"a"
    sent.close()
    assert told == [("200 OK", [("Content-Type", "text/event-stream")]), "closed"]


def test_nothing_can_be_kept_in_a_session(app: Flask) -> None:
    app.testing = True
    with pytest.raises(RuntimeError, match="secret"):
        app.test_client().get("/session")


def test_outside_of_requests_it_is_flask(app: Flask) -> None:
    with app.app_context(), pytest.raises(RuntimeError, match="SERVER_NAME"):
        url_for("model", model_id="x")
