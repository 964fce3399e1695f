"""The status page: says how it stands and what to do next, to anybody, and nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask

from blueprints import probes
from blueprints.admin.pages import register_pages
from tokenhub import __version__
from tokenhub.domain.catalog import Catalog, Model, Provider

ROOT = Path(__file__).parents[5]
CATALOG = Catalog.build(1, [Provider("acme-provider", "openai")], [Model("acme-model", "acme-provider", "acme-model")])


def client(catalog: Catalog = CATALOG, ready: tuple[str, ...] = ("acme-provider",)):
    app = Flask(__name__, root_path=str(ROOT))
    app.extensions["tokenhub"] = SimpleNamespace(
        metrics=SimpleNamespace(told=lambda error: None),
        snapshot=SimpleNamespace(catalog=catalog),
        providers=SimpleNamespace(ready=lambda: frozenset(ready)),
        state=SimpleNamespace(epoch=lambda: 1),
    )
    app.add_url_rule("/metrics", "metrics", lambda: "")
    app.register_blueprint(probes.bp)
    register_pages(app)
    return app.test_client()


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_bare_address_leads_to_the_page():
    response = client().get("/")
    assert (response.status_code, response.location) == (302, "/admin/")


@pytest.mark.parametrize("path", ["/admin", "/admin/"])
def test_the_page_answers_with_and_without_its_slash(path):
    assert client().get(path).status_code == 200


def test_the_page_tells_version_counts_and_the_next_step():
    text = text_of(client().get("/admin/", base_url="http://hub.test:8080").text)
    assert f"Version {__version__}" in text
    assert "● Ready" in text
    assert "Usable providers 1 Enabled models 1" in text
    assert "curl http://hub.test:8080/v1/chat/completions" in text


@pytest.mark.parametrize(
    ("catalog", "ready", "words"),
    [
        (CATALOG, (), "▲ Running, with nothing to route to"),
        (Catalog(), (), "■ Not ready: catalog unavailable"),
    ],
)
def test_the_page_says_in_words_what_is_wrong(catalog, ready, words):
    assert words in text_of(client(catalog, ready).get("/admin/").text)


def test_the_page_names_no_provider_and_no_model():
    assert "acme" not in client().get("/admin/").text


@pytest.mark.parametrize("host", ['"><script>alert(1)</script>', "a b", "evil.test/path", "é.test", "x" * 5000, ""])
def test_a_strange_host_header_is_neither_executed_nor_an_error(host):
    response = client().get("/admin/", headers={"Host": host})
    assert response.status_code < 500
    assert "<script" not in response.text


class Loaded(HTMLParser):
    """What a page loads, and what the content security policy would stop."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        self.inline += [name for name in names if name == "style" or name.startswith("on")]
        if tag in ("script", "style") and "src" not in names:
            self.inline.append(tag)
        if tag in ("link", "script", "img"):
            self.files.append(names.get("href") or names["src"])


def test_everything_the_page_loads_is_ours_and_there_and_nothing_is_inline():
    page = Loaded()
    browser = client()
    page.feed(browser.get("/admin/").text)
    assert page.inline == []
    assert page.files
    for file in page.files:
        with browser.get(file) as response:
            assert response.status_code == 200, file
