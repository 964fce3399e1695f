"""OpenAI's dialect, which vLLM speaks too: how an answer looks whole and streamed, and which requests are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.upstream.answers import CREATED, Answer, Ask, Event, JsonObject, Refused, Usage, encode, fragments

NAME = "openai"
END = b"data: [DONE]\n\n"
TEXT_KEY = b'"content": "'
REQUEST_ID = "x-request-id"


def usage(count: Usage) -> JsonObject:
    """A count in this dialect."""
    return {
        "prompt_tokens": count.prompt,
        "completion_tokens": count.completion,
        "total_tokens": count.prompt + count.completion,
        "prompt_tokens_details": {"cached_tokens": count.cached},
        "completion_tokens_details": {"reasoning_tokens": count.reasoning},
    }


def odd_usage(prompt: Any, output: Any) -> JsonObject:
    """A count that nobody can believe."""
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": output}


def completion(ask: Ask, answer: Answer, usage: Any) -> JsonObject:
    """A whole answer; `usage` None leaves the field out."""
    message: JsonObject = {"role": "assistant", "content": "".join(answer.pieces), "refusal": None}
    if answer.thinking:
        message["reasoning_content"] = "".join(answer.thinking)
    if answer.tool_calls:
        message["content"] = None
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in answer.tool_calls
        ]
    choice: JsonObject = {"message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    body: JsonObject = {
        "id": f"chatcmpl-{ask.digest}",
        "object": "chat.completion",
        "created": CREATED,
        "model": ask.model,
        "choices": [{"index": index} | choice | _stop(answer) for index in range(ask.choices)],
        "system_fingerprint": "fp_scripted",
    }
    return body if usage is None else body | {"usage": usage}


def _stop(answer: Answer) -> JsonObject:
    return {"stop_reason": answer.stop_sequence} if answer.names_stop else {}


def deltas(answer: Answer) -> list[tuple[JsonObject, bool]]:
    """What one choice's stream consists of before its end: (delta, whether the model wrote something)."""
    found: list[tuple[JsonObject, bool]] = [
        ({"role": "assistant", "content": None if answer.tool_calls else "", "refusal": None}, False)
    ]
    found += [({"reasoning_content": piece}, True) for piece in answer.thinking]
    found += [({"content": piece}, True) for piece in answer.pieces]
    for index, (call_id, name, arguments) in enumerate(answer.tool_calls):
        opening = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        found.append(({"tool_calls": [opening]}, True))
        found += [
            ({"tool_calls": [{"index": index, "function": {"arguments": part}}]}, True) for part in fragments(arguments)
        ]
    return found


def events(ask: Ask, answer: Answer, usage: Any) -> list[Event]:
    """The events of a stream without the end mark. The usage event is there if it was asked for and `usage` is not
    None."""
    frame: JsonObject = {
        "id": f"chatcmpl-{ask.digest}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": ask.model,
        "system_fingerprint": "fp_scripted",
    }
    tail: JsonObject = {"usage": None} if ask.include_usage else {}

    def event(index: int, delta: JsonObject, finish_reason: str | None, is_content: bool) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        choice |= _stop(answer) if finish_reason else {}
        return Event(encode(frame | {"choices": [choice]} | tail), is_content)

    found = [
        event(index, delta, None, is_content) for delta, is_content in deltas(answer) for index in range(ask.choices)
    ]
    found += [event(index, {}, answer.finish_reason, False) for index in range(ask.choices)]
    if ask.include_usage and usage is not None:
        found.append(Event(encode(frame | {"choices": [], "usage": usage})))
    return found


def misplaced(kind: str, found: list[Event], honest: JsonObject) -> list[Event]:
    """The same events with the usage elsewhere: "growing" in each event, "twice", or "on-finish"."""
    if kind == "twice":
        return [*found, found[-1]]
    if kind == "on-finish":
        return [*found[:-2], _with_usage(found[-2], honest)]
    if kind != "growing":
        return found
    written = 0
    grown = []
    for event in found[:-1]:
        written += event.is_content
        grown.append(_with_usage(event, honest | {"completion_tokens": written}))
    return [*grown, found[-1]]


def _with_usage(event: Event, usage: Any) -> Event:
    return Event(re.sub(rb'(, "usage": null)?}$', b', "usage": ' + encode(usage) + b"}", event.data), event.is_content)


# ---------------------------------------------------------------- errors as OpenAI words them

