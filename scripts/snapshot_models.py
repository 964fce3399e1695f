#!/usr/bin/env python3
"""Make tokenhub/storage/known_models.json anew from the package genai-prices (MIT): `make prices`.

The package is a tool of this script only: it is installed, at the version below, into a temporary environment. To take
newer prices, change VERSION and DATE (of that version's release), run, and read the diff: one line is one model.

What a line says, and where from:
- names, stems: what genai-prices matches, as plain names. A stem may be followed by a date or a revision. Rules that
  match by what a name contains become stems, so that fewer names match here than there, never others.
- price: nano-USD per million tokens, the standard tier's list price. Where it depends on the time of day, or a change
  is announced, the dearest of these: a cost must not be understated. Models that are also charged by something else
  than tokens (requests, citations) have no price here.
- context: as the vendor says, where genai-prices knows it.
- family, max_output, capabilities: from the rules and tables below, which hold only what is certain.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any

VERSION, DATE = "0.2.3", date(2026, 11, 10)
SNAPSHOT = Path(__file__).resolve().parents[1] / "tokenhub/storage/known_models.json"
NANO_PER_USD = 1_000_000_000

VENDORS: dict[str, dict[str, list[str]]] = {
    # Those who make models come first: a name that several vendors sell is looked up with its maker.
    "openai": {"hosts": ["api.openai.com"]},
    "anthropic": {"hosts": ["api.anthropic.com"]},
    "google": {
        "hosts": ["generativelanguage.googleapis.com", "aiplatform.googleapis.com", "-aiplatform.googleapis.com"],
        "prefixes": ["models/", "google/"],
    },
    "mistral": {"hosts": ["api.mistral.ai"]},
    "deepseek": {"hosts": ["api.deepseek.com"]},
    "x-ai": {"hosts": ["api.x.ai"]},
    "cohere": {"hosts": ["api.cohere.com", "api.cohere.ai"]},
    "perplexity": {"hosts": ["api.perplexity.ai"]},
    "azure": {
        "hosts": [".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"],
        "also": ["openai", "anthropic"],
    },
    "groq": {"hosts": ["api.groq.com"]},
    "together": {"hosts": ["api.together.xyz", "api.together.ai"]},
    "fireworks": {"hosts": ["api.fireworks.ai"]},
    "openrouter": {"hosts": ["openrouter.ai"]},
}

OPENROUTER_MAKERS = frozenset(
    "amazon anthropic cohere deepseek google meta-llama microsoft minimax mistralai moonshotai nvidia openai qwen "
    "x-ai z-ai".split()
)
OPENROUTER_PRICED = re.compile(r"(?:amazon|anthropic|cohere|openai|x-ai)/(?!gpt-oss)|google/gemini-")
"""What one seller sells there, at one price. Open models have many sellers there, and any of them may answer."""

NOT_CHAT = re.compile(
    r"embed|tts|whisper|transcribe|image|audio|realtime|live|moderation|ocr|orpheus|guard|voice|voxtral|lyria|omni|"
    r"banana|robotics|computer-use|decider|safety|^(text-)?(ada|babbage|curie|davinci)|gpt-3.5-turbo-instruct|"
    r"search-api|search-preview|deep-research|^ft:|\.ft|^~|:batch|:free|:extended|:online"
)
"""Names that are no chat models, that are charged by the search as well, or that name another model each month."""

CHARGED_BY_TOKEN = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
OPTIONAL_EXTRAS = frozenset(
    {"web_searches_kcount", "storage_searches_kcount", "input_audio_mtok", "cache_audio_read_mtok"}
)
"""Charged beside the tokens of text, but only where a request asks for it."""

SAME_FAMILY = {
    "gemini-flash-1.5": "gemini-1.5-flash",
    "gemini-flash-1.5-8b": "gemini-1.5-flash-8b",
    "gemini-pro-1.5": "gemini-1.5-pro",
    "gpt-3.5-turbo-0125": "gpt-3.5-turbo",
    "gpt-4-0613": "gpt-4",
    "grok-4-0709": "grok-4",
    "llama-3.1-70b-versatile": "llama-3.1-70b-instruct",
    "llama-3.1-8b-instant": "llama-3.1-8b-instruct",
    "llama-3.3-70b-versatile": "llama-3.3-70b-instruct",
    "llama-4-maverick-17b-128e-instruct": "llama-4-maverick",
    "llama-4-scout-17b-16e-instruct": "llama-4-scout",
    "llama4-maverick-instruct-basic": "llama-4-maverick",
}
"""Names of one model that no rule makes equal."""

BASIC, TOOLS = ["streaming"], ["streaming", "tools"]
SEES = [*TOOLS, "vision"]
TYPED = ["json_schema", *TOOLS]
ALL = ["json_schema", *SEES]
CAPABILITIES = {
    **dict.fromkeys(("o1-mini", "o1-preview", "claude-2"), BASIC),
    **dict.fromkeys(("gpt-3.5-turbo", "gpt-4"), TOOLS),
    **dict.fromkeys(("gpt-4-turbo", "claude-3-haiku", "claude-3-sonnet", "claude-3-opus", "claude-3-5-sonnet"), SEES),
    **dict.fromkeys(("claude-3-7-sonnet", "claude-sonnet-4", "claude-opus-4"), SEES),
    **dict.fromkeys(("o3-mini", "grok-3", "grok-3-mini"), TYPED),
    **dict.fromkeys(("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "o1", "o3", "o4-mini"), ALL),
    **dict.fromkeys(("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5.1", "gpt-5.2", "grok-4"), ALL),
    **dict.fromkeys(("claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"), ALL),
    **dict.fromkeys(("gemini-1.5-flash", "gemini-1.5-pro", "gemini-2.0-flash", "gemini-2.0-flash-lite"), ALL),
    **dict.fromkeys(("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"), ALL),
}
"""By family; a family that is not here may have any of them. Snapshots with less than their family are EXCEPTIONS."""

EXCEPTIONS: dict[str, list[str] | None] = {"gpt-4o-2024-05-13": SEES, "gpt-3.5-0301": None, "gpt-3.5-turbo-0301": None}

MAX_OUTPUT = {
    **dict.fromkeys(("gpt-3.5-turbo", "gpt-4-turbo", "claude-3-haiku", "claude-3-opus", "claude-3-sonnet"), 4_096),
    **dict.fromkeys(("gpt-4", "claude-3-5-haiku", "claude-3-5-sonnet", "gemini-1.5-flash", "gemini-1.5-pro"), 8_192),
    **dict.fromkeys(("gemini-2.0-flash", "gemini-2.0-flash-lite"), 8_192),
    **dict.fromkeys(("gpt-4o", "gpt-4o-mini"), 16_384),
    **dict.fromkeys(("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"), 32_768),
    **dict.fromkeys(("claude-opus-4", "claude-opus-4-1"), 32_000),
    **dict.fromkeys(("claude-sonnet-4", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5"), 64_000),
    **dict.fromkeys(("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"), 65_536),
    **dict.fromkeys(("o1", "o3", "o3-mini", "o4-mini"), 100_000),
    **dict.fromkeys(("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5.1", "gpt-5.2"), 128_000),
}
"""By family: the most tokens of one answer, with what a model thinks."""


# ---------------------------------------------------------------- names


def names_of(clause: Any) -> Iterator[tuple[str, bool]]:
    """The names that a matching rule stands for, in lower case, and whether a date or a revision may follow."""
    if hasattr(clause, "equals"):
        yield clause.equals.lower(), False
    elif hasattr(clause, "ends_with"):
        yield clause.ends_with.lower(), False
    elif hasattr(clause, "starts_with"):
        yield stem_of(clause.starts_with), True
    elif hasattr(clause, "contains"):
        yield stem_of(clause.contains), True
    elif hasattr(clause, "or_"):
        for part in clause.or_:
            yield from names_of(part)
    elif hasattr(clause, "and_"):
        yield from (pair for part in clause.and_ for pair in names_of(part))
    elif (dated := re.fullmatch(r"\^([\w.\\/-]+?)(?:-|\[-@\])\\d.*", clause.regex)) is not None:
        yield dated[1].replace("\\", "").lower(), True
    # What is left are rules of what a name must not be, and of names that no server knows.


def stem_of(text: str) -> str:
    """The name before a date that a rule gives the beginning of: `claude-sonnet-4-2025`, `gemini-2.0-flash-0`."""
    return re.sub(r"(?:-20\d\d|-0|[-@.])$", "", text.lower())


def family_of(name: str) -> str:
    """What a model is called wherever it is sold: no path, no date, one spelling."""
    text = name.rpartition("/")[2].partition(":")[0]
    text = re.sub(r"(?<=\d)p(?=\d)", ".", text)  # 3p3 at Fireworks
    text = re.sub(r"[-@](?:\d{8}|\d{4}-\d\d-\d\d)$", "", text)
    text = text.removesuffix("-fp8")
    if text.startswith("claude-"):
        text = _claude(text)
    text = re.sub(r"^gpt-35", "gpt-3.5", text)
    text = re.sub(r"^gpt-(\d)-(\d)(?=$|-[a-z])", r"gpt-\1.\2", text)
    text = re.sub(r"^(?:meta-)?llama-v?(.*instruct)(?:-turbo)?$", r"llama-\1", text)
    return SAME_FAMILY.get(text, text)


def _claude(text: str) -> str:
    """`claude-4.5-haiku` is `claude-haiku-4-5`; up to 3.7 the number comes first."""
    text = re.sub(r"(?<=sonnet)-v\d$", "", text.replace(".", "-"))
    if found := re.fullmatch(r"claude-([a-z]+)-3-(\d)", text):
        return f"claude-3-{found[2]}-{found[1]}"
    if found := re.fullmatch(r"claude-([4-9])(-\d)?-([a-z]+)", text):
        text = f"claude-{found[3]}-{found[1]}{found[2] or ''}"
    return re.sub(r"(?<=-\d)-0$", "", text)


# ---------------------------------------------------------------- prices


def candidates(prices: Any, on: date) -> list[Any]:
    """The prices that hold on a day at some hour, and those announced for later."""
    if not isinstance(prices, list):
        return [prices]
    begins = [getattr(entry.constraint, "start_date", date.min) for entry in prices]
    by_hour = [hasattr(entry.constraint, "start_time") for entry in prices]
    current = max((i for i, begin in enumerate(begins) if begin <= on and not by_hour[i]), default=0)
    return [entry.prices for i, entry in enumerate(prices) if i >= current]


def price_of(prices: Sequence[Any]) -> dict[str, Any] | None:
    """The dearest of some prices, in nano-USD per million tokens, with its tiers; None: not known, or not by token."""
    charged = {key for price in prices for key, value in vars(price).items() if value is not None}
    by_token = {f"{kind}_mtok" for kind in CHARGED_BY_TOKEN}
    if not {"input_mtok", "output_mtok"} <= charged or charged - by_token - OPTIONAL_EXTRAS:
        return None
    if any(getattr(price, kind, None) is None for price in prices for kind in ("input_mtok", "output_mtok")):
        return None
    values = [vars(price).get(f"{kind}_mtok") for price in prices for kind in CHARGED_BY_TOKEN]
    starts = sorted({tier.start for value in values for tier in getattr(value, "tiers", ())})
    line: dict[str, Any] = _dearest(prices, 0)
    if starts:
        line["tiers"] = [{"above_input_tokens": start, **_dearest(prices, start + 1)} for start in starts]
    return line


def _dearest(prices: Sequence[Any], input_tokens: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for kind in CHARGED_BY_TOKEN:
        values = [vars(price).get(f"{kind}_mtok") for price in prices]
        if any(value is None for value in values):
            continue  # As dear as the input at some hour: what leaving it out says.
        found[kind] = max(_nanousd(_at(value, input_tokens)) for value in values)
    return found


def _at(value: Any, input_tokens: int) -> Decimal:
    price = getattr(value, "base", value)
    for tier in getattr(value, "tiers", ()):
        if input_tokens > tier.start:
            price = tier.price
    return Decimal(price)


def _nanousd(usd: Decimal) -> int:
    return int((usd * NANO_PER_USD).to_integral_value(rounding=ROUND_CEILING))


# ---------------------------------------------------------------- the document


def snapshot(providers: Iterable[Any], version: str, on: date) -> dict[str, Any]:
    """The snapshot as JSON, from genai-prices' providers."""
    by_id = {provider.id: provider for provider in providers}
    models = [line for vendor in VENDORS if vendor in by_id for line in lines_of(by_id[vendor], on)]
    vendors = [{"id": vendor, **told} for vendor, told in VENDORS.items()]
    return {"name": "genai-prices", "version": version, "date": on.isoformat(), "vendors": vendors, "models": models}


