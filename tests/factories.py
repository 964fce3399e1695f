"""Small makers of request bodies, prices and configuration that several suites need. Imports nothing of the product."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

INPUT_PER_1K, OUTPUT_PER_1K = 0.001, 0.002
INPUT_NANOUSD, OUTPUT_NANOUSD = 1_000, 2_000
"""The same prices in nano-dollars a token: whole numbers, so that every cost is exact."""


def chat_body(model: str = "ok", text: str = "hello", **fields: Any) -> JsonObject:
    """A chat completion request of one user message."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def model_entry(model_id: str, provider_id: str = "alpha", **fields: Any) -> JsonObject:
    """A model as the credentials file and the admin API take it: dear and of little weight, so that nothing is routed
    to it that does not name it."""
    return {
        "id": model_id,
        "provider_id": provider_id,
        "weight": 1,
        "max_context_tokens": 128_000,
        "input_per_1k": INPUT_PER_1K,
        "output_per_1k": OUTPUT_PER_1K,
        **fields,
    }


def provider_entry(provider_id: str, base_url: str, **fields: Any) -> JsonObject:
    """An OpenAI-compatible provider as the credentials file and the admin API take it."""
    return {
        "id": provider_id,
        "type": "openai",
        "base_url": base_url,
        "api_key": f"sk-{provider_id}-canary-0123456789",
        **fields,
    }


def cost_nanousd(usage: JsonObject) -> int:
    """What an upstream ledger's usage costs at the prices above."""
    return int(usage["prompt"]) * INPUT_NANOUSD + int(usage["completion"]) * OUTPUT_NANOUSD
