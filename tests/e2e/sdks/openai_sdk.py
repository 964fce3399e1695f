"""The `openai` SDK, whichever major is importable. `python -m` it to have errands done over a pipe, a line each."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import openai

from tests.e2e.sdks import MORE, RESULTS, SCHEMA, Errand, Failure, JsonObject, Report, Turn, headers_of


class OpenAISdk:
    """A caller with this SDK, without retries of its own."""

    def __init__(self, url: str, api_key: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/v1", api_key=api_key, max_retries=0, timeout=30)

    def run(self, errand: Errand) -> Report:
        report = Report()
        request = request_of(errand)
        try:
            message = self._turn(request, errand.stream, report)
            if errand.then:
                request["model"] = errand.then_model or errand.model
                request["messages"] += [message, *second(errand, message)]
                self._turn(request, errand.stream, report)
        except openai.OpenAIError as error:
            report.failure = failure_of(error)
        return report

    def _turn(self, request: JsonObject, stream: bool, report: Report) -> Any:
        chat = self._client.chat.completions
        if stream:
            with chat.stream(**request, stream_options={"include_usage": True}) as events:
                completion: Any = events.get_final_completion()
                headers = headers_of(events._response.headers)
        else:
            raw = chat.with_raw_response.create(**request)
            completion, headers = raw.parse(), headers_of(raw.headers)
        report.turns.append(turn_of(completion, headers))
        return completion.choices[0].message


def request_of(errand: Errand) -> JsonObject:
    """The errand in the SDK's words."""
    content: Any = errand.text
    if errand.picture:
        url = f"data:image/png;base64,{errand.picture}"
        content = [{"type": "text", "text": errand.text}, {"type": "image_url", "image_url": {"url": url}}]
    system = [{"role": "system", "content": errand.system}] if errand.system else []
    request: JsonObject = {"model": errand.model, "messages": [*system, {"role": "user", "content": content}]}
    if errand.tools:
        request["tools"] = [
            {"type": "function", "function": {"name": name, "strict": True, "parameters": SCHEMA}}
            for name in errand.tools
        ]
    if errand.stop:
        request["stop"] = list(errand.stop)
    if errand.max_tokens:
        request["max_completion_tokens"] = errand.max_tokens
    if errand.thinks:
        request["reasoning_effort"] = "low"
    if errand.has_schema:
        wanted = {"name": "weather", "strict": True, "schema": SCHEMA}
        request["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return request


def second(errand: Errand, message: Any) -> list[JsonObject]:
    """What follows the assistant's answer."""
    if errand.then == "more":
        return [{"role": "user", "content": MORE}]
    calls = message.tool_calls or []
    return [
        {"role": "tool", "tool_call_id": call.id, "content": result}
        for call, result in zip(calls, RESULTS, strict=False)
    ]


def turn_of(completion: Any, headers: dict[str, str]) -> Turn:
    """A completion as a turn. What the SDK does not know stands on its objects all the same."""
    (choice,) = completion.choices
    message, usage = choice.message, completion.usage
    prompt, output = usage.prompt_tokens_details, usage.completion_tokens_details
    return Turn(
        id=completion.id,
        model=completion.model,
        text=message.content or "",
        finish=choice.finish_reason,
        stop=getattr(choice, "stop_reason", None),
        usage={
            "prompt": usage.prompt_tokens,
            "completion": usage.completion_tokens,
            "cached": getattr(prompt, "cached_tokens", 0) or 0,
            "cache_write": getattr(prompt, "cache_write_tokens", 0) or 0,
            "reasoning": getattr(output, "reasoning_tokens", 0) or 0,
        },
        calls=[(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []],
        thinking=getattr(message, "reasoning_content", None) or "",
        seals=[block["signature"] for block in getattr(message, "thinking_blocks", None) or []],
        headers=headers,
    )


def failure_of(error: openai.OpenAIError) -> Failure:
    """The exception. One that an event in the stream caused has no status and no headers; one that the SDK's helper
    raises for an answer that is no use to it has nothing at all."""
    response = getattr(error, "response", None)
    return Failure(
        kind=type(error).__name__,
        status=getattr(error, "status_code", None),
        type=getattr(error, "type", None),
        code=getattr(error, "code", None),
        message=str(error),
        request_id=getattr(error, "request_id", None),
        headers=headers_of(response.headers) if response is not None else {},
    )


def main() -> None:
    """Say which SDK this is, then do the errands of standard input."""
    sdk = OpenAISdk(*sys.argv[1:3])
    print(openai.__version__, flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(sdk.run(Errand(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
