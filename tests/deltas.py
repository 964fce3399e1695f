"""Hypothesis strategies: answers in the inner language as a provider may stream them."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from hypothesis import strategies as st

from tokenhub.domain.chat import Chunk, Delta, TextDelta, ThinkingDelta, ToolUseDelta, ToolUseStart

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=4)


@dataclass
class Answer:
    """A streamed answer, and what it says when put together."""

    deltas: list[Delta]
    text: str
    reasoning: str
    signed: list[tuple[str, str]]
    """Text and signature of every signed stretch of reasoning; no text where it is redacted."""
    calls: list[tuple[str, str, str]]
    """Id, name and arguments of every tool call."""

    def chunks(self, reason: str = "stop") -> list[Chunk]:
        """One chunk for each delta, and a last one with the reason."""
        return [Chunk(b"", deltas=(delta,)) for delta in self.deltas] + [Chunk(b"", finish_reason=reason)]


@st.composite
def _stretches(draw: st.DrawFn, kinds: list[str]) -> list[Delta]:
    """Text, or a stretch of reasoning: what is not interrupted."""
    kind = draw(st.sampled_from(kinds))
    if kind == "text":
        return [TextDelta(text) for text in draw(st.lists(TEXTS, max_size=3))]
    if kind == "redacted":
        return [ThinkingDelta(signature=draw(WORDS), redacted=True)]
    thoughts: list[Delta] = [ThinkingDelta(text) for text in draw(st.lists(TEXTS, max_size=3))]
    if kind == "signed":
        thoughts.append(ThinkingDelta(draw(TEXTS), draw(WORDS)))
    return thoughts


@st.composite
def _calls(draw: st.DrawFn, index: int) -> list[Delta]:
    """A call, its arguments in pieces."""
    text = orjson.dumps(draw(ARGUMENTS)).decode() if draw(st.booleans()) else ""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    start = ToolUseStart(index, f"call_{index}", draw(st.sampled_from(["look_up", "add"])))
    return [start, *(ToolUseDelta(index, piece) for piece in pieces)]


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Stretches of text and reasoning with tool calls between them, which may be written at the same time. A provider
    signs all of its reasoning, or none."""
    kinds = draw(st.sampled_from([["text", "signed", "redacted"], ["text", "unsigned"]]))
    stretches = draw(st.lists(_stretches(kinds), max_size=4))
    calls = [draw(_calls(index)) for index in range(draw(st.integers(0, 3)))]
    waiting = [list(call) for call in calls]
    begun = 0
    deltas: list[Delta] = []
    while stretches or any(waiting):
        open_calls = [call for call in waiting[: begun + 1] if call]
        turn = draw(st.integers(0, len(open_calls) if stretches else len(open_calls) - 1))
        if turn < len(open_calls):
            deltas.append(open_calls[turn].pop(0))
            begun += isinstance(deltas[-1], ToolUseStart)
        else:
            deltas += stretches.pop(0)
    return _put_together(deltas, calls)


def _put_together(deltas: list[Delta], calls: list[list[Delta]]) -> Answer:
    thoughts = [delta for delta in deltas if isinstance(delta, ThinkingDelta)]
    signed, text = [], ""
    for delta in deltas:
        if not isinstance(delta, ThinkingDelta):
            text = text if isinstance(delta, TextDelta) and not delta.text else ""
            continue
        text = "" if delta.redacted else text + delta.text
        if delta.signature:
            signed.append((text, delta.signature))
            text = ""
    return Answer(
        deltas,
        "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)),
        "".join(delta.text for delta in thoughts),
        signed,
        [
            (call[0].id, call[0].name, "".join(part.arguments for part in call[1:]))  # type: ignore[union-attr]
            for call in calls
        ],
    )
