"""What the documents say is what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from flask import Flask

from tokenhub.config_table import TABLE
from tokenhub.domain.catalog import Catalog
from tokenhub.observability.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(
        r"^\| `(TOKENHUB_\w+)`( \*)? \| (?:`(.*?)`)? \|", (ROOT / "docs/configuration.md").read_text(), re.M
    )
    assert sorted(rows) == sorted((row.name, " *" if row.reloadable else "", row.default) for row in TABLE)


@pytest.mark.parametrize("path", [*DOCS, ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "scripts/run"], ids=str)
def test_no_document_names_a_setting_that_does_not_exist(path: Path) -> None:
    named = set(re.findall(r"\bTOKENHUB_[A-Z_]*[A-Z]\b", path.read_text()))
    assert named <= {row.name for row in TABLE}


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.M)
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in told.splitlines()] == targets
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony is not None
    assert phony[1].split() == targets


@pytest.mark.parametrize("path", DOCS, ids=str)
def test_make_targets_in_the_documents_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", path.read_text(), re.M)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }


@pytest.mark.parametrize("path", DOCS, ids=str)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_documented_endpoint_exists(tmp_path: Path) -> None:
    from app import create_app
    from tokenhub.config import load

    app = create_app(load({"TOKENHUB_DATA_DIR": str(tmp_path)}))
    known = {
        (method, re.sub(r"<(?:\w+:)?\w+>", "<id>", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    documented = {
        (method, route)
        for name in ("README.md", "docs/admin-api.md")
        for method, route in re.findall(r"^\| `([A-Z]+)` \| `([^`]+)`", (ROOT / name).read_text(), re.M)
    }
    assert len(documented) > 20
    assert documented <= known


def test_the_documented_metrics_are_those_that_exist() -> None:
    documented = set(re.findall(r"`(tokenhub_[a-z_]+)`", (ROOT / "docs" / "operations.md").read_text()))
    app = Flask(__name__)
    metrics = Metrics(Catalog, multiprocess=False)
    metrics.mount(app)
    scrape = app.test_client().get("/metrics").text
    existing = {
        line.split()[2]
        for line in scrape.splitlines()
        if line.startswith("# TYPE tokenhub_") and "_created" not in line
    }
    assert documented == existing
