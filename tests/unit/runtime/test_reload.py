"""SIGHUP: all of it, or nothing; and it never raises."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factories import model_entry, provider_entry
from tokenhub import config
from tokenhub.observability import logs
from tokenhub.runtime import boot, stores
from tokenhub.runtime.reload import Reload

Write = Callable[..., None]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of `env` and `credentials`, which the environment names."""
    tmp_path.chmod(0o700)
    for name in [name for name in os.environ if name.startswith("TOKENHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TOKENHUB_ENV_FILE", str(tmp_path / "env"))
    monkeypatch.setenv("TOKENHUB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TOKENHUB_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    write_env(tmp_path, "")
    write_credentials(tmp_path, {"providers": [provider_entry("a", "https://a.example")]})
    level, mask = logging.getLogger().level, os.umask(0o077)
    yield tmp_path
    os.umask(mask)
    logging.getLogger().setLevel(level)


@pytest.fixture
def reload(files: Path) -> Reload:
    settings = config.reread()
    boot.prepare(settings)
    return Reload(settings)


def write_env(folder: Path, text: str) -> None:
    (folder / "env").write_text(text)


def write_credentials(folder: Path, content: Any) -> None:
    (folder / "credentials").write_text(content if isinstance(content, str) else json.dumps(content))
    (folder / "credentials").chmod(0o600)


def told(reload: Reload) -> dict[str, Any]:
    """What workers can see."""
    with stores.opened(reload.settings) as opened:
        epoch = opened.state.epoch()
        catalog = opened.catalog.load(epoch)
        return {
            "epoch": epoch,
            "settings": opened.state.settings(),
            "providers": set(catalog.providers),
            "models": set(catalog.models),
            "keys": set(opened.state.provider_keys()),
        }


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.message) for record in caplog.records]


def test_settings_and_credentials_reach_the_workers(
    reload: Reload, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = told(reload)
    write_env(files, "TOKENHUB_LOG_LEVEL=debug\nTOKENHUB_RATE_LIMIT_RPS=5\nTOKENHUB_WORKERS=9\n")
    entries = [provider_entry("a", "https://a.example"), provider_entry("b", "https://b.example")]
    write_credentials(files, {"providers": entries, "models": [model_entry("m", "b")]})
    caplog.clear()
    reload()
    after = told(reload)
    assert after["epoch"] > before["epoch"]
    assert after["settings"]["TOKENHUB_RATE_LIMIT_RPS"] == "5"
    assert (after["providers"], after["models"], after["keys"]) == ({"a", "b"}, {"m"}, {"a", "b"})
    assert logging.getLogger().level == logs.LEVELS["debug"]
    assert (reload.settings.rate_limit_rps, reload.settings.log_level) == (5, "debug")
    assert reload.settings.workers != 9
    record = caplog.records[-1]
    assert record.message == "reloaded"
    assert vars(record)["settings"] == ["TOKENHUB_LOG_LEVEL", "TOKENHUB_RATE_LIMIT_RPS"]
    assert vars(record)["catalog"] == ["provider b", "model m"]
    assert vars(record)["needs_restart"] == ["TOKENHUB_WORKERS"]


@pytest.mark.parametrize(
    ("env", "credentials"),
    [
        ("TOKENHUB_LOG_LEVEL=loud\n", {"providers": []}),
        ("TOKENHUB_RATE_LIMIT_RPS=5\n", "{"),
        ("TOKENHUB_RATE_LIMIT_RPS=5\n", {"providers": [{"id": "c", "api_kye": "x"}]}),
        ("not a setting\n", {"providers": [provider_entry("c", "https://c.example")]}),
        ("TOKENHUB_DEFAULT_MODE=thompson\n", {"providers": [provider_entry("c", "https://c.example")]}),
    ],
)
def test_a_broken_file_is_one_line_and_changes_nothing(
    reload: Reload, files: Path, caplog: pytest.LogCaptureFixture, env: str, credentials: Any
) -> None:
    before, settings = told(reload), reload.settings
    write_env(files, env)
    write_credentials(files, credentials)
    caplog.clear()
    reload()
    assert lines(caplog) == [("ERROR", "reload_refused")]
    assert told(reload) == before
    assert reload.settings is settings


def test_a_missing_or_loose_file_changes_nothing(reload: Reload, files: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = told(reload)
    (files / "credentials").chmod(0o644)
    reload()
    (files / "credentials").unlink()
    reload()
    (files / "env").unlink()
    reload()
    assert lines(caplog) == [("ERROR", "reload_refused")] * 3
    assert told(reload) == before


def test_a_reference_is_resolved_again(reload: Reload, files: Path) -> None:
    write_credentials(files, {"providers": [provider_entry("a", "https://a.example", api_key="env:A_KEY")]})
    reload()
    assert told(reload)["keys"] == set()
    write_env(files, "A_KEY=sk-from-the-env-file\n")
    reload()
    assert told(reload)["keys"] == {"a"}


def test_the_unexpected_is_logged_and_not_raised(
    reload: Reload, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> config.Settings:
        raise RuntimeError("a bug")

    monkeypatch.setattr(config, "reread", broken)
    reload()
    assert lines(caplog) == [("ERROR", "reload_failed")]


def test_a_state_that_cannot_be_used_is_one_line_and_the_next_reload_works(
    reload: Reload, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = files / "data" / "state.sqlite"
    state.rename(files / "away")
    write_env(files, "TOKENHUB_RATE_LIMIT_RPS=5\n")
    reload()
    assert lines(caplog) == [("ERROR", "reload_refused")]
    (files / "away").rename(state)
    reload()
    assert told(reload)["settings"]["TOKENHUB_RATE_LIMIT_RPS"] == "5"
