"""What a request may cost at most (reserved) and did cost (settled), in nano-dollars. What it probably costs, which
decides where it goes, is in `observed.py`."""

from __future__ import annotations

from tokenhub.domain.catalog import Target
from tokenhub.domain.chat import Usage
from tokenhub.domain.money import Price, price_tokens

EXPECTED_OUTPUT_TOKENS = 512
"""Length of an answer nobody has capped, until lengths are learned."""
PROVIDER_OVERHEAD_TOKENS = 1_024
"""Room in a bound for what providers add by themselves (chat templates, the tool-use prompt)."""


def output_bound(target: Target, max_output_tokens: int | None) -> int | None:
    """The most tokens one choice can have: the smaller of the caller's cap and the model's; None: unbounded."""
    cap = target.output_cap
    if max_output_tokens is None or (cap is not None and cap < max_output_tokens):
        return cap
    return max_output_tokens


def bound_nanousd(price: Price, input_tokens: int, output_tokens: int) -> int:
    """The most a call can cost, whatever the cache does."""
    input_tokens += PROVIDER_OVERHEAD_TOKENS
    price = price.at(input_tokens)
    return price_tokens((input_tokens, price.dearest_input), (output_tokens, price.output))


def settle_nanousd(price: Price | None, usage: Usage) -> int:
    """What the usage costs, rounded up once. An unknown price settles at 0; the receipt says that it is unknown."""
    if price is None:
        return 0
    price = price.at(usage.input)
    cache_read = price.input if price.cache_read is None else price.cache_read
    cache_write = price.input if price.cache_write is None else price.cache_write
    cache_write_1h = cache_write if price.cache_write_1h is None else price.cache_write_1h
    fresh = max(0, usage.input - usage.cache_read - usage.cache_write)
    return price_tokens(
        (fresh, price.input),
        (usage.cache_read, cache_read),
        (usage.cache_write - usage.cache_write_1h, cache_write),
        (usage.cache_write_1h, cache_write_1h),
        (usage.output, price.output),
    )
