"""What a vLLM server's refusal means, and whether its endpoint is to blame. Pure.

Its error objects have no codes beside the status, so that for some failures words decide: those that another model
could well answer. All else is as with every OpenAI-compatible server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tokenhub.errors import ContextOverflow, ProviderError, ProviderFatal, ProviderRateLimited, ProviderTransient
from tokenhub.providers.openai import failures as openai

OVERFLOW_WORDS = re.compile(
    r"maximum model length"  # "The decoder prompt (length N) is longer than the maximum model length of M"
    r"|context length is only"  # "You passed N input tokens ... However, the model's context length is only M tokens"
    r"|exceeds the max_model_len"  # "The engine prompt length N exceeds the max_model_len M"
    r"|maximum context length",
    re.IGNORECASE,
)
UNABLE_WORDS = re.compile(
    r"requires --enable-auto-tool-choice"
    r"|is not a multimodal model"
    r"|At most 0 \w+\(s\) may be provided"
    r"|does not support"
    r"|chat template"  # the model has none
    r"|roles must alternate",  # its template takes no other conversation
    re.IGNORECASE,
)
"""What this server or model cannot do, though the request is in order."""


def classify(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The failure behind an answer whose status is not 200."""
    failure = openai.classify(status, headers, body)
    is_engines = isinstance(failure, ProviderTransient) and status == 500  # some versions judge a length there
    is_callers = isinstance(failure, ProviderFatal) and failure.blame == "caller"
    if (is_engines or is_callers) and OVERFLOW_WORDS.search(failure.message):
        return ContextOverflow(failure.message, status=status, param=failure.param)
    if is_callers and UNABLE_WORDS.search(failure.message):
        return ProviderFatal(failure.message, code="unsupported_feature", status=status, blame="target")
    return failure


def is_endpoints(failure: ProviderError) -> bool:
    """Whether the endpoint is better left alone for a while: it could not be reached, gave no answer, or said that it
    cannot work."""
    return costs_nothing(failure) or (isinstance(failure, ProviderTransient) and failure.doubtful)


def costs_nothing(failure: ProviderError) -> bool:
    """Whether another endpoint may be asked the same without anything being done, or paid, twice: nothing was sent,
    or the answer was a refusal that is the server's own affair."""
    if isinstance(failure, ProviderRateLimited):
        return True
    if not isinstance(failure, ProviderTransient) or failure.doubtful:
        return False
    # "provider" is blamed for what happened before anything was sent; a broken answer is the target's.
    return failure.blame == "provider" if failure.status is None else failure.status >= 500
