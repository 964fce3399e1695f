"""The real `openai` SDK as the client: what it relies on is there, in the form it wants."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from tests.e2e.harness import Gateway, Key, until
from tests.upstream.answers import digest_of
from tests.upstream.process import UpstreamProcess

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
TEXT = " ".join([digest_of("hello"), *(f"word{number}" for number in range(1, 8))])


class Weather(BaseModel):
    city: str
    unit: str
    number: int


def joined(chunks: Iterable[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_a_plain_completion_is_complete(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="ok", messages=HELLO)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 8, 13)


def test_provider_fields_that_nobody_here_knows_survive(client: OpenAI) -> None:
    assert client.chat.completions.create(model="ok", messages=HELLO).system_fingerprint == "fp_scripted"


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="ok", messages=HELLO, stream=True))
    assert joined(chunks) == TEXT
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    roles = [choice.delta.role for chunk in chunks for choice in chunk.choices if choice.delta.role]
    assert roles == ["assistant"]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]


def test_usage_is_one_last_chunk_if_asked_for(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="ok", messages=HELLO, stream=True, stream_options={"include_usage": True})
    )
    assert [index for index, chunk in enumerate(chunks) if chunk.usage] == [len(chunks) - 1]
    last = chunks[-1]
    assert last.choices == []
    assert last.usage is not None and (last.usage.prompt_tokens, last.usage.completion_tokens) == (5, 8)


def test_usage_is_no_chunk_if_not_asked_for_though_the_provider_is_always_asked(
    client: OpenAI, upstream: UpstreamProcess
) -> None:
    mark = upstream.mark()
    chunks = list(client.chat.completions.create(model="ok", messages=HELLO, stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    (call,) = upstream.closed_calls(mark)
    assert call["events"] == len(chunks) + 1


def test_cached_tokens_are_told(client: OpenAI) -> None:
    usage = client.chat.completions.create(model="cached", messages=HELLO).usage
    assert usage is not None and usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 2


def test_a_length_stop_is_told_as_such(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="ok-40", messages=HELLO, max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 3


def test_several_choices_keep_their_places(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="ok", messages=HELLO, n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    with client.chat.completions.stream(model="ok", messages=HELLO, n=3) as stream:
        final = stream.get_final_completion()
    assert [choice.message.content for choice in final.choices] == [TEXT] * 3


def test_parallel_tool_calls_accumulate_with_the_sdks_own_helper(client: OpenAI) -> None:
    tools: Any = [
        openai.pydantic_function_tool(Weather, name="get_weather"),
        openai.pydantic_function_tool(Weather, name="get_forecast"),
    ]
    with client.chat.completions.stream(model="tools-parallel", messages=HELLO, tools=tools) as stream:
        final = stream.get_final_completion()
    choice = final.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls or []
    assert [call.function.name for call in calls] == ["get_weather", "get_forecast"]
    assert [call.function.parsed_arguments for call in calls] == [
        Weather(city="City 0", unit="celsius", number=0),
        Weather(city="City 1", unit="celsius", number=1),
    ]
    assert len({call.id for call in calls}) == 2


def test_tool_calls_of_a_whole_answer_pass_with_null_content(client: OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(Weather, name="get_weather")]
    message = client.chat.completions.create(model="tools", messages=HELLO, tools=tools).choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    assert json.loads(message.tool_calls[0].function.arguments)["city"] == "City 0"  # type: ignore[union-attr]


def test_a_tool_conversation_reaches_the_provider_untouched(client: OpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny ☀"},
    ]
    assert seen(client, messages=messages)["messages"] == messages


def test_a_picture_reaches_the_provider_untouched(client: OpenAI) -> None:
    url = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 12).decode()
    messages: Any = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": url, "detail": "high"}},
            ],
        }
    ]
    assert seen(client, messages=messages)["messages"] == messages


def seen(client: OpenAI, **fields: Any) -> dict[str, Any]:
    """The body that the provider saw."""
    answer = client.chat.completions.create(**({"model": "echo", "messages": HELLO} | fields))
    body: dict[str, Any] = json.loads(answer.choices[0].message.content or "")
    return body


def test_every_request_field_passes_through(client: OpenAI) -> None:
    fields: dict[str, Any] = {
        "temperature": 0.25,
        "top_p": 0.5,
        "seed": 7,
        "stop": ["a", "b"],
        "presence_penalty": -1.5,
        "frequency_penalty": 1,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "top_logprobs": 3,
        "user": "u-1",
        "metadata": {"team": "blue"},
        "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "service_tier": "auto",
        "max_completion_tokens": 999,
    }
    body = seen(client, **fields)
    assert {name: body.get(name) for name in fields} == fields
    assert body["model"] == "echo" and body["messages"] == HELLO


def test_extra_body_fields_pass_through(client: OpenAI) -> None:
    extra = {"top_k": 40, "vendor": {"deep": [1, {"x": None}], "text": "ünï𝄞"}, "guided_json": None}
    body = seen(client, extra_body=extra)
    assert {name: body.get(name) for name in extra} == extra


def test_numbers_pass_through_exactly(client: OpenAI) -> None:
    body = seen(client, extra_body={"big": 9007199254740993, "small": 1e-7, "float": 0.1})
    assert (body["big"], body["small"], body["float"]) == (9007199254740993, 1e-7, 0.1)


def test_parse_gives_an_instance_of_the_model(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="json", messages=HELLO, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="text", unit="text", number=7)


def test_a_raw_response_tells_who_answered_and_why(client: OpenAI, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="ok", messages=HELLO, extra_headers={"x-request-id": "my-own.id:1"}
    )
    assert raw.headers["x-request-id"] == "my-own.id:1"
    assert raw.headers["x-tokenhub-model"] == raw.headers["X-Negotiated-Model"] == "ok"
    assert raw.headers["x-tokenhub-provider"] == "alpha"
    assert raw.headers["x-tokenhub-reason"] == "routed-hint-exact"
    receipt = gateway.receipt(raw.headers["x-tokenhub-decision-id"])
    assert receipt["request_id"] == "my-own.id:1"
    completion = raw.parse()
    assert completion.choices[0].message.content == TEXT


def test_a_raw_stream_has_the_headers_too(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="ok", messages=HELLO, stream=True)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.headers["cache-control"] == "no-cache"
    assert raw.headers["x-tokenhub-decision-id"].startswith("dec_")
    assert raw.headers["x-request-id"]
    assert joined(raw.parse()) == TEXT


def test_nothing_of_the_providers_headers_comes_through(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="ok", messages=HELLO, stream=True)
    assert "set-cookie" not in raw.headers
    assert not raw.headers["x-request-id"].startswith("req_scripted")
    list(raw.parse())


def test_what_has_no_effect_is_told_in_a_header(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="ok", messages=HELLO, extra_body={"stream_options": {"include_usage": True}}
    )
    assert raw.headers["x-tokenhub-not-forwarded"] == "stream_options"


# ---------------------------------------------------------------- errors


def failing(gateway: Gateway, api_key: str | None = None, **fields: Any) -> openai.APIStatusError:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=api_key or gateway.first_key, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**({"model": "ok", "messages": HELLO} | fields))
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict) and set(caught.value.body) >= {"message", "type", "param", "code"}
    return caught.value


def test_a_wrong_key_is_an_authentication_error(gateway: Gateway) -> None:
    error = failing(gateway, "tokenhub_" + "0" * 64)
    assert isinstance(error, openai.AuthenticationError)
    assert error.code == "invalid_api_key"


def test_a_missing_scope_is_a_permission_error(gateway: Gateway) -> None:
    error = failing(gateway, gateway.new_key(scopes=["plan"]).secret)
    assert isinstance(error, openai.PermissionDeniedError)


def test_a_bad_value_is_a_bad_request_that_names_the_field(gateway: Gateway) -> None:
    error = failing(gateway, temperature="hot")
    assert isinstance(error, openai.BadRequestError)
    assert error.param == "temperature"


def test_an_unknown_model_of_the_list_is_a_not_found_error(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such/model")
    assert caught.value.code == "model_not_found"


def test_a_spent_budget_is_a_rate_limit_error_that_is_not_retried(gateway: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    error = failing(gateway, gateway.new_key(monthly_budget_usd=0.000001).secret)
    assert isinstance(error, openai.RateLimitError)
    assert error.code == "insufficient_quota"
    assert error.response.headers["x-should-retry"] == "false"
    assert upstream.calls(mark) == []


def test_the_sdks_own_retries_do_not_repeat_what_a_retry_cannot_cure(gateway: Gateway) -> None:
    key = gateway.new_key("poor", monthly_budget_usd=0.000001)
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=3) as client:
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="ok", messages=HELLO)
    until(lambda: bool(gateway.logs(key)))
    assert [row["error_code"] for row in gateway.logs(key)] == ["insufficient_quota"]


def test_a_keys_rate_limit_is_a_rate_limit_error_with_a_time_to_wait(gateway: Gateway, key: Key) -> None:
    assert gateway.admin("PATCH", f"/apikeys/{key.id}", {"rate_limit_rps": 1}).status == 200
    answers = [gateway.chat({"model": "ok", "messages": HELLO}, key=key.secret) for _ in range(8)]
    refused = [answer for answer in answers if answer.status == 429]
    assert [answer.status for answer in answers[:2]] == [200, 200]
    assert refused
    assert all(answer.error["code"] == "rate_limit_exceeded" for answer in refused)
    assert all(1 <= int(answer.headers["retry-after"]) <= 2 for answer in refused)
    assert all("x-should-retry" not in answer.headers for answer in refused)


def test_what_the_provider_refuses_is_a_bad_request(gateway: Gateway, upstream: UpstreamProcess) -> None:
    mark = upstream.mark()
    error = failing(gateway, model="status-400")
    assert isinstance(error, openai.BadRequestError)
    assert len(upstream.calls(mark)) == 1, "the caller's own mistake is not tried elsewhere"


def test_a_mistake_in_a_stream_request_is_a_real_status_too(gateway: Gateway) -> None:
    assert isinstance(failing(gateway, model="status-400", stream=True), openai.BadRequestError)


def test_the_sdk_lists_models_with_slashes(client: OpenAI) -> None:
    listed = {model.id: model.owned_by for model in client.models.list()}
    assert listed["ok"] == "alpha" and listed["meta-llama/Llama-3"] == "beta"
    assert client.models.retrieve("meta-llama/Llama-3").id == "meta-llama/Llama-3"
    answer = client.chat.completions.create(model="meta-llama/Llama-3", messages=HELLO)
    assert answer.choices[0].message.content == TEXT


# ---------------------------------------------------------------- many at once


def test_two_hundred_streams_at_once_are_all_complete_and_never_mixed(
    gateway: Gateway, upstream: UpstreamProcess, key: Key
) -> None:
    mark = upstream.mark()

    async def one(client: AsyncOpenAI, number: int) -> tuple[str, str, int]:
        stream = await client.chat.completions.create(
            model="slow-20-10",
            messages=[{"role": "user", "content": f"question {number}"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        return digest_of(f"question {number}"), joined(chunks), chunks[-1].usage.completion_tokens

    async def all_of_them() -> list[tuple[str, str, int]]:
        async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0, timeout=60) as client:
            return await asyncio.gather(*(one(client, number) for number in range(200)))

    rest = "".join(f" word{number}" for number in range(1, 10))
    for digest, text, tokens in asyncio.run(all_of_them()):
        assert (text, tokens) == (digest + rest, 10)
    assert [call["outcome"] for call in upstream.closed_calls(mark, model="slow-20-10")] == ["answered"] * 200
