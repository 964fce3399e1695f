"""What the master does before any worker: everything made, everything checked, one line where something is wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import model_entry, provider_entry
from tokenhub.config import Settings, load
from tokenhub.errors import ConfigurationError
from tokenhub.runtime import boot, stores
from tokenhub.runtime.boot import FIRST_KEY_FILE, Boot
from tokenhub.runtime.sealing import key_context, sealer_from
from tokenhub.security import api_keys


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0)  # The loosest there is: privacy must not depend on it.
    yield
    os.umask(before)


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in [name for name in os.environ if name.startswith("TOKENHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return {"TOKENHUB_DATA_DIR": str(tmp_path / "data"), "TOKENHUB_LISTEN_ADDR": "127.0.0.1:8080"}


def prepare(environ: dict[str, str], **given: str) -> Boot:
    return boot.prepare(settings_of(environ, **given))


def settings_of(environ: dict[str, str], **given: str) -> Settings:
    return load({**environ, **{f"TOKENHUB_{name}": text for name, text in given.items()}})


def refusal(environ: dict[str, str], **given: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        prepare(environ, **given)
    assert "\n" not in caught.value.message
    return caught.value.message


def write_credentials(tmp_path: Path, content: object) -> None:
    folder = tmp_path / ".tokenhub"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    (folder / "credentials").write_text(json.dumps(content))
    (folder / "credentials").chmod(0o600)


def test_a_first_start_makes_everything_and_all_of_it_is_private(environ: dict[str, str], tmp_path: Path) -> None:
    made = prepare(environ)
    data = tmp_path / "data"
    assert data.stat().st_mode & 0o777 == 0o700
    names = {path.name for path in data.iterdir()}
    assert {"admin-token", "first-api-key", "secret.key", "state.sqlite", "tokenhub.sqlite"} <= names
    assert {oct(path.stat().st_mode & 0o777) for path in data.iterdir()} == {"0o600"}
    assert made.is_demo
    assert api_keys.looks_like(made.first_key)
    assert made.first_key not in repr(made)


def test_a_second_start_keeps_what_is_there(environ: dict[str, str], tmp_path: Path) -> None:
    first = prepare(environ)
    kept = {name: (tmp_path / "data" / name).read_bytes() for name in ("admin-token", "first-api-key", "secret.key")}
    second = prepare(environ)
    assert second.first_key == first.first_key
    assert {name: (tmp_path / "data" / name).read_bytes() for name in kept} == kept


def test_the_first_key_is_a_key_with_all_scopes(environ: dict[str, str]) -> None:
    made = prepare(environ)
    with stores.opened(made.settings) as opened:
        key = opened.state.key_by_hash(api_keys.key_hash(made.first_key))
    assert key is not None
    assert key.scopes == ("chat", "plan", "embeddings")


def test_a_first_key_that_was_revoked_is_neither_shown_nor_made_again(environ: dict[str, str]) -> None:
    made = prepare(environ)
    with stores.opened(made.settings) as opened:
        key = opened.state.key_by_hash(api_keys.key_hash(made.first_key))
        assert key is not None
        opened.state.change_key(key.id, {"enabled": False})
    again = prepare(environ)
    assert again.first_key == ""
    for tty in (True, False):
        assert made.first_key not in boot.announce(again, tty=tty)
        assert FIRST_KEY_FILE not in boot.announce(again, tty=tty)


def test_no_admin_token_is_made_where_one_is_set(environ: dict[str, str], tmp_path: Path) -> None:
    made = prepare(environ, ADMIN_TOKEN="a-token-of-some-length")
    assert not (tmp_path / "data" / "admin-token").exists()
    assert "a-token-of-some-length" not in boot.announce(made, tty=True)
    assert "TOKENHUB_ADMIN_TOKEN" in boot.announce(made, tty=True)


def test_credentials_fill_the_catalog_and_the_demo_is_gone(environ: dict[str, str], tmp_path: Path) -> None:
    write_credentials(
        tmp_path, {"providers": [provider_entry("a", "https://a.example")], "models": [model_entry("m", "a")]}
    )
    made = prepare(environ)
    assert not made.is_demo
    with stores.opened(made.settings) as opened:
        catalog = opened.catalog.load(1)
        sealed = opened.state.provider_keys()
    assert set(catalog.providers) == {"a"}
    assert set(catalog.models) == {"m"}
    secret = sealer_from(made.settings.data_dir).open(sealed["a"], key_context("a"))
    assert secret == provider_entry("a", "")["api_key"]
    assert secret.encode() not in (tmp_path / "data" / "state.sqlite").read_bytes()
    assert secret.encode() not in (tmp_path / "data" / "tokenhub.sqlite").read_bytes()


def test_references_are_resolved_by_the_master(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [provider_entry("a", "https://a.example", api_key="env:A_KEY")]
    entries += [provider_entry("b", "https://b.example", api_key="env:ABSENT")]
    write_credentials(tmp_path, {"providers": entries})
    monkeypatch.setenv("A_KEY", "sk-from-the-environment")
    made = prepare(environ)
    with stores.opened(made.settings) as opened:
        sealed = opened.state.provider_keys()
    assert set(sealed) == {"a"}
    assert sealer_from(made.settings.data_dir).open(sealed["a"], key_context("a")) == "sk-from-the-environment"
    assert [(record.message, vars(record)["variable"]) for record in caplog.records] == [
        ("key_reference_unresolved", "ABSENT")
    ]


def test_workers_find_the_reloadable_settings_in_the_state(environ: dict[str, str]) -> None:
    made = prepare(environ, LOG_LEVEL="warn", RATE_LIMIT_RPS="7")
    with stores.opened(made.settings) as opened:
        told = opened.state.settings()
    assert told == made.settings.reloadable
    assert told["TOKENHUB_RATE_LIMIT_RPS"] == "7"


def test_a_bad_credentials_file_is_found_before_anything_is_made(environ: dict[str, str], tmp_path: Path) -> None:
    write_credentials(tmp_path, {"providers": [{"id": "a", "api_kye": "x"}]})
    assert "providers[0].api_kye: unknown field" in refusal(environ)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_port_in_use_is_told_before_the_data_folder_is_touched(environ: dict[str, str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"TOKENHUB_LISTEN_ADDR: port {port} of 127.0.0.1 is in use"):
            boot.claim(settings_of(environ, LISTEN_ADDR=f"127.0.0.1:{port}"))
    assert not (tmp_path / "data").exists()
    boot.probe("127.0.0.1", port)
    boot.probe("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_told() -> None:
    with pytest.raises(ConfigurationError, match="cannot be listened on"):
        boot.probe("192.0.2.1", 8080)
    with pytest.raises(ConfigurationError, match="cannot be listened on"):
        boot.probe("no.such.host.invalid", 8080)


@pytest.mark.parametrize("name", ["tokenhub.sqlite", "state.sqlite"])
def test_a_corrupt_file_is_one_line(environ: dict[str, str], tmp_path: Path, name: str) -> None:
    prepare(environ)
    for path in (tmp_path / "data").glob(f"{name}*"):
        path.unlink()
    (tmp_path / "data" / name).write_bytes(b"this is not a database, but it is long enough to be looked at\n" * 40)
    assert "is damaged (file is not a database): restore it from a backup" in refusal(environ)


def test_a_folder_in_the_databases_place_is_one_line(environ: dict[str, str], tmp_path: Path) -> None:
    assert "TOKENHUB_DB_DSN" in refusal(environ, DB_DSN=str(tmp_path))
    assert "TOKENHUB_DB_DSN" in refusal(environ, DB_DSN=str(tmp_path / "absent" / "x.sqlite"))


@pytest.mark.parametrize("name", ["admin-token", "secret.key"])
def test_a_secret_that_others_may_read_is_refused(environ: dict[str, str], tmp_path: Path, name: str) -> None:
    prepare(environ)
    (tmp_path / "data" / name).chmod(0o644)
    assert f"chmod 600 {tmp_path / 'data' / name}" in refusal(environ)


def test_misspelled_settings_are_logged(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOKENHUB_LOGLEVEL", "debug")
    prepare(environ)
    assert [vars(record)["variable"] for record in caplog.records] == ["TOKENHUB_LOGLEVEL"]


def test_a_terminal_sees_the_key_and_a_log_sees_only_files(environ: dict[str, str], tmp_path: Path) -> None:
    made = prepare(environ)
    on_terminal, in_log = boot.announce(made, tty=True), boot.announce(made, tty=False)
    token = (tmp_path / "data" / "admin-token").read_text().strip()
    assert "http://127.0.0.1:8080" in on_terminal
    assert made.first_key in on_terminal
    assert made.first_key not in in_log
    assert str(tmp_path / "data" / FIRST_KEY_FILE) in in_log
    for text in (on_terminal, in_log):
        assert str(tmp_path / "data" / "admin-token") in text
        assert token not in text


@pytest.mark.parametrize("tty", [True, False])
def test_the_curl_line_works_as_printed(environ: dict[str, str], tmp_path: Path, tty: bool) -> None:
    """With a shell function in curl's place, in a data folder whose name needs quotes."""
    environ["TOKENHUB_DATA_DIR"] = str(tmp_path / 'it\'s a "folder"')
    made = prepare(environ)
    line = next(line for line in boot.announce(made, tty=tty).splitlines() if "try it" in line)
    script = f"curl() {{ printf '%s\\n' \"$@\"; }}; {line.removeprefix('  try it').strip()}"
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told[0] == "http://127.0.0.1:8080/v1/chat/completions"
    assert f"Authorization: Bearer {made.first_key}" in told
    assert json.loads(told[-1])["model"] == "auto"


@pytest.mark.parametrize(
    ("address", "url"),
    [(":8080", "http://localhost:8080"), ("[::]:1", "http://localhost:1"), ("[::1]:1", "http://[::1]:1")],
)
def test_the_url_is_one_that_can_be_opened(environ: dict[str, str], address: str, url: str) -> None:
    assert Boot(settings_of(environ, LISTEN_ADDR=address), is_demo=True).url == url