def lines_of(provider: Any, on: date) -> list[dict[str, Any]]:
    """A vendor's models, by id. A name belongs to the first entry that has it; an entry of several families is one
    line for each."""
    taken: set[str] = set()
    lines = []
    for model in provider.models:
        price = price_of(candidates(model.prices, on))
        names: dict[str, bool] = {}
        for name, is_stem in names_of(model.match):
            if is_sold_for_chat(provider.id, name) and name not in taken:
                names[name] = is_stem or names.get(name, False)
        taken |= names.keys()
        for family, its_names in by_family(names).items():
            is_priced = provider.id != "openrouter" or OPENROUTER_PRICED.match(next(iter(its_names)))
            lines.append(line_of(provider.id, family, its_names, model.context_window, price if is_priced else None))
    return sorted(lines, key=lambda line: line["id"])


def by_family(names: Mapping[str, bool]) -> dict[str, dict[str, bool]]:
    """The names of one entry, parted. "-latest" is the model of the name before it only where the entry says so:
    elsewhere it moves on from the model that once had the plain name."""
    families: dict[str, dict[str, bool]] = {}
    for name, is_stem in names.items():
        plain = name.removesuffix("-latest")
        families.setdefault(family_of(plain if plain in names else name), {})[name] = is_stem
    return families


