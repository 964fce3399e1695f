"""Whatever is thrown at /v1: a 4xx in the dialect's JSON with a clean request id, never a 500, and no worker dies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import Answer, Gateway
from tests.factories import chat_body
from tests.upstream.process import UpstreamProcess

CHAT, NATIVE = "/v1/chat/completions", "/v1/chat"
ROUTES = (CHAT, NATIVE)
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
MESSAGES = [{"role": "user", "content": "hello"}]
GOOD = b'{"messages": [{"role": "user", "content": "hello"}]}'


@pytest.fixture(autouse=True)
def everything_still_stands(gateway: Gateway, upstream: UpstreamProcess) -> Iterator[None]:
    """No worker died, the next request is answered, and what was refused never reached a provider."""
    pids = gateway.worker_pids()
    mark = upstream.mark()
    yield
    assert upstream.calls(mark) == []
    assert gateway.worker_pids() == pids
    assert gateway.chat(chat_body("ok")).status == 200


def refused(answer: Answer, *statuses: int) -> Answer:
    """The answer is one of these 4xx, in OpenAI's error shape."""
    assert answer.status in statuses, answer
    assert answer.headers["content-type"].startswith("application/json")
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert isinstance(answer.error["message"], str) and answer.error["message"]
    assert isinstance(answer.error["type"], str) and isinstance(answer.error["code"], str)
    assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert b"Traceback" not in answer.body
    return answer


# ---------------------------------------------------------------- bodies that are no JSON object

_WITH = b'{"messages": [{"role": "user", "content": "hello"}], "seed": %b}'
NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "white space": b"  \n",
    "text": b"hello",
    "half": b'{"messages": [',
    "a list": b"[]",
    "a string": b'"x"',
    "a number": b"7",
    "null": b"null",
    "100k brackets": b"[" * 100_000,
    "100k closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "100k objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep in a field": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": _WITH % b"NaN",
    "Infinity": _WITH % b"-Infinity",
    "1e999": _WITH % b"1e999",
    "lone surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "lone low surrogate": b'{"messages": [{"role": "user", "content": "\\udc00 x"}]}',
    "raw surrogate": b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    "invalid UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "UTF-16": '{"messages": []}'.encode("utf-16"),
    "a comment": b'{"messages": [] /* none */}',
    "trailing comma": b'{"messages": [],}',
    "single quotes": b"{'messages': []}",
    "two objects": GOOD + GOOD,
    "a NUL": b'{"messages": []}\x00',
    "control character in a string": b'{"messages": "\x01"}',
    "XML": b"<messages/>",
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_no_json_object_is_a_400(gateway: Gateway, route: str, name: str) -> None:
    refused(gateway.ask("POST", route, NOT_JSON[name]), 400)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1" + "0" * 400])
def test_an_integer_without_end_is_a_400(gateway: Gateway, route: str, number: str) -> None:
    field = b"parameters" if route == NATIVE else b"x"
    value = b'{"seed": %b}' % number.encode() if route == NATIVE else number.encode()
    body = b'{"messages": [{"role": "user", "content": "hello"}], "seed": %b}' % number.encode()
    if route == NATIVE:
        body = b'{"messages": [{"role": "user", "content": "hello"}], "%b": %b}' % (field, value)
    refused(gateway.ask("POST", route, body), 400)


# ---------------------------------------------------------------- fields of a wrong type

ODD: dict[str, list[Any]] = {
    "model": [7, True, ["ok"], {"id": "ok"}, "x" * 300, "a\nb", "a\x00b"],
    "messages": [None, {}, "hello", 7, True, [], [None], ["hello"], [7], [[]]],
    "stream": ["true", 1, [], {}],
    "stream_options": ["x", 7, [1], True],
    "max_tokens": [0, -1, "8", 1.5, True, [8], 1e300, 2**63],
    "max_completion_tokens": [0, -1, "8", 1.5, {}],
    "n": [0, -1, "2", 1.5, True, 1000, 2**70],
    "temperature": ["hot", True, [1], {}],
    "top_p": ["x", False, []],
    "presence_penalty": ["x", []],
    "frequency_penalty": ["x", {}],
    "seed": ["x", 1.5, True, []],
    "stop": [7, True, [7], [None], {}],
    "tools": ["x", {}, [7], ["f"], True],
    "tool_choice": [7, True, []],
    "parallel_tool_calls": ["yes", 1, []],
    "response_format": ["json", 7, [], True],
    "logit_bias": ["x", 7, []],
    "logprobs": ["yes", 1, {}],
    "top_logprobs": ["x", -1, 1.5, True],
    "metadata": ["x", 7, []],
    "user": [7, True, [], {}],
    "tokenhub": ["x", 7, [], True],
}


