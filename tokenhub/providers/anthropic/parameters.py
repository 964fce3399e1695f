"""A command's parameters and tools in Anthropic's fields, for callers who speak another dialect. Pure.

What the API or the model would refuse is left out and told, by the caller's (OpenAI's) names for it: such a request is
answered a little differently, not at all would be worse.
"""

from __future__ import annotations

import hashlib
import re

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import ChatCommand, JsonObject, Parameters, Tool, ToolChoice
from tokenhub.errors import ProviderFatal
from tokenhub.providers.anthropic.manners import Manners, manners_of
from tokenhub.providers.anthropic.messages import may_think, tools_named

DEFAULT_MAX_TOKENS = 4096
"""Sent where neither the caller nor the catalog says anything: the API insists on a limit."""
MIN_THINKING_TOKENS = 1024
EFFORT_TOKENS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
"""How many tokens to think with, for models that only understand a number."""
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
"""OpenAI's word -> Anthropic's."""

_OPAQUE = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_.:-]{1,256}", re.ASCII)


def output_limit(command: ChatCommand, target: Target) -> int:
    """`max_tokens`: the caller's cap, as far as the model goes; without one, as far as the model goes."""
    largest = target.model.max_output_tokens
    if command.max_output_tokens is not None:
        return min(command.max_output_tokens, largest or command.max_output_tokens)
    return largest or min(DEFAULT_MAX_TOKENS, target.output_cap or DEFAULT_MAX_TOKENS)


def write_parameters(payload: JsonObject, command: ChatCommand, target: Target) -> list[str]:
    """Add everything but the conversation to a payload that holds its messages; gives the names of what is left out.

    Raises ProviderFatal (blame "target") for several choices, which this protocol does not know.
    """
    if command.choices > 1:
        raise ProviderFatal(
            "this provider's protocol gives one choice an answer; ask without n, or for another model",
            code="unsupported_parameter",
            param="n",
        )
    manners = manners_of(target.model.upstream_name)
    asked = command.parameters
    payload["max_tokens"] = output_limit(command, target)
    dropped = _write_limits(payload, asked)
    dropped += _write_tools(payload, command, manners)
    dropped += _write_thinking(payload, asked, manners)
    return dropped + _write_sampling(payload, asked, manners)


def _write_limits(payload: JsonObject, asked: Parameters) -> list[str]:
    stops = [stop for stop in asked.stop if stop.strip()]
    if stops:
        payload["stop_sequences"] = stops
    if asked.user:
        payload["metadata"] = {"user_id": _user_id(asked.user)}
    if asked.output_schema is not None:
        payload["output_config"] = {"format": {"type": "json_schema", "schema": asked.output_schema}}
    dropped = ["stop"] if len(stops) < len(asked.stop) else []
    return dropped if asked.seed is None else [*dropped, "seed"]


def _user_id(user: str) -> str:
    """The API wants an opaque id and refuses what looks like a mail address or a telephone number."""
    return user if _OPAQUE.fullmatch(user) else hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()


# ---------------------------------------------------------------- tools


def _write_tools(payload: JsonObject, command: ChatCommand, manners: Manners) -> list[str]:
    asked = command.parameters.tool_choice
    tools = [_tool(tool, manners) for tool in command.tools]
    choice = _tool_choice(command.parameters) if tools else None
    if not tools and (names := tools_named(payload["messages"])):
        # The API refuses a history with tool calls in a request without tools.
        tools = [_tool(Tool(name), manners) for name in names]
        choice = {"type": "none"}
    if tools:
        payload["tools"] = tools
    if choice:
        payload["tool_choice"] = choice
    is_lost = asked is not None and asked.mode in ("required", "tool") and not command.tools
    return ["tool_choice"] if is_lost else []


def _tool(tool: Tool, manners: Manners) -> JsonObject:
    schema = tool.schema if "type" in tool.schema else {"type": "object", **tool.schema}
    if schema == {"type": "object"}:
        schema = {"type": "object", "properties": {}}
    written: JsonObject = {"name": tool.name, "input_schema": schema}
    if tool.description:
        written["description"] = tool.description
    if tool.strict and manners.takes_strict:
        written["strict"] = True
    return written


def _tool_choice(asked: Parameters) -> JsonObject | None:
    choice = asked.tool_choice
    if choice is None and asked.parallel_tools is not False:
        return None
    choice = choice or ToolChoice("auto")
    if choice.mode == "none":
        return {"type": "none"}
    written: JsonObject = {"type": "any" if choice.mode == "required" else choice.mode}
    if choice.mode == "tool":
        written["name"] = choice.name
    if asked.parallel_tools is False:
        written["disable_parallel_tool_use"] = True
    return written


# ---------------------------------------------------------------- thinking


def _write_thinking(payload: JsonObject, asked: Parameters, manners: Manners) -> list[str]:
    if asked.thinking_tokens is None and not asked.effort:
        return []
    dropped = ["thinking" if asked.thinking_tokens is not None else "reasoning_effort"]
    is_forced = payload.get("tool_choice", {}).get("type") in ("any", "tool")  # the API refuses to think then
    if asked.thinking_tokens == 0 or asked.effort == "none":
        if manners.can_rest:
            payload["thinking"] = {"type": "disabled"}
        return dropped if manners.efforts and not manners.can_rest else []
    if manners.efforts:
        effort = _effort(asked.effort, manners)
        if effort:
            payload["output_config"] = {**payload.get("output_config", {}), "effort": effort}
        if not is_forced:
            payload["thinking"] = {"type": "adaptive"}
        return [] if effort or not is_forced else dropped
    budget = _budget(asked, payload["max_tokens"]) if manners.takes_budget else 0
    if not budget or is_forced or not may_think(payload["messages"]):
        return dropped
    payload["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return []


def _effort(effort: str, manners: Manners) -> str:
    word = EFFORTS.get(effort, "")
    return word if word in manners.efforts or not word else "high"


def _budget(asked: Parameters, max_tokens: int) -> int:
    """Tokens to think with, 0 where there is no room: they are part of `max_tokens`, and the answer needs some too."""
    if asked.thinking_tokens is not None:
        budget = min(asked.thinking_tokens, max_tokens - 1)
    else:
        budget = min(EFFORT_TOKENS.get(asked.effort, 0), max_tokens // 2)
        if not budget:
            return 0
    budget = max(budget, MIN_THINKING_TOKENS)
    return budget if budget < max_tokens else 0


# ---------------------------------------------------------------- sampling


def _write_sampling(payload: JsonObject, asked: Parameters, manners: Manners) -> list[str]:
    dropped = []
    thinks = payload.get("thinking", {}).get("type") in ("enabled", "adaptive")
    given = {"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k}
    for name, value in given.items():
        if value is None:
            continue
        is_second = name == "top_p" and "temperature" in payload and not manners.takes_both
        if thinks or is_second or not manners.takes_sampling:
            dropped.append(name)
        else:
            payload[name] = min(max(value, 0.0), 1.0) if name == "temperature" else value
    return dropped