_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "the scripted upstream refuses this request"),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
    402: ("insufficient_quota", "billing_not_active", "Your account is not active"),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country not supported"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it"),
    408: ("timeout", None, "Request timed out"),
    409: ("invalid_request_error", "conflict", "Conflict"),
    413: ("invalid_request_error", None, "Request too large"),
    422: ("invalid_request_error", None, "Unprocessable"),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests"),
    500: ("server_error", None, "The server had an error while processing your request"),
    503: ("server_error", "overloaded", "The engine is currently overloaded"),
}
_TYPES_BY_CODE = {"insufficient_quota": "insufficient_quota", "context_length_exceeded": "invalid_request_error"}


def error(status: int, code: str | None = None) -> JsonObject:
    """The body that OpenAI sends with a status (and a typed code). "vllm_context_length": as vLLM words it."""
    if code == "vllm_context_length":
        said = "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens."
        return {"error": {"message": said, "type": "BadRequestError", "param": "input_tokens", "code": status}}
    kind, usual, message = _ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None, ""))
    param = "messages" if code == "context_length_exceeded" else None
    return {
        "error": {
            "message": f"{message or 'scripted failure'} (scripted {status})",
            "type": _TYPES_BY_CODE.get(code or "", kind),
            "param": param,
            "code": code or usual,
        }
    }


def refusal(refused: Refused) -> JsonObject:
    """The body for a request that is not as it must be."""
    found = error(refused.status)
    found["error"] |= {"message": refused.message, "param": refused.param}
    return found


def error_event(status: int) -> Event:
    """An error in the middle of a stream."""
    return Event(encode(error(status)))


# ---------------------------------------------------------------- what is refused

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_PARTS = ("text", "image_url", "input_audio", "file", "refusal")
_MESSAGE_KEYS = frozenset(
    "role content name refusal annotations audio function_call tool_calls tool_call_id reasoning_content parsed".split()
)
"""`parsed` comes from the SDK's helpers, whose messages are sent back as they are."""
_FOREIGN = "system stop_sequences thinking thinking_blocks output_config anthropic_version tokenhub".split()
"""Another dialect's fields, and the gateway's own: here they are leaks. (Of other unknown ones nothing is said, though
the real API refuses some.)"""


def check(body: JsonObject, headers: Mapping[str, str], path: str) -> None:
    """Raise Refused where the real API would refuse the conversation, or something has leaked into the request."""
    for name in _FOREIGN:
        if name in body:
            raise Refused(f"Unknown parameter: '{name}'.", param=name)
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refused("Missing required parameter: 'messages'.", param="messages")
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        _check_message(message, path)
        if message["role"] == "tool":
            answered = message.get("tool_call_id")
            if not isinstance(answered, str) or answered not in open_calls:
                raise Refused("messages with role 'tool' must be a response to a preceding message with 'tool_calls'.")
            open_calls.remove(answered)
            continue
        _check_answered(open_calls)
        open_calls = {str(call["id"]) for call in message.get("tool_calls") or []}
    _check_answered(open_calls)


def _check_answered(open_calls: set[str]) -> None:
    if open_calls:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}"
        )


def _check_message(message: Any, path: str) -> None:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise Refused(f"Invalid value for '{path}.role'.", param=f"{path}.role")
    for name in message.keys() - _MESSAGE_KEYS:
        raise Refused(f"Unknown parameter: '{path}.{name}'.", param=f"{path}.{name}")
    content, calls = message.get("content"), message.get("tool_calls")
    if content is None and not (message["role"] == "assistant" and (calls or message.get("function_call"))):
        raise Refused(f"Invalid value for '{path}.content': expected a string, got null.", param=f"{path}.content")
    for number, part in enumerate(content if isinstance(content, list) else []):
        if not isinstance(part, dict) or part.get("type") not in _PARTS:
            raise Refused(f"Invalid value for '{path}.content[{number}].type'.", param=f"{path}.content[{number}].type")
    if calls is not None and (message["role"] != "assistant" or not isinstance(calls, list) or not calls):
        raise Refused(f"Invalid '{path}.tool_calls'.", param=f"{path}.tool_calls")
    for call in calls or []:
        function = call.get("function") if isinstance(call, dict) else None
        if not (isinstance(function, dict) and isinstance(call.get("id"), str) and call.get("type") == "function"):
            raise Refused(f"Invalid '{path}.tool_calls'.", param=f"{path}.tool_calls")
        if not isinstance(function.get("arguments"), str) or not isinstance(function.get("name"), str):
            raise Refused(f"Invalid '{path}.tool_calls': a function has a name and arguments, both strings.")