@pytest.mark.parametrize("field", ODD)
def test_a_field_of_a_wrong_type_is_a_400_that_names_it(gateway: Gateway, field: str) -> None:
    connection = gateway.connect()
    try:
        for value in ODD[field]:
            body = {"model": "ok", "messages": MESSAGES, field: value}
            answer = gateway.ask("POST", CHAT, body, connection=connection)
            assert refused(answer, 400).error["param"].startswith(field), (value, answer)
    finally:
        connection.close()


@pytest.mark.parametrize("field", [name for name in ODD if name not in ("model", "messages", "stream", "tokenhub")])
def test_a_native_parameter_of_a_wrong_type_is_a_400(gateway: Gateway, field: str) -> None:
    connection = gateway.connect()
    try:
        for value in ODD[field]:
            body = {"request": {"messages": MESSAGES, "model_hint": "ok", "parameters": {field: value}}}
            refused(gateway.ask("POST", NATIVE, body, connection=connection), 400)
    finally:
        connection.close()


NATIVE_ODD: dict[str, list[Any]] = {
    "request": ["x", 7, [], True],
    "messages": ODD["messages"],
    "model_hint": [7, True, ["ok"], {}, "a\nb"],
    "model": [7, {}],
    "stream": ["true", 7, [1], []],
    "parameters": ["x", 7, [1], True, {"messages": []}, {"model": "ok"}, {"stream": True}],
    "policy": ["x", 7, [1], True, {"mode": "x"}, {"mode": 7}, {"min_weight": "9"}, {"max_latency_ms": 1e9}],
}


@pytest.mark.parametrize("field", NATIVE_ODD)
def test_a_native_field_of_a_wrong_type_is_a_400(gateway: Gateway, field: str) -> None:
    connection = gateway.connect()
    try:
        for value in NATIVE_ODD[field]:
            answer = gateway.ask("POST", NATIVE, {"messages": MESSAGES, field: value}, connection=connection)
            refused(answer, 400)
    finally:
        connection.close()


BAD_MESSAGES: list[Any] = [
    {},
    {"content": "hello"},
    {"role": "user"},
    {"role": "user", "content": None},
    {"role": "user", "content": 7},
    {"role": "user", "content": {"type": "text", "text": "x"}},
    {"role": "user", "content": []},
    {"role": "user", "content": [7]},
    {"role": "user", "content": ["x"]},
    {"role": "user", "content": [{}]},
    {"role": "user", "content": [{"type": 7}]},
    {"role": "user", "content": [{"type": "text"}]},
    {"role": "user", "content": [{"type": "text", "text": 7}]},
    {"role": "user", "content": [{"type": "image_url"}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": 7}}]},
    {"role": "wizard", "content": "hello"},
    {"role": "", "content": "hello"},
    {"role": "USER", "content": "hello"},
    {"role": 7, "content": "hello"},
    {"role": ["user"], "content": "hello"},
    {"role": {}, "content": "hello"},
    {"role": None, "content": "hello"},
    {"role": "assistant", "content": True},
    {"role": "assistant", "content": None, "tool_calls": {}},
    {"role": "assistant", "content": None, "tool_calls": [7]},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": 7}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": 7}}]},
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("message", BAD_MESSAGES, ids=lambda message: json.dumps(message)[:60])
def test_a_message_of_odd_shape_is_a_400_that_says_where(gateway: Gateway, route: str, message: Any) -> None:
    answer = refused(gateway.ask("POST", route, {"messages": [MESSAGES[0], message]}), 400)
    assert answer.error["param"].startswith("messages[1]")


@pytest.mark.parametrize("route", ROUTES)
def test_messages_that_are_missing_are_a_400(gateway: Gateway, route: str) -> None:
    assert refused(gateway.ask("POST", route, {}), 400).error["param"] == "messages"


# ---------------------------------------------------------------- size, type and encoding


