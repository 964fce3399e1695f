"""What vLLM takes differently from others who speak OpenAI's protocol. Values only: the wire itself is OpenAI's, with
`reasoning_content` and the stop text in `stop_reason`, which `providers/openai/crossing.py` reads wherever they are."""

from __future__ import annotations

from types import MappingProxyType

from tokenhub.providers.openai.request import Manners

MANNERS = Manners(
    takes_reasoning=True,
    takes_effort=True,
    efforts=MappingProxyType({"minimal": "low", "xhigh": "high", "max": "high"}),
)
"""Every version takes `max_tokens`; its words for effort are "low", "medium" and "high"."""