def is_sold_for_chat(vendor: str, name: str) -> bool:
    """Whether a name goes into the snapshot."""
    if vendor == "openrouter" and name.partition("/")[0] not in OPENROUTER_MAKERS:
        return False
    if (vendor, "claude") == ("google", name[:6]) or (vendor, "gpt-oss") == ("openai", name[:7]):
        return False  # Sold under a protocol of its own; not sold by its maker.
    return NOT_CHAT.search(name) is None


def line_of(
    vendor: str, family: str, names: Mapping[str, bool], context: int | None, price: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One model at one vendor; what is not known is left out."""
    stems = sorted(name for name, is_stem in names.items() if is_stem)
    capabilities = CAPABILITIES.get(family)
    for name in names:
        capabilities = EXCEPTIONS.get(name, capabilities)
    told = {
        "vendor": vendor,
        "id": family if family in names else next(iter(names)),
        "family": family,
        "names": sorted(name for name, is_stem in names.items() if not is_stem),
        "stems": stems or None,
        "context": context,
        "max_output": MAX_OUTPUT.get(family),
        "capabilities": capabilities,
        "price": price,
    }
    return {key: value for key, value in told.items() if value is not None}


def text_of(document: Mapping[str, Any]) -> str:
    """The document as text: one line a vendor and one a model, so that a diff can be read."""
    parts = []
    for key, value in document.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{rows}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Write the snapshot, from a temporary environment with the pinned package where this one has none."""
    try:
        from genai_prices.data import providers
    except ImportError:
        with tempfile.TemporaryDirectory() as folder:
            venv.create(folder, with_pip=True)
            python = f"{folder}/bin/python"
            subprocess.run([python, "-m", "pip", "install", "--quiet", f"genai-prices=={VERSION}"], check=True)
            sys.exit(subprocess.run([python, __file__], check=False).returncode)
    SNAPSHOT.write_text(text_of(snapshot(providers, VERSION, DATE)))


if __name__ == "__main__":
    main()
