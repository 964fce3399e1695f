"""Sizes are counted, media types checked, JSON is strict."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from blueprints import errors
from blueprints.body import DRAIN_FACTOR, read_json

LIMIT = 200


@pytest.fixture
def app() -> Flask:
    made = Flask(__name__)
    errors.register(made)
    made.extensions["tokenhub"] = SimpleNamespace(
        front=SimpleNamespace(max_body_bytes=LIMIT), metrics=SimpleNamespace(told=lambda error: None)
    )

    @made.post("/")
    def read() -> dict[str, Any]:
        body, size = read_json()
        return {"body": body, "size": size}

    return made


def post(app: Flask, data: bytes, content_type: str | None = "application/json", **kwargs: Any) -> Any:
    return app.test_client().post("/", data=data, content_type=content_type, **kwargs)


class Chunked:
    """A body without Content-Length, counting what is read of it."""

    def __init__(self, size: int) -> None:
        self.left, self.read_bytes = size, 0

    def read(self, size: int = -1) -> bytes:
        part = b" " * min(self.left, size)
        self.left -= len(part)
        self.read_bytes += len(part)
        return part


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/x+json", None])
def test_json_is_read_and_measured(app: Flask, kind: str | None) -> None:
    assert post(app, b'{"a": 1}', kind).json == {"body": {"a": 1}, "size": 8}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"1", b'"x"', b"null", b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b"\xff", b"[" * 150],
)
def test_anything_else_is_refused(app: Flask, data: bytes) -> None:
    answer = post(app, data)
    assert answer.status_code == 400 and answer.json["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(app: Flask, kind: str) -> None:
    assert post(app, b"{}", kind).status_code == 415


def test_an_encoded_body_is_refused(app: Flask) -> None:
    assert post(app, b"{}", headers={"Content-Encoding": "gzip"}).status_code == 415


def test_a_body_over_the_limit_is_refused_by_its_length(app: Flask) -> None:
    assert post(app, b" " * LIMIT + b"{}").status_code == 413
    assert post(app, b" " * (LIMIT - 2) + b"{}").status_code == 200


@pytest.mark.parametrize(("size", "read"), [(LIMIT + 1, LIMIT + 1), (10**9, LIMIT * DRAIN_FACTOR)])
def test_a_chunked_body_is_counted_and_never_read_without_end(app: Flask, size: int, read: int) -> None:
    body = Chunked(size)
    assert status(app, {"wsgi.input": body}) == 413
    assert read <= body.read_bytes <= read + 64 * 1024


def test_an_oversized_body_is_read_on_only_where_it_is_on_its_way_and_not_too_long(app: Flask) -> None:
    for length, changes, read in (
        (LIMIT + 1, {}, LIMIT + 1),
        (LIMIT + 1, {"HTTP_EXPECT": "100-continue"}, 0),
        (LIMIT * DRAIN_FACTOR + 1, {}, 0),
    ):
        body = Chunked(length)
        assert status(app, {"wsgi.input": body, "CONTENT_LENGTH": str(length), **changes}) == 413
        assert body.read_bytes == read


@pytest.mark.parametrize("length", ["", "x", "-1"])
def test_without_a_usable_length_the_body_is_counted(app: Flask, length: str) -> None:
    assert status(app, {"wsgi.input": Chunked(LIMIT + 1), "CONTENT_LENGTH": length}) == 413


def test_a_body_that_is_cut_is_refused(app: Flask) -> None:
    assert status(app, {"wsgi.input": Chunked(5), "CONTENT_LENGTH": "9"}) == 400


def status(app: Flask, changes: dict[str, Any]) -> int:
    """The answer to a WSGI environment as a server would make it."""
    environ = EnvironBuilder("/", method="POST", content_type="application/json").get_environ()
    environ.pop("CONTENT_LENGTH", None)
    _, told, _ = run_wsgi_app(app, {**environ, **changes})
    return int(told.split()[0])
