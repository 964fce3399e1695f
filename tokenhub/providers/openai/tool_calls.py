"""The tool calls of one streamed answer: the fragments of an OpenAI-compatible server to deltas. Pure.

By the protocol each fragment has the index of its call, and the first has id and name. Servers leave indices out or
gaps between them, give every call the index 0, or tell the id, or the name, late or never: what comes out is dense,
and every call begins with an id and a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokenhub.domain.chat import Delta, JsonObject, ToolUseDelta, ToolUseStart
from tokenhub.providers.reading import dump

ID_CHARS = 24


def made_up_id(number: int, answer_id: Any) -> str:
    """An id for a call that came without one: the same each time, another one in another answer."""
    seed = re.sub(r"[^A-Za-z0-9]", "", answer_id)[-ID_CHARS:] if isinstance(answer_id, str) else ""
    return f"call_{number}_{seed}" if seed else f"call_{number}"


def arguments_text(value: Any) -> str:
    """A call's arguments as JSON text; some servers send them as an object."""
    if isinstance(value, str):
        return value
    return "" if value is None else dump(value).decode()


@dataclass(slots=True)
class _Call:
    id: str
    name: str = ""
    number: int = -1
    """Its place among those that have been told; -1: not yet told, for want of a name."""
    held: str = ""
    """Arguments that came before the name."""

    @property
    def is_told(self) -> bool:
        return self.number >= 0


class ToolCalls:
    """Numbers the calls of one answer; `begun` is how many there are."""

    def __init__(self) -> None:
        self._told_count = 0
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    @property
    def begun(self) -> int:
        """How many calls there are so far."""
        return len(self._calls)

    def read(self, delta: JsonObject, answer_id: Any) -> Iterator[Delta]:
        """What a choice's delta tells of tool calls."""
        fragments = delta.get("tool_calls")
        for fragment in fragments if isinstance(fragments, list) else ():
            if isinstance(fragment, dict):
                yield from self._fragment(fragment, fragment.get("function"), answer_id)
        if isinstance(delta.get("function_call"), dict):
            yield from self._fragment({}, delta["function_call"], answer_id)

    def rest(self, answer_id: Any) -> Iterator[Delta]:
        """At the end of the answer: calls that never got a name."""
        for call in self._calls:
            if not call.is_told:
                yield from self._told(call, "", answer_id)

    def _fragment(self, fragment: JsonObject, function: Any, answer_id: Any) -> Iterator[Delta]:
        function = function if isinstance(function, dict) else {}
        call = self._call_of(fragment, _text(function.get("name")))
        arguments = arguments_text(function.get("arguments"))
        if call.is_told and arguments:
            yield ToolUseDelta(call.number, arguments)
        elif not call.is_told and call.name:
            yield from self._told(call, arguments, answer_id)
        elif not call.is_told:
            call.held += arguments

    def _told(self, call: _Call, arguments: str, answer_id: Any) -> Iterator[Delta]:
        call.number = self._told_count
        self._told_count += 1
        yield ToolUseStart(call.number, call.id or made_up_id(call.number, answer_id), call.name)
        if call.held or arguments:
            yield ToolUseDelta(call.number, call.held + arguments)

    def _call_of(self, fragment: JsonObject, name: str) -> _Call:
        """The call that a fragment belongs to, with what the fragment tells of it."""
        call_id = _text(fragment.get("id"))
        index = fragment["index"] if type(fragment.get("index")) is int else None
        if index is not None:
            call = self._by_index.get(index)
        elif call_id:
            call = self._by_id.get(call_id)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or _is_another(call, call_id, name, index is not None):
            call = _Call(call_id)
            self._calls.append(call)
        if not call.is_told:
            call.id, call.name = call.id or call_id, call.name or name
        if index is not None:
            self._by_index[index] = call
        self._by_id.setdefault(call.id, call)
        return call


def _is_another(known: _Call, call_id: str, name: str, has_index: bool) -> bool:
    """Whether a fragment that points to a known call begins another one: it has a name again, and is not the same."""
    if not known.is_told or not name:
        return False
    return call_id != known.id if call_id else (not has_index or name != known.name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
