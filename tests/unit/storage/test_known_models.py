"""The snapshot that comes with this version, and the script that makes it."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tokenhub.domain.catalog import CAPABILITIES, Model, Provider
from tokenhub.domain.money import Price
from tokenhub.storage import known_models

SCRIPT = Path(__file__).parents[3] / "scripts/snapshot_models.py"
KNOWN = known_models.load()
LINES: list[dict[str, Any]] = json.loads(known_models.SNAPSHOT.read_text())["models"]
PRICES = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
HOSTS = {
    "openai": "https://api.openai.com/v1",
    "azure": "https://mine.openai.azure.com",
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com/v1beta/openai",
    "openrouter": "https://openrouter.ai/api/v1",
    "groq": "https://api.groq.com/openai/v1",
    "together": "https://api.together.xyz/v1",
    "x-ai": "https://api.x.ai/v1",
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("snapshot_models", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def known_as(vendor: str, name: str) -> Model:
    return KNOWN.complete(Model("ours", "p", name), Provider("p", "openai", HOSTS[vendor]))


# ---------------------------------------------------------------- the snapshot


def test_every_price_is_whole_positive_and_dearer_for_longer_inputs() -> None:
    priced = [line["price"] for line in LINES if "price" in line]
    assert len(priced) > 300
    for price in priced:
        steps = [price, *price.get("tiers", ())]
        for step in steps:
            values = [step[kind] for kind in PRICES if kind in step]
            assert {"input", "output"} <= set(step) and all(type(value) is int for value in values)
            assert all(value > 0 for value in values) or (step["input"], step["output"]) == (0, 0)
        for step, next_step in zip(steps, steps[1:], strict=False):
            assert next_step["above_input_tokens"] > step.get("above_input_tokens", 0)
            assert set(step) & set(PRICES) == set(next_step) & set(PRICES)
            assert all(next_step[kind] >= step[kind] for kind in PRICES if kind in step)


def test_no_price_is_beyond_what_a_model_can_cost() -> None:
    for line in LINES:
        assert all(line["price"][kind] <= 1_000 * 10**9 for kind in PRICES if kind in line.get("price", ())), line


def test_every_line_is_whole_and_a_name_is_listed_once_a_vendor() -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    for line in LINES:
        names = {*line["names"], *line.get("stems", ())}
        assert names and line["id"] in names and line["family"] and all(name == name.lower() for name in names), line
        assert not names & seen[line["vendor"]], line
        seen[line["vendor"]] |= names
        assert set(line.get("capabilities", ())) <= set(CAPABILITIES), line
        assert line.get("context", 1) > 0 and line.get("max_output", 1) > 0
    assert set(HOSTS) <= set(seen)


def test_lines_are_sorted_and_one_model_each_so_that_a_diff_can_be_read(script: ModuleType) -> None:
    text = known_models.SNAPSHOT.read_text()
    assert text == script.text_of(json.loads(text))
    vendors = list(script.VENDORS)
    assert sorted(LINES, key=lambda line: (vendors.index(line["vendor"]), line["id"])) == LINES


def test_the_snapshot_is_of_the_version_that_the_script_pins(script: ModuleType) -> None:
    assert KNOWN.source == f"genai-prices {script.VERSION} ({script.DATE.isoformat()})"


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("gpt-4o", {"openai": "gpt-4o", "azure": "gpt-4o-2024-08-06", "openrouter": "openai/gpt-4o"}),
        ("gpt-4o-mini", {"openai": "gpt-4o-mini-2024-07-18", "openrouter": "openai/gpt-4o-mini"}),
        ("claude-haiku-4-5", {"anthropic": "claude-haiku-4-5-20251001", "openrouter": "anthropic/claude-haiku-4.5"}),
        ("claude-sonnet-4", {"anthropic": "claude-sonnet-4-20250514", "openrouter": "anthropic/claude-sonnet-4"}),
        ("claude-3-5-sonnet", {"anthropic": "claude-3-5-sonnet-latest", "openrouter": "anthropic/claude-3.5-sonnet"}),
        ("gemini-2.5-pro", {"google": "models/gemini-2.5-pro", "openrouter": "google/gemini-2.5-pro"}),
        (
            "llama-3.3-70b-instruct",
            {
                "groq": "llama-3.3-70b-versatile",
                "together": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "openrouter": "meta-llama/llama-3.3-70b-instruct",
            },
        ),
    ],
)
def test_one_model_has_one_family_wherever_it_is_sold(family: str, names: dict[str, str]) -> None:
    assert {known_as(vendor, name).family for vendor, name in names.items()} == {family}


def test_models_that_are_not_the_same_have_other_families() -> None:
    names = ("gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-chat", "gpt-5-codex", "gpt-5-mini", "gpt-5.1", "gpt-4.1", "gpt-4")
    assert len({known_as("openai", name).family for name in names}) == len(names)
    assert known_as("google", "gemini-pro-latest").family != known_as("google", "gemini-pro").family


def test_prices_that_are_well_known() -> None:
    assert known_as("openai", "gpt-4o").price == Price(2_500_000_000, 10_000_000_000, cache_read=1_250_000_000)
    assert known_as("openai", "gpt-4o-2024-05-13").price == Price(5_000_000_000, 15_000_000_000)
    haiku = known_as("anthropic", "claude-haiku-4-5").price
    assert haiku == Price(10**9, 5 * 10**9, cache_read=10**8, cache_write=125 * 10**7, cache_write_1h=2 * 10**9)
    gemini = known_as("google", "gemini-2.5-pro").price
    assert gemini is not None and gemini.at(200_001).input == 2 * gemini.at(200_000).input == 2_500_000_000
    assert known_as("openai", "gpt-4o").price_source == KNOWN.source


def test_names_that_are_no_chat_model_at_a_known_price_are_left_out() -> None:
    for vendor, name in [
        ("openai", "text-embedding-3-small"),
        ("openai", "gpt-4o-audio-preview"),
        ("google", "gemini-2.5-pro-preview-tts"),
        ("openai", "ft:gpt-4o-2024-08-06:acme"),
        ("openrouter", "openai/gpt-oss-120b:free"),
        ("openrouter", "~openai/gpt-latest"),
    ]:
        assert known_as(vendor, name).known_as == "", name
    assert known_as("openrouter", "meta-llama/llama-3.3-70b-instruct").price is None, "many sellers, many prices"


# ---------------------------------------------------------------- the script, on a few models made up


@dataclass
class Clause:
    """A rule of matching, with the attribute that tells its kind."""

    def __init__(self, **kind: Any) -> None:
        self.__dict__.update(kind)


@dataclass
class FakeModel:
    id: str
    match: Clause
    prices: Any
    context_window: int | None = None


@dataclass
class FakeProvider:
    id: str
    models: list[FakeModel] = field(default_factory=list)


def usd(**prices: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{f"{kind}_mtok": Decimal(value) if isinstance(value, str) else value for kind, value in prices.items()}
    )


def from_day(day: date, prices: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(constraint=SimpleNamespace(start_date=day), prices=prices)


def at_hour(hour: int, prices: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(constraint=SimpleNamespace(start_time=time(hour), end_time=time(hour + 1)), prices=prices)


def always(prices: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(constraint=None, prices=prices)


def tiered(base: str, start: int, price: str) -> SimpleNamespace:
    return SimpleNamespace(base=Decimal(base), tiers=[SimpleNamespace(start=start, price=Decimal(price))])


def made(script: ModuleType, *models: FakeModel, vendor: str = "openai") -> dict[str, Any]:
    document = script.snapshot([FakeProvider(vendor, list(models))], "9.9", date(2026, 1, 2))
    return json.loads(script.text_of(document))  # type: ignore[no-any-return]


def only_price(script: ModuleType, prices: Any) -> dict[str, Any] | None:
    (line,) = made(script, FakeModel("m", Clause(equals="m"), prices))["models"]
    return line.get("price")  # type: ignore[no-any-return]


def test_what_the_script_writes_is_what_the_loader_reads(script: ModuleType) -> None:
    prices = usd(input=tiered("1.25", 1000, "2.5"), output=tiered("10", 1000, "15"), cache_write_1h="0.0000000001")
    match = Clause(or_=[Clause(equals="GPT-4o"), Clause(starts_with="gpt-4o-x-2025")])
    known = known_models.parse(made(script, FakeModel("gpt-4o", match, prices, 128_000)))
    assert known.source == "genai-prices 9.9 (2026-01-02)"
    model = known.complete(Model("a", "p", "gpt-4o"), Provider("p", "openai", HOSTS["openai"]))
    assert model.price == Price(
        1_250_000_000,
        10_000_000_000,
        cache_write_1h=1,
        tiers=((1000, Price(2_500_000_000, 15_000_000_000, cache_write_1h=1)),),
    )
    assert (model.max_context_tokens, model.max_output_tokens, model.family) == (128_000, 16_384, "gpt-4o")
    assert model.capabilities == set(CAPABILITIES)
    dated = known.complete(Model("b", "p", "gpt-4o-x-20250514"), Provider("p", "openai", HOSTS["azure"]))
    assert (dated.price, dated.family, dated.capabilities) == (model.price, "gpt-4o-x", None)


def test_every_kind_of_rule_becomes_names(script: ModuleType) -> None:
    rule = Clause(
        or_=[
            Clause(equals="A"),
            Clause(ends_with="b"),
            Clause(starts_with="c-2025"),
            Clause(contains="d-"),
            Clause(and_=[Clause(starts_with="e"), Clause(regex=r"^(?!.*-tts$)")]),
            Clause(regex=r"^f-5\.6-\d{4}-\d{2}-\d{2}$"),
            Clause(regex=r"^g[-@]\d{8}$"),
            Clause(regex=r"^h\[fast=true\]$"),
        ]
    )
    assert list(script.names_of(rule)) == [
        ("a", False),
        ("b", False),
        ("c", True),
        ("d", True),
        ("e", True),
        ("f-5.6", True),
        ("g", True),
    ]


def test_an_entry_of_several_models_is_a_line_for_each(script: ModuleType) -> None:
    names = Clause(or_=[Clause(equals=name) for name in ("gpt-5", "gpt-5-codex", "gpt-5-2025-08-07", "gpt-5-latest")])
    lines = made(script, FakeModel("gpt-5", names, usd(input="1", output="2")))["models"]
    assert [(line["id"], line["names"]) for line in lines] == [
        ("gpt-5", ["gpt-5", "gpt-5-2025-08-07", "gpt-5-latest"]),
        ("gpt-5-codex", ["gpt-5-codex"]),
    ]


def test_a_name_that_moves_on_is_not_the_model_of_its_plain_name(script: ModuleType) -> None:
    (line,) = made(script, FakeModel("m", Clause(equals="medium-latest"), usd(input="1", output="2")))["models"]
    assert line["family"] == "medium-latest"


def test_the_dearest_of_the_prices_that_hold_or_are_announced_is_taken(script: ModuleType) -> None:
    old, now = usd(input="9", output="9"), usd(input="1", output="2", cache_read="0.1")
    night, later = usd(input="0.5", output="1", cache_read="0.05"), usd(input="2", output="3", cache_read="0.2")
    base = [always(old), from_day(date(2025, 1, 1), now)]
    assert only_price(script, base) == {"input": 10**9, "output": 2 * 10**9, "cache_read": 10**8}
    assert only_price(script, [*base, at_hour(1, night)]) == only_price(script, base)
    assert only_price(script, [always(now), at_hour(1, later)]) == only_price(script, later)
    assert only_price(script, [*base, from_day(date(2027, 1, 1), later)]) == only_price(script, later)
    assert only_price(script, [from_day(date(2020, 1, 1), now), from_day(date(2025, 6, 1), old)]) == {
        "input": 9 * 10**9,
        "output": 9 * 10**9,
    }


def test_a_cache_price_that_is_missing_at_some_hour_is_the_inputs(script: ModuleType) -> None:
    cheap, plain = usd(input="1", output="1", cache_read="0.1"), usd(input="1", output="1")
    assert only_price(script, [always(cheap), at_hour(1, plain)]) == {"input": 10**9, "output": 10**9}


@pytest.mark.parametrize(
    "prices",
    [
        usd(),
        usd(input="1"),
        usd(output="1"),
        usd(input="1", output="1", output_reasoning="3"),
        SimpleNamespace(input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal(5)),
        [always(usd(input="1", output="1")), at_hour(1, usd(input="1"))],
    ],
)
def test_a_price_that_is_not_whole_or_not_by_the_token_is_unknown(script: ModuleType, prices: Any) -> None:
    assert only_price(script, prices) is None


def test_a_fraction_of_a_nano_dollar_is_rounded_up(script: ModuleType) -> None:
    assert only_price(script, usd(input="0.0000000001", output="0.0375")) == {"input": 1, "output": 37_500_000}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-35-turbo", "gpt-3.5-turbo"),
        ("gpt-5-4-mini-2026-03-17", "gpt-5.4-mini"),
        ("gpt-4-32k", "gpt-4-32k"),
        ("gpt-4-turbo-2024-04-09", "gpt-4-turbo"),
        ("anthropic/claude-3.7-sonnet:thinking", "claude-3-7-sonnet"),
        ("claude-sonnet-3-7", "claude-3-7-sonnet"),
        ("claude-4.5-haiku-20251001", "claude-haiku-4-5"),
        ("claude-opus-4-0", "claude-opus-4"),
        ("claude-v2", "claude-v2"),
        ("accounts/fireworks/models/llama-v3p1-8b-instruct", "llama-3.1-8b-instruct"),
        ("meta-llama/meta-llama-3.1-8b-instruct-turbo", "llama-3.1-8b-instruct"),
        ("deepseek-v3p2", "deepseek-v3.2"),
        ("mistral-large-2411", "mistral-large-2411"),
    ],
)
def test_families_are_spelled_one_way(script: ModuleType, name: str, family: str) -> None:
    assert script.family_of(name) == family


def test_every_family_of_the_tables_is_sold_by_somebody(script: ModuleType) -> None:
    sold = {line["family"] for line in LINES}
    assert set(script.CAPABILITIES) | set(script.MAX_OUTPUT) <= sold


def test_the_servers_requirements_do_not_name_the_package() -> None:
    root = SCRIPT.parents[1]
    for path in root.glob("requirements*"):
        assert not re.search(r"^genai[-_]prices", path.read_text(), re.M)
    assert "genai_prices" not in sys.modules
