"""Which requests Anthropic's real API refuses with a 400 (a missing key: 401). Pure.

Top-level fields that are in neither dialect are let through, though the real API refuses them: tests send some to see
them arrive. Fields of OpenAI's and the gateway's own are refused, so that a leak is seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.upstream.answers import JsonObject, Refused, is_sealed, signature_of

_FOREIGN = """
    stop n seed user logprobs top_logprobs logit_bias stream_options response_format frequency_penalty presence_penalty
    max_completion_tokens parallel_tool_calls reasoning_effort functions function_call modalities prediction store
    tokenhub thinking_blocks
""".split()
_USERS = frozenset(("text", "image", "document", "tool_result", "search_result", "container_upload"))
_ASSISTANTS = frozenset(("text", "tool_use", "thinking", "redacted_thinking", "server_tool_use"))
_BLOCK_KEYS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "text": (frozenset(("text",)), frozenset(("citations",))),
    "image": (frozenset(("source",)), frozenset()),
    "document": (frozenset(("source",)), frozenset(("title", "context", "citations"))),
    "tool_use": (frozenset(("id", "name", "input")), frozenset(("caller", "toolset_name"))),
    "tool_result": (frozenset(("tool_use_id",)), frozenset(("content", "is_error"))),
    "thinking": (frozenset(("thinking", "signature")), frozenset()),
    "redacted_thinking": (frozenset(("data",)), frozenset()),
}
"""Block type -> the fields it must have, and those it may have beside `type` and `cache_control`."""
_SOURCES = {"base64": {"type", "media_type", "data"}, "url": {"type", "url"}, "file": {"type", "file_id"}}
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ID = re.compile(r"[a-zA-Z0-9_-]+")
MIN_THINKING_TOKENS = 1024


def check(body: JsonObject, headers: Mapping[str, str], path: str) -> None:
    """Raise Refused where the real API would refuse the request."""
    if not headers.get("x-api-key") and not headers.get("authorization"):
        raise Refused("x-api-key header is required", 401)
    if "anthropic-version" not in headers:
        raise Refused("anthropic-version: header is required")
    for name in _FOREIGN:
        if name in body:
            raise Refused(f"{name}: Extra inputs are not permitted")
    for name in ("model", "messages"):
        if not body.get(name):
            raise Refused(f"{name}: Field required")
    if not path.endswith("/count_tokens"):
        _check_numbers(body)
    _check_system(body.get("system", ""))
    _check_tools(body)
    _check_conversation(body["messages"])


def _check_numbers(body: JsonObject) -> None:
    cap = body.get("max_tokens")
    if not isinstance(cap, int) or isinstance(cap, bool) or cap < 1:
        raise Refused("max_tokens: Field required" if cap is None else "max_tokens: must be a positive integer")
    for name in ("temperature", "top_p"):
        value = body.get(name, 0)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise Refused(f"{name}: range: 0..1")
    thinking = body.get("thinking")
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "disabled", "adaptive"):
        raise Refused("thinking: Input tag must be one of 'enabled', 'disabled', 'adaptive'")
    if thinking["type"] != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < MIN_THINKING_TOKENS:
        raise Refused(f"thinking.enabled.budget_tokens: must be at least {MIN_THINKING_TOKENS}")
    if budget >= cap:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`")
    if body.get("temperature", 1) != 1 or "top_k" in body:
        raise Refused("`temperature` may only be set to 1 and `top_k` must be unset when thinking is enabled")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
    _check_thought(body["messages"])


def _check_thought(messages: Any) -> None:
    """Where the model goes on after tool calls, it must find the reasoning that led to them."""
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    calling = [turn for turn in turns if turn.get("role") == "assistant"][-1:]
    for turn in calling if turns[-1].get("role") == "user" else []:
        kinds = [block.get("type") for block in turn.get("content", []) if isinstance(block, dict)]
        if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
            raise Refused(f"Expected `thinking` or `redacted_thinking`, but found `{kinds[0]}`")


def _check_system(system: Any) -> None:
    if not isinstance(system, str):
        for block in system if isinstance(system, list) else [None]:
            _check_block(block, "system", frozenset(("text",)))


def _check_tools(body: JsonObject) -> None:
    for index, tool in enumerate(body.get("tools") or []):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise Refused(f"tools.{index}.name: Field required")
        if tool.get("type", "custom") == "custom" and (
            not isinstance(tool.get("input_schema"), dict) or tool["input_schema"].get("type") != "object"
        ):
            raise Refused(f"tools.{index}.custom.input_schema.type: Field required")
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
        raise Refused("tool_choice: Input tag must be one of 'auto', 'any', 'tool', 'none'")
    if not body.get("tools"):
        raise Refused("tool_choice may only be specified while providing tools")


# ---------------------------------------------------------------- the conversation


def _check_conversation(messages: Any) -> None:
    if not isinstance(messages, list) or not isinstance(messages[0], dict) or messages[0].get("role") != "user":
        raise Refused('messages: first message must use the "user" role')
    awaited: list[str] = []
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        blocks = _blocks(message, path, is_last=index == len(messages) - 1)
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if any(block["type"] == "tool_result" for block in blocks[len(results) :]):
            raise Refused(f"{path}: `tool_result` blocks must come before all other content")
        _check_results(awaited, results, path)
        awaited = [block["id"] for block in blocks if block["type"] == "tool_use"]
    _check_results(awaited, [], "messages")


def _check_results(awaited: list[str], results: list[str], path: str) -> None:
    """Every call has exactly one result, in the very next message."""
    for call_id in results:
        if call_id not in awaited:
            raise Refused(f"{path}: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}")
    if missing := [call_id for call_id in awaited if call_id not in results]:
        raise Refused(
            f"{path}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}"
        )
    if len(set(results)) < len(results):
        raise Refused(f"{path}: each tool_use must have a single result")


def _blocks(message: Any, path: str, *, is_last: bool) -> list[JsonObject]:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        raise Refused(f"{path}.role: Input should be 'user' or 'assistant'")
    for name in message.keys() - {"role", "content"}:
        raise Refused(f"{path}.{name}: Extra inputs are not permitted")
    content = message.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(blocks, list) or (not blocks and not (is_last and message["role"] == "assistant")):
        raise Refused(f"{path}: all messages must have non-empty content except for the optional final assistant one")
    allowed = _USERS if message["role"] == "user" else _ASSISTANTS
    for index, block in enumerate(blocks):
        _check_block(block, f"{path}.content.{index}", allowed)
    last = blocks[-1] if blocks else {}
    if (
        is_last
        and message["role"] == "assistant"
        and last.get("type") == "text"
        and last["text"] != last["text"].rstrip()
    ):
        raise Refused("messages: final assistant content cannot end with trailing whitespace")
    return blocks


def _check_block(block: Any, path: str, allowed: frozenset[str]) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in allowed:
        raise Refused(f"{path}: Input tag '{kind}' found does not match any of the expected tags: {sorted(allowed)}")
    needed, may = _BLOCK_KEYS.get(kind, (frozenset(), frozenset(block)))
    for name in needed - block.keys():
        raise Refused(f"{path}.{kind}.{name}: Field required")
    for name in block.keys() - needed - may - {"type", "cache_control"}:
        raise Refused(f"{path}.{kind}.{name}: Extra inputs are not permitted")
    if kind in _CHECKS:
        _CHECKS[kind](block, path)


def _check_text(block: JsonObject, path: str) -> None:
    if not isinstance(block["text"], str) or not block["text"]:
        raise Refused(f"{path}: text content blocks must be non-empty")


def _check_image(block: JsonObject, path: str) -> None:
    source = block["source"]
    if not isinstance(source, dict) or source.keys() != _SOURCES.get(source.get("type", "")):
        raise Refused(f"{path}.image.source: Input should be a base64, url or file source")
    if source["type"] == "base64" and source["media_type"] not in _PICTURES:
        raise Refused(f"{path}.image.source.base64.media_type: Input should be one of {', '.join(_PICTURES)}")


def _check_call(block: JsonObject, path: str) -> None:
    if not isinstance(block["id"], str) or not _ID.fullmatch(block["id"]):
        raise Refused(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block["input"], dict):
        raise Refused(f"{path}.tool_use.input: Input should be a valid dictionary")


def _check_result(block: JsonObject, path: str) -> None:
    content = block.get("content", "")
    if not isinstance(content, str):
        for index, part in enumerate(content if isinstance(content, list) else [None]):
            _check_block(part, f"{path}.tool_result.content.{index}", frozenset(("text", "image", "document")))


def _check_thinking(block: JsonObject, path: str) -> None:
    if block["signature"] != signature_of(str(block["thinking"])):
        raise Refused(f"{path}: Invalid `signature` in `thinking` block")


def _check_redacted(block: JsonObject, path: str) -> None:
    if not isinstance(block["data"], str) or not is_sealed(block["data"]):
        raise Refused(f"{path}: Invalid `data` in `redacted_thinking` block")


_CHECKS = {
    "text": _check_text,
    "image": _check_image,
    "tool_use": _check_call,
    "tool_result": _check_result,
    "thinking": _check_thinking,
    "redacted_thinking": _check_redacted,
}
