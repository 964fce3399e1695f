"""TokenHub's own chat route: `{"request": {...}, "policy": {...}}`, or the same flat. Answers carry OpenAI's shape."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from blueprints import guards
from blueprints.body import read_json
from blueprints.chat import answers, openai, openai_out
from tokenhub.domain.chat import ChatCommand, JsonObject
from tokenhub.domain.money import usd
from tokenhub.errors import FeatureUnavailable, InvalidRequest

bp = Blueprint("native", __name__)

NOT_BUILT = ("output_schema", "output_format")
"""Promised by the README, refused until they work: an answer that ignores them would be wrong."""
NOT_FORWARDED = ("id", "meta", "capabilities", "estimated_input_tokens")
"""Fields of the earlier TokenHub that have no effect; told in a header."""
OWN_FIELDS = frozenset({"messages", "model_hint", "model", "stream", "parameters", *NOT_BUILT, *NOT_FORWARDED})
RESERVED = frozenset({"messages", "model", "stream"})


@bp.post("/v1/chat")
def create_chat() -> Response:
    """Route a chat request to the best-fit model."""
    caller = guards.require_key("chat")
    body, size = read_json()
    answered = answers.answer(load(body, size), caller, openai_out.writer)
    if isinstance(answered, Response):
        return answered
    receipt = answered.receipt
    told = {
        "negotiated_model": receipt.attempts[-1].model,
        "estimated_cost_usd": usd(receipt.cost_nanousd),
        "routing_reason": receipt.attempts[-1].reason,
        "decision_id": receipt.id,
        "response": openai_out.completion(answered),
    }
    return answers.present(told, receipt)


def load(body: JsonObject, body_bytes: int) -> ChatCommand:
    """Translate either body into a command. Raises InvalidRequest naming the field."""
    if "request" in body:
        outer = {name: value for name, value in body.items() if name not in ("request", "policy")}
        inner = _object(body["request"], "request")
    else:
        outer, inner = {}, {name: value for name, value in body.items() if name != "policy"}
    given = {**outer, **inner}
    unknown = sorted(set(given) - OWN_FIELDS)
    if unknown:
        raise InvalidRequest(
            f"unknown field {unknown[0]!r}; the provider's own parameters go into 'parameters'", param=unknown[0]
        )
    for name in NOT_BUILT:
        if given.get(name) is not None:
            raise FeatureUnavailable(f"{name} is not available yet")
    command = openai.load(_chat_body(given), body_bytes, dialect="native")
    command.policy = _object(body.get("policy"), "policy")
    command.not_forwarded += tuple(name for name in NOT_FORWARDED if given.get(name) is not None)
    return command


def _chat_body(given: JsonObject) -> JsonObject:
    """The same request in OpenAI's shape."""
    parameters = _object(given.get("parameters"), "parameters")
    taken = sorted(RESERVED & parameters.keys())
    if taken:
        raise InvalidRequest(f"parameters must not contain {taken[0]!r}", param=f"parameters.{taken[0]}")
    named = given.get("model_hint")
    return {
        **parameters,
        "model": given.get("model") if named is None else named,
        "messages": given.get("messages"),
        "stream": given.get("stream"),
    }


def _object(value: Any, name: str) -> JsonObject:
    """The value as an object; null counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} must be an object", param=name)
    return value
