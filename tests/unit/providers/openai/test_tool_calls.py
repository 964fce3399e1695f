from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenhub.domain.chat import Delta, ToolUseDelta, ToolUseStart
from tokenhub.providers.openai.tool_calls import ToolCalls, arguments_text, made_up_id


def part(index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    fragment: dict[str, Any] = {"function": {}}
    for where, key, value in (
        (fragment, "index", index),
        (fragment, "id", call_id),
        (fragment["function"], "name", name),
        (fragment["function"], "arguments", arguments),
    ):
        if value is not None:
            where[key] = value
    return fragment


def told(*fragments: Any, answer_id: Any = "chatcmpl-9") -> list[Delta]:
    calls = ToolCalls()
    deltas = [delta for one in fragments for delta in calls.read({"tool_calls": [one]}, answer_id)]
    return [*deltas, *calls.rest(answer_id)]


def whole(deltas: list[Delta]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call; fails unless the grammar of deltas is kept."""
    calls: list[list[str]] = []
    for delta in deltas:
        if isinstance(delta, ToolUseStart):
            assert delta.index == len(calls)
            calls.append([delta.id, delta.name, ""])
        else:
            assert isinstance(delta, ToolUseDelta) and delta.index < len(calls) and delta.arguments
            calls[delta.index][2] += delta.arguments
    return [(call_id, name, arguments) for call_id, name, arguments in calls]


ONE, TWO = ("a", "add", '{"x":1}'), ("b", "sub", '{"y":2}')
REAL = {
    "OpenAI": [part(0, "a", "add", ""), part(0, None, None, '{"x":'), part(0, None, None, "1}")]
    + [part(1, "b", "sub", ""), part(1, None, None, '{"y":2}')],
    "gaps between indices": [part(2, "a", "add", '{"x":1}'), part(7, "b", "sub", '{"y":2}')],
    "indices from one, mixed": [part(1, "a", "add"), part(2, "b", "sub"), part(2, None, None, '{"y":2}')]
    + [part(1, None, None, '{"x":1}')],
    "no index, whole calls": [part(None, "a", "add", '{"x":1}'), part(None, "b", "sub", '{"y":2}')],
    "no index, in pieces": [part(None, "a", "add", '{"x":'), part(None, None, None, "1}")]
    + [part(None, "b", "sub"), part(None, "b", None, '{"y":2}')],
    "every index 0": [part(0, "a", "add", '{"x":1}'), part(0, "b", "sub", '{"y":2}')],
    "id and name again and again": [part(0, "a", "add", '{"x":'), part(0, "a", "add", "1}")]
    + [part(1, "b", "sub", '{"y":'), part(1, "b", "sub", "2}")],
    "another id in each piece": [
        part(0, "a", "add", '{"x":'),
        part(0, "z", None, "1}"),
        part(1, "b", "sub", '{"y":2}'),
    ],
    "the name late": [part(0, "a", None, '{"x"'), part(0, None, "add", ":1}"), part(1, "b", "sub", '{"y":2}')],
    "the id late": [part(0, None, None, ""), part(0, "a", "add", '{"x":1}'), part(1, "b", "sub", '{"y":2}')],
    "arguments as an object": [part(0, "a", "add", {"x": 1}), part(1, "b", "sub", {"y": 2})],
    "index as null or text": [{**part(0, "a", "add", '{"x":1}'), "index": None}]
    + [{**part(0, "b", "sub", '{"y":2}'), "index": "1"}],
}


@pytest.mark.parametrize("fragments", REAL.values(), ids=REAL.keys())
def test_whatever_a_server_does_about_index_and_id_the_calls_are_whole_and_dense(fragments: list[Any]) -> None:
    assert whole(told(*fragments)) == [ONE, TWO]


def test_a_call_without_an_id_gets_one_that_is_the_same_each_time_and_differs_between_answers() -> None:
    fragments = [part(0, None, "add", "{}"), part(1, "", "add", "{}")]
    ids = [call[0] for call in whole(told(*fragments))]
    assert ids == [made_up_id(0, "chatcmpl-9"), made_up_id(1, "chatcmpl-9")] == ["call_0_chatcmpl9", "call_1_chatcmpl9"]
    assert [call[0] for call in whole(told(*fragments, answer_id=None))] == ["call_0", "call_1"]


def test_same_named_calls_without_index_and_id_are_two() -> None:
    assert len(whole(told(part(None, None, "add", "{}"), part(None, None, "add", "{}")))) == 2


def test_the_older_function_call_is_a_call() -> None:
    calls = ToolCalls()
    deltas = [
        delta
        for function in ({"name": "add", "arguments": ""}, {"arguments": '{"x":'}, {"arguments": "1}"})
        for delta in calls.read({"function_call": function}, "c")
    ]
    assert whole(deltas) == [("call_0_c", "add", '{"x":1}')] and calls.begun == 1


def test_a_call_that_never_gets_a_name_is_told_at_the_end() -> None:
    assert whole(told(part(0, "a", None, "{}"))) == [("a", "", "{}")]


@pytest.mark.parametrize("delta", [{}, {"tool_calls": None}, {"tool_calls": "x"}, {"tool_calls": [7, None]}])
def test_what_is_no_call_is_none(delta: dict[str, Any]) -> None:
    calls = ToolCalls()
    assert list(calls.read(delta, "c")) == [] and calls.begun == 0


def test_arguments_are_text_as_it_came_or_made_of_what_came() -> None:
    assert [arguments_text(value) for value in ("{broken", {"a": 1}, None)] == ["{broken", '{"a":1}', ""]


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.sampled_from(["", "a", "b"]), st.just([1]))


@given(st.lists(st.builds(part, ANYTHING, ANYTHING, ANYTHING, ANYTHING), max_size=8))
def test_no_fragments_whatever_break_the_grammar(fragments: list[Any]) -> None:
    assert all(call_id for call_id, _, _ in whole(told(*fragments)))
