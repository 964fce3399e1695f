from __future__ import annotations

import orjson

from tests.unit.providers.conftest import a_command
from tokenhub.domain.chat import (
    ChatCommand,
    Message,
    Parameters,
    Text,
    TextDelta,
    Tool,
    ToolChoice,
    ToolUse,
    ToolUseDelta,
    ToolUseStart,
)
from tokenhub.providers.demo import wire

TOOL = {"type": "function", "function": {"name": "now", "parameters": {"properties": {"zone": {"type": "string"}}}}}


def drafted(command: ChatCommand) -> wire.Draft:
    return wire.draft(command, model="demo-fast", answer_id="chatcmpl-1", created_s=7, is_brief=True)


def test_a_whole_answer_is_a_chat_completion() -> None:
    reply = wire.whole(drafted(a_command("hello")))
    choice = reply.raw["choices"][0]
    assert reply.raw["object"] == "chat.completion" and reply.raw["model"] == "demo-fast"
    assert choice["finish_reason"] == "stop" and choice["message"]["content"].startswith("Hello!")
    assert reply.usage and reply.usage.output == reply.raw["usage"]["completion_tokens"] > 5
    assert reply.raw["usage"]["total_tokens"] == reply.usage.input + reply.usage.output
    assert reply.text_bytes == len(choice["message"]["content"].encode())


def test_the_chunks_add_up_to_the_whole_answer() -> None:
    answer = drafted(a_command("hello"))
    chunks = list(wire.chunks(answer))
    events = [orjson.loads(chunk.payload) for chunk in chunks]
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == answer.text
    assert [delta.get("role") for delta in deltas].count("assistant") == 1
    assert {(event["id"], event["created"], event["model"]) for event in events} == {("chatcmpl-1", 7, "demo-fast")}
    assert chunks[-2].finish_reason == "stop" and events[-2]["usage"] is None
    assert events[-1]["choices"] == [] and chunks[-1].choice_count == 0 and chunks[-1].usage == answer.usage
    assert sum(chunk.text_bytes for chunk in chunks) == wire.whole(answer).text_bytes
    assert not chunks[0].is_content and chunks[1].is_content


def test_the_cap_on_output_tokens_and_stop_sequences_are_kept() -> None:
    command = a_command("hello")
    command.max_output_tokens = 2
    answer = drafted(command)
    assert (len(answer.pieces), answer.finish_reason, answer.usage.output) == (2, "length", 2)
    stopped = drafted(a_command("hello", stop=["was routed", "came", 7]))
    assert stopped.text.rstrip() == "Hello! Your request" and stopped.finish_reason == "stop"
    assert drafted(a_command("hello", stop="Your")).text.rstrip() == "Hello!"


def test_a_forced_tool_call_is_whole_and_streamed_alike() -> None:
    command = a_command("hello", tools=[TOOL], tool_choice="required")
    answer = drafted(command)
    message = wire.whole(answer).raw["choices"][0]["message"]
    assert message["content"] is None and answer.finish_reason == "tool_calls"
    assert message["tool_calls"][0]["function"] == {"name": "now", "arguments": '{"zone":"demo"}'}
    deltas = [orjson.loads(chunk.payload)["choices"][0]["delta"] for chunk in list(wire.chunks(answer))[:-1]]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert all(call["index"] == 0 for call in calls) and [call.get("id") for call in calls].count("call_demo") == 1
    assert orjson.loads("".join(call["function"]["arguments"] for call in calls)) == {"zone": "demo"}


def test_several_choices_are_given_in_order_and_counted() -> None:
    command = a_command("hello")
    command.choices = 2
    answer = drafted(command)
    assert [choice["index"] for choice in wire.whole(answer).raw["choices"]] == [0, 1]
    assert answer.usage.output == 2 * len(answer.pieces)
    events = [orjson.loads(chunk.payload) for chunk in wire.chunks(answer)]
    assert [event["choices"][0]["index"] for event in events[:4]] == [0, 1, 0, 1]


# ---------------------------------------------------------------- callers of another dialect


def crossing(text: str = "hello", **given: object) -> ChatCommand:
    tools = [Tool("now", "", TOOL["function"]["parameters"])]  # type: ignore[index]
    parameters = Parameters(**given)  # type: ignore[arg-type]
    return ChatCommand("anthropic", {}, 9, [Message("user", [Text(text)])], tools=tools, parameters=parameters)


def test_another_dialect_is_answered_in_blocks_and_deltas() -> None:
    command = crossing()
    answer = drafted(command)
    reply, chunks = wire.reply_to(command, answer), list(wire.chunks_to(command, answer))
    assert reply.blocks == [Text(answer.text)] and reply.finish_reason == "stop"
    deltas = [delta for chunk in chunks for delta in chunk.deltas]
    assert deltas == [TextDelta(piece) for piece in answer.pieces]
    assert chunks[-2].finish_reason == "stop" and chunks[-1].usage == reply.usage == answer.usage
    assert {chunk.payload for chunk in chunks} == {b""}


def test_a_call_that_another_dialect_insists_on_is_made() -> None:
    for choice in (ToolChoice("required"), ToolChoice("tool", "now")):
        command = crossing(tool_choice=choice)
        answer = drafted(command)
        reply = wire.reply_to(command, answer)
        assert reply.blocks == [ToolUse("call_demo", "now", '{"zone":"demo"}')] and reply.finish_reason == "tool_use"
        deltas = [delta for chunk in wire.chunks_to(command, answer) for delta in chunk.deltas]
        assert deltas == [ToolUseStart(0, "call_demo", "now"), ToolUseDelta(0, '{"zone":"demo"}')]
    assert drafted(crossing(tool_choice=ToolChoice("auto"))).call is None


def test_another_dialects_schema_and_stop_texts_are_kept_to() -> None:
    shaped = drafted(crossing(output_schema={"type": "object", "properties": {"n": {"type": "integer"}}}))
    assert orjson.loads(shaped.text) == {"n": 1}
    command = crossing(stop=("never said", "Your"))
    reply = wire.reply_to(command, drafted(command))
    assert (reply.blocks, reply.finish_reason, reply.stop_sequence) == ([Text("Hello! ")], "stop_sequence", "Your")


def test_callers_of_the_same_shape_are_answered_in_it() -> None:
    command = a_command("hello")
    answer = drafted(command)
    assert wire.reply_to(command, answer) == wire.whole(answer)
    assert list(wire.chunks_to(command, answer)) == list(wire.chunks(answer))
