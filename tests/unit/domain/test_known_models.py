"""Finding a model among the known ones, and what is taken from there."""

from __future__ import annotations

import pytest

from tokenhub.domain.catalog import OPERATOR, Model, Provider
from tokenhub.domain.known_models import KnownModel, KnownModels, Vendor
from tokenhub.domain.money import Price

CAN = frozenset({"tools", "streaming"})
GPT = KnownModel("maker", "gpt", "gpt", ("gpt", "gpt-2024-05-13"), (), Price(1, 2), 128_000, 4096, CAN)
SONNET = KnownModel("maker", "sonnet-4", "sonnet-4", ("sonnet-4-0",), ("sonnet-4",), Price(3, 4))
SONNET_5 = KnownModel("maker", "sonnet-4-5", "sonnet-4-5", (), ("sonnet-4-5",), Price(5, 6))
RESOLD = KnownModel("shop", "maker/gpt", "gpt", ("maker/gpt", "maker/gpt:fast"), (), Price(7, 8), 64_000)
LLAMA = KnownModel("shop", "meta/llama-3-70b", "llama-3-70b", ("meta/llama-3-70b",))
VENDORS = [
    Vendor("maker", ("api.maker.test",), ("models/",)),
    Vendor("shop", ("shop.test",)),
    Vendor("cloud", (".cloud.test", "-region.cloudy.test"), also=("maker",)),
]
KNOWN = KnownModels("list 1", VENDORS, [GPT, SONNET, SONNET_5, RESOLD, LLAMA])

MAKER = Provider("m", "openai", "https://api.maker.test/v1")
SHOP = Provider("s", "openai", "https://shop.test/api/v1")
OWN = Provider("o", "openai", "http://127.0.0.1:8000")


def completed(name: str, provider: Provider = MAKER, known: KnownModels = KNOWN, **given: object) -> Model:
    return known.complete(Model("ours", provider.id, name, **given), provider)  # type: ignore[arg-type]


def test_everything_left_open_is_filled_in() -> None:
    assert completed("gpt") == Model(
        "ours",
        "m",
        "gpt",
        max_context_tokens=128_000,
        max_output_tokens=4096,
        price=Price(1, 2),
        family="gpt",
        capabilities=CAN,
        price_source="list 1",
        known_as="maker:gpt",
    )


def test_what_the_operator_says_wins() -> None:
    given = {
        "max_context_tokens": 1,
        "max_output_tokens": 2,
        "price": Price(0, 0),
        "family": "mine",
        "capabilities": frozenset(),
    }
    model = completed("gpt", **given)
    assert {name: getattr(model, name) for name in given} == given
    assert (model.price_source, model.known_as) == (OPERATOR, "maker:gpt")


def test_an_unknown_model_stays_unknown() -> None:
    assert completed("nobody-knows-it") == Model("ours", "m", "nobody-knows-it")
    assert completed("gpt", known=KnownModels()) == Model("ours", "m", "gpt")
    assert completed("x", price=Price(1, 1)).price_source == OPERATOR


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("GPT", "gpt"),
        ("models/gpt", "gpt"),
        ("sonnet-4", "sonnet-4"),
        ("sonnet-4-20250514", "sonnet-4"),
        ("sonnet-4@20250514", "sonnet-4"),
        ("sonnet-4-2025-05-14", "sonnet-4"),
        ("sonnet-4-preview-05-06", "sonnet-4"),
        ("sonnet-4-latest", "sonnet-4"),
        ("sonnet-4-v2@20250514", "sonnet-4"),
        ("sonnet-4-5-20250929", "sonnet-4-5"),
    ],
)
def test_a_name_is_found_with_its_prefix_date_and_revision(name: str, family: str) -> None:
    assert completed(name).family == family
    assert completed(name).price is not None


@pytest.mark.parametrize(
    "name",
    ["gpt-2030-01-01", "gpt-mini", "sonnet-4-6", "sonnet-4-mini", "sonnet-4-8b", "sonnet-40", "xsonnet-4", "-1234"],
)
def test_a_name_that_only_begins_like_a_known_one_is_not_guessed(name: str) -> None:
    assert completed(name).known_as == ""


def test_each_vendor_has_its_own_price_of_the_same_model() -> None:
    assert completed("maker/gpt", SHOP).price == Price(7, 8)
    assert completed("maker/gpt", SHOP).family == completed("gpt").family
    assert completed("maker/gpt:fast", SHOP).max_context_tokens == 64_000


@pytest.mark.parametrize(
    ("url", "price"),
    [
        ("https://api.maker.test", Price(1, 2)),
        ("https://API.Maker.test:443/v1", Price(1, 2)),
        ("https://mine.cloud.test", Price(1, 2)),
        ("https://west-region.cloudy.test", Price(1, 2)),
        ("https://api.maker.test.evil.test", None),
        ("https://evil-api.maker.test", None),
        ("https://cloud.test", None),
        ("https://evil.test/api.maker.test", None),
        ("http://127.0.0.1:8000", None),
        ("http://10.0.0.1", None),
        ("http://[::1]:8000", None),
        ("", None),
    ],
)
def test_a_price_holds_only_at_the_vendors_own_host(url: str, price: Price | None) -> None:
    model = completed("gpt", Provider("p", "openai", url))
    assert model.price == price
    assert model.price_source == ("list 1" if price else "")


def test_a_host_of_ones_own_has_no_price_but_the_model_is_the_same_model() -> None:
    model = completed("gpt", OWN)
    assert (model.price, model.max_output_tokens) == (None, None)
    assert (model.family, model.max_context_tokens, model.capabilities) == ("gpt", 128_000, CAN)
    assert completed("Meta/Llama-3-70B", OWN).family == completed("llama-3-70b", OWN).family == "llama-3-70b"


def test_self_hosted_types_have_no_vendor_whatever_the_host() -> None:
    assert completed("gpt", Provider("p", "vllm", MAKER.base_url)).price is None


def test_a_model_that_its_vendor_does_not_list_has_no_price_there() -> None:
    model = completed("llama-3-70b")
    assert (model.price, model.known_as) == (None, "shop:meta/llama-3-70b")
