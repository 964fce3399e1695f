"""An app with the doors for inference, over services that give what a test put there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from blueprints import errors, headers
from blueprints.chat import anthropic, native, openai
from tests.fakes.answers import FakeLine
from tokenhub.errors import Unauthenticated

SECRET = "tokenhub_secret"  # noqa: S105 - of nobody


class Hub:
    """`answer` is what the chat service gives, or raises; `commands` are what it was asked."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.commands: list[Any] = []
        self.lines: list[FakeLine] = []
        app = Flask(__name__)
        for blueprint in (openai.bp, anthropic.bp, native.bp):
            app.register_blueprint(blueprint)
        errors.register(app)
        headers.register(app, ())
        app.extensions["tokenhub"] = SimpleNamespace(
            callers=SimpleNamespace(identify=self._identify),
            chat=SimpleNamespace(complete=self._ask, stream=self._ask),
            departures=SimpleNamespace(watch=self._watch),
            front=SimpleNamespace(max_body_bytes=10_000),
            client_address=lambda environ: "peer",
            metrics=SimpleNamespace(told=lambda error: None),
        )
        self._client = app.test_client()

    def post(self, path: str, body: Any, **headers_: str) -> Any:
        """Ask with a good key."""
        given = {name.replace("_", "-"): value for name, value in headers_.items()}
        return self._client.post(path, json=body, headers={"x-api-key": SECRET, **given})

    def _identify(self, secret: str, scope: str | None, address: str, *, fresh: bool = False) -> Any:
        if secret != SECRET:
            raise Unauthenticated("no valid API key")
        return SimpleNamespace(key=None, scope=scope, fresh=fresh)

    def _watch(self, environ: Any) -> FakeLine:
        self.lines.append(FakeLine())
        return self.lines[-1]

    def _ask(self, command: Any, caller: Any, request_id: str, line: Any) -> Any:
        self.commands.append(command)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def hub() -> Hub:
    return Hub()
