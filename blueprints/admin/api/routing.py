"""/admin/v1/routing/simulate: where a request would go, and why, with nothing sent."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response
from marshmallow import fields

from blueprints.admin.api.resource import Resource, Strict, answer
from blueprints.chat import openai
from blueprints.services import services
from tokenhub.domain.catalog import CAPABILITIES, Target
from tokenhub.domain.chat import JsonObject
from tokenhub.domain.eligibility import Candidate
from tokenhub.domain.itinerary import Attempt
from tokenhub.domain.money import usd
from tokenhub.domain.policy import TABLE
from tokenhub.errors import InvalidRequest
from tokenhub.services import rules
from tokenhub.services.routing import RULES, Question, Simulation

KNOBS = tuple(knob.name for knob in TABLE)
BODY = ("messages", "tools", "response_format", "n", "max_tokens", "stream")
"""Fields that mean what they mean in a chat completion."""
PARTS = ("cost", "latency", "errors", "weight")
USUAL_TOKENS = 500
"""Input of a request of which nothing is said."""

resource = Resource("routing", __name__, "Routing, before anything is sent")


def _field(kind: str, about: str, **more: Any) -> fields.Raw:
    """A field whose value is checked later, by whoever checks it in a request."""
    return fields.Raw(allow_none=True, metadata={"type": kind, "description": about, **more})


class RequestToSimulate(Strict):
    """A request that is not sent. Beside these fields it takes those of the policy table."""

    model = _field("string", "The model that is asked for; absent: any")
    model_hint = _field("string", "The same")
    messages = _field("array", "OpenAI's; their tokens are estimated")
    tools = _field("array", "OpenAI's")
    response_format = _field("object", "OpenAI's")
    n = _field("integer", "Choices")
    max_tokens = _field("integer", "The caller's cap on the answer")
    stream = _field("boolean", "Whether the answer is to be streamed")
    token_count = _field("integer", f"Input tokens; default: as messages have, else {USUAL_TOKENS}")
    needs = _field("array", "What the model must be able to do", items={"type": "string", "enum": list(CAPABILITIES)})
    key_id = _field("string", "As whom; absent: a caller without limits")
    seed = _field("string", "Breaks ties, the same one always the same way")


Asked = RequestToSimulate.from_dict(
    {
        knob.name: fields.Raw(allow_none=True, metadata={"description": f"{knob.about}: {knob.accepted}"})
        for knob in TABLE
    },
    name="Simulation",
)


class Result(Strict):
    """What would happen."""

    chosen = fields.Dict(allow_none=True, metadata={"description": "What would answer; null: refused"})
    then = fields.List(fields.Dict(), metadata={"description": "What would follow, if each fails for a while"})
    refusal = fields.Dict(allow_none=True, metadata={"description": "What the caller would be told instead"})
    hint = fields.Dict(metadata={"description": "What the model name stands for"})
    candidates = fields.List(fields.Dict(), metadata={"description": "All that are eligible, best first"})
    candidates_total = fields.Integer()
    rejected = fields.List(fields.Dict(), metadata={"description": "All that are not, each with its reason"})
    rejected_total = fields.Integer()
    policy = fields.Dict(metadata={"description": "The merged policy, with who set each value"})
    set_aside = fields.List(
        fields.String(), metadata={"description": "What the server wished for, and would have left nothing"}
    )
    clamped = fields.Dict(metadata={"description": "What asks for more than there is: asked, and used instead"})
    input_tokens_estimated = fields.Integer()


@resource.serves("POST", "/simulate", gives=Result, takes=Asked)
def simulate(values: dict[str, Any]) -> Response:
    """Tell where a request would go. Nothing is sent, reserved or logged."""
    try:
        return answer(present(services().routing.simulate(load(values))))
    except InvalidRequest as error:
        raise error if error.fields else _of_field(error) from error


def load(values: JsonObject) -> Question:
    """The question that a body asks. Raises InvalidRequest naming each bad field."""
    given = {name: value for name, value in values.items() if value is not None}
    own = rules.check({name: given[name] for name in RULES if name in given}, RULES)
    body = {name: given[name] for name in BODY if name in given}
    body["model"] = given.get("model_hint", given.get("model"))
    if "messages" not in body:
        body["messages"] = [{"role": "user", "content": "?"}]
        own.setdefault("token_count", USUAL_TOKENS)
    command = openai.load(body, len(orjson.dumps(body)), dialect="native")
    command.policy = {name: given[name] for name in KNOBS if name in given}
    return Question(command, **own)


def present(found: Simulation) -> JsonObject:
    """A simulation as JSON."""
    hint, prepared, refusal = found.hint, found.prepared, found.refusal
    return {
        "chosen": _attempt(found.attempts[0]) if found.attempts else None,
        "then": [_target(attempt.target) for attempt in found.attempts[1:]],
        "refusal": None if refusal is None else {"code": refusal.code, "message": refusal.message},
        "hint": {"asked": hint.asked, "kind": hint.kind, "models": hint.model_ids},
        "candidates": [_candidate(candidate) for candidate in found.candidates],
        "candidates_total": len(found.candidates),
        "rejected": [rejection.as_json() for rejection in found.rejections],
        "rejected_total": len(found.rejections),
        "policy": prepared.policy.as_json(),
        "set_aside": found.set_aside,
        "clamped": {name: {"asked": asked, "used": used} for name, (asked, used) in found.clamped.items()},
        "input_tokens_estimated": prepared.input_tokens,
    }


def _attempt(attempt: Attempt) -> JsonObject:
    return {**_candidate(attempt.candidate), "reason": attempt.reason}


def _target(target: Target) -> JsonObject:
    return {"model": target.model.id, "provider": target.provider.id}


def _candidate(candidate: Candidate) -> JsonObject:
    estimate, predicted_ms = candidate.estimate_nanousd, candidate.predicted_ms
    return {
        **_target(candidate.target),
        "score": round(candidate.score, 6),
        "parts": {name: round(part, 6) for name, part in zip(PARTS, candidate.parts, strict=True)},
        "estimated_cost_usd": None if estimate is None else usd(estimate),
        "predicted_latency_ms": None if predicted_ms is None else round(predicted_ms),
    }


def _of_field(error: InvalidRequest) -> InvalidRequest:
    """The same, as the admin API says it: beside the field."""
    name = (error.param or "").removeprefix("policy.")
    return rules.invalid({name: [error.message]})
