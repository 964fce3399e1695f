"""The `anthropic` SDK."""

from __future__ import annotations

from typing import Any

import anthropic

from tests.e2e.sdks import MORE, RESULTS, SCHEMA, Errand, Failure, JsonObject, Report, Turn, headers_of

MAX_TOKENS = 4096
THINKING_TOKENS = 1024


class AnthropicSdk:
    """A caller with this SDK, without retries of its own."""

    def __init__(self, url: str, api_key: str) -> None:
        self._client = anthropic.Anthropic(base_url=url, api_key=api_key, max_retries=0, timeout=30)

    def run(self, errand: Errand) -> Report:
        report = Report()
        request = request_of(errand)
        try:
            message = self._turn(request, errand.stream, report)
            if errand.then:
                request["model"] = errand.then_model or errand.model
                said = {"role": "assistant", "content": message.content}
                request["messages"] += [said, {"role": "user", "content": second(errand, message)}]
                self._turn(request, errand.stream, report)
        except anthropic.APIError as error:
            report.failure = failure_of(error)
        return report

    def _turn(self, request: JsonObject, stream: bool, report: Report) -> Any:
        if stream:
            with self._client.messages.stream(**request) as events:
                message: Any = events.get_final_message()
                headers = headers_of(events.response.headers)
        else:
            raw = self._client.messages.with_raw_response.create(**request)
            message, headers = raw.parse(), headers_of(raw.headers)
        report.turns.append(turn_of(message, headers))
        return message


def request_of(errand: Errand) -> JsonObject:
    """The errand in the SDK's words."""
    content: Any = errand.text
    if errand.picture:
        source = {"type": "base64", "media_type": "image/png", "data": errand.picture}
        content = [{"type": "text", "text": errand.text}, {"type": "image", "source": source}]
    request: JsonObject = {
        "model": errand.model,
        "max_tokens": errand.max_tokens or MAX_TOKENS,
        "messages": [{"role": "user", "content": content}],
    }
    if errand.system:
        request["system"] = errand.system
    if errand.tools:
        request["tools"] = [{"name": name, "input_schema": SCHEMA} for name in errand.tools]
    if errand.stop:
        request["stop_sequences"] = list(errand.stop)
    if errand.thinks:
        request["thinking"] = {"type": "enabled", "budget_tokens": THINKING_TOKENS}
    if errand.has_schema:
        request["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return request


def second(errand: Errand, message: Any) -> str | list[JsonObject]:
    """The user's turn after the assistant's answer."""
    if errand.then == "more":
        return MORE
    calls = [block for block in message.content if block.type == "tool_use"]
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": result}
        for call, result in zip(calls, RESULTS, strict=False)
    ]


def turn_of(message: Any, headers: dict[str, str]) -> Turn:
    """A message as a turn."""
    blocks, usage = message.content, message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    thoughts = [block for block in blocks if block.type == "thinking"]
    return Turn(
        id=message.id,
        model=message.model,
        text="".join(block.text for block in blocks if block.type == "text"),
        finish=message.stop_reason,
        stop=message.stop_sequence,
        usage={
            "prompt": usage.input_tokens + read + written,
            "completion": usage.output_tokens,
            "cached": read,
            "cache_write": written,
            "reasoning": getattr(usage.output_tokens_details, "thinking_tokens", 0),
        },
        calls=[(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"],
        thinking="".join(block.thinking for block in thoughts),
        seals=[block.signature for block in thoughts if block.signature]
        + [block.data for block in blocks if block.type == "redacted_thinking"],
        headers=headers,
    )


def failure_of(error: anthropic.APIError) -> Failure:
    """The exception; this SDK has no codes, and finds the type in the body."""
    body = error.body if isinstance(error.body, dict) else {}
    response = getattr(error, "response", None)
    return Failure(
        kind=type(error).__name__,
        status=getattr(error, "status_code", None),
        type=(body.get("error") or {}).get("type"),
        code=None,
        message=error.message,
        request_id=getattr(error, "request_id", None),
        headers=headers_of(response.headers) if response is not None else {},
    )