@pytest.mark.parametrize("route", ROUTES)
def test_twenty_megabytes_are_a_413(gateway: Gateway, route: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x" * 20_000_000}]}).encode()
    answer = gateway.ask("POST", route, body)
    assert refused(answer, 413).error["code"] == "payload_too_large"


@pytest.mark.parametrize("route", ROUTES)
def test_twenty_megabytes_in_chunks_are_a_413(gateway: Gateway, route: str) -> None:
    connection = gateway.connect()
    try:
        connection.request(
            "POST",
            route,
            iter([b"x" * 1_000_000] * 20),
            {"content-type": "application/json", "authorization": f"Bearer {gateway.first_key}"},
            encode_chunked=True,
        )
        with connection.getresponse() as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            refused(Answer(response.status, headers, response.read()), 413)
    finally:
        connection.close()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/octet-stream"]
)
def test_another_media_type_is_a_415(gateway: Gateway, route: str, content_type: str) -> None:
    refused(gateway.ask("POST", route, GOOD, headers={"content-type": content_type}), 415)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, identity"])
def test_an_encoded_body_is_a_415(gateway: Gateway, route: str, encoding: str) -> None:
    refused(gateway.ask("POST", route, GOOD, headers={"content-encoding": encoding}), 415)


# ---------------------------------------------------------------- credentials

WRONG_KEYS = (
    "tokenhub_" + "0" * 64,
    "tokenhub_",
    "tokenhub_é",
    "sk-something",
    "x",
    "' OR 1=1 --",
    "tokenhub_" + "a" * 4000,
    "Bearer Bearer",
    "\xff\xfe",
)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
@pytest.mark.parametrize("secret", WRONG_KEYS)
def test_a_wrong_key_is_the_same_401_wherever_it_is_sent(
    gateway: Gateway, route: str, header: str, secret: str
) -> None:
    value = f"Bearer {secret}" if header == "authorization" else secret
    wrong = refused(gateway.ask("POST", route, GOOD, key="", headers={header: value}), 401)
    none = refused(gateway.ask("POST", route, GOOD, key=""), 401)
    assert wrong.error == none.error
    assert secret.encode() not in wrong.body or len(secret) < 10


def test_a_key_in_utf8_is_a_401(gateway: Gateway) -> None:
    header = "Bearer tokenhub_ключ🔑".encode().decode("latin-1")
    refused(gateway.ask("POST", CHAT, GOOD, key="", headers={"authorization": header}), 401)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic dG9rZW46aHVi", "Digest x", "tokenhub_x"])
def test_an_authorization_that_is_no_bearer_is_a_401(gateway: Gateway, value: str) -> None:
    refused(gateway.ask("POST", CHAT, GOOD, key="", headers={"authorization": value}), 401)


def test_two_different_keys_are_a_400(gateway: Gateway) -> None:
    refused(gateway.ask("POST", CHAT, GOOD, headers={"x-api-key": "tokenhub_" + "0" * 64}), 400)


@pytest.mark.parametrize("route", ROUTES)
def test_a_wrong_scope_is_a_403(gateway: Gateway, route: str) -> None:
    key = gateway.new_key("planner", scopes=["plan", "embeddings"])
    refused(gateway.ask("POST", route, GOOD, key=key.secret), 403)


def test_a_bad_body_without_a_key_is_a_401_first(gateway: Gateway) -> None:
    refused(gateway.ask("POST", CHAT, b"[" * 100_000, key=""), 401)


# ---------------------------------------------------------------- routes and headers


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_a_405_that_says_which(gateway: Gateway, route: str, method: str) -> None:
    answer = refused(gateway.ask(method, route), 405)
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/v1/nothing", "/v1", "/v1/chat/completions/x", "/v2/chat", "/V1/CHAT", "/v1/decisions", "/v1/..%2fadmin", "/%00"],
)
def test_an_unknown_route_is_a_404(gateway: Gateway, path: str) -> None:
    refused(gateway.ask("GET", path), 404)
    refused(gateway.ask("POST", path, GOOD), 404)


@pytest.mark.parametrize("path", ["/v1/decisions/%00", "/v1/decisions/' OR 1=1".replace(" ", "%20"), "/v1/models/%ff"])
def test_an_odd_id_is_a_404(gateway: Gateway, path: str) -> None:
    refused(gateway.ask("GET", path), 404)


@pytest.mark.parametrize("offered", ["", "a b", "x" * 129, "é", "<script>", "a;b", "x" * 4000, "a\tb"])
def test_a_request_id_that_is_not_clean_is_replaced(gateway: Gateway, offered: str) -> None:
    answer = refused(gateway.ask("POST", CHAT, b"{", headers={"x-request-id": offered}), 400)
    assert answer.headers["x-request-id"] != offered


def test_a_clean_request_id_is_echoed_on_errors_too(gateway: Gateway) -> None:
    answer = refused(gateway.ask("POST", CHAT, b"{", headers={"x-request-id": "trace:1.2-3_4"}), 400)
    assert answer.headers["x-request-id"] == "trace:1.2-3_4"
