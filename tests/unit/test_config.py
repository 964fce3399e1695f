"""The settings: what each variable takes, what an error says, and that the table, the example and the code agree."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from tokenhub import config
from tokenhub.config_table import TABLE
from tokenhub.domain.policy import DEFAULTS, MODES
from tokenhub.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-some-length"


def load(**given: str) -> config.Settings:
    return config.load({f"TOKENHUB_{name}": text for name, text in given.items()})


def refusal(**given: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**given)
    assert caught.value.name == f"TOKENHUB_{next(iter(given))}"
    assert "\n" not in caught.value.message
    return caught.value.message


def test_an_empty_environment_gives_the_documented_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(config, "SHARED_DATA_DIR", tmp_path / "absent")
    settings = config.load({})
    assert (settings.listen_host, settings.listen_port) == ("0.0.0.0", 8080)
    assert settings.log_level == "info"
    assert settings.env == "production"
    assert settings.log_json
    assert settings.data_dir == tmp_path / ".tokenhub" / "data"
    assert settings.db_url == f"sqlite:///{tmp_path}/.tokenhub/data/tokenhub.sqlite"
    assert settings.state_path == tmp_path / ".tokenhub" / "data" / "state.sqlite"
    assert settings.credentials_file == tmp_path / ".tokenhub" / "credentials"
    assert not settings.credentials_required
    assert 1 <= settings.workers <= 4
    assert settings.admin_token == ""
    assert settings.cors_origins == ("*",)
    assert (settings.rate_limit_rps, settings.rate_limit_burst) == (60, 120)
    assert settings.trusted_proxies == ()
    assert (settings.provider_timeout_s, settings.request_timeout_s) == (30, 600)
    assert settings.max_body_bytes == 10 * 1024 * 1024
    assert not settings.public_models


def test_the_shared_folder_is_the_default_where_it_is_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "SHARED_DATA_DIR", tmp_path)
    settings = config.load({})
    assert settings.data_dir == tmp_path
    assert settings.db_url == f"sqlite:///{tmp_path}/tokenhub.sqlite"


def test_the_database_stays_with_the_data_folder_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SHARED_DATA_DIR", tmp_path)
    assert load(DATA_DIR="/elsewhere").db_url == "sqlite:////elsewhere/tokenhub.sqlite"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "0.0.0.0", 8080),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:65535", "::1", 65535),
        ("localhost:9", "localhost", 9),
    ],
)
def test_listen_addresses_are_read(text: str, host: str, port: int) -> None:
    settings = load(LISTEN_ADDR=text)
    assert (settings.listen_host, settings.listen_port) == (host, port)


@pytest.mark.parametrize(
    "text", ["8080", ":0", ":65536", ":٣٣", "a b:80", "[::1]", "::1:80", "[zz]:80", ":80\n", "http://x:80", ":-1"]
)
def test_bad_listen_addresses_are_refused_with_what_is_accepted(text: str) -> None:
    message = refusal(LISTEN_ADDR=text)
    assert repr(text) in message
    assert "127.0.0.1:8080" in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LOG_LEVEL", "loud"),
        ("ENV", "staging"),
        ("WORKERS", "0"),
        ("WORKERS", "65"),
        ("WORKERS", "two"),
        ("WORKERS", "1_0"),
        ("DEFAULT_MODE", "fastest"),
        ("DEFAULT_MAX_BUDGET_USD", "-1"),
        ("DEFAULT_MAX_BUDGET_USD", "nan"),
        ("DEFAULT_MAX_BUDGET_USD", "101"),
        ("DEFAULT_MAX_BUDGET_USD", "1_0"),
        ("DEFAULT_MAX_LATENCY_MS", "300001"),
        ("DEFAULT_MAX_LATENCY_MS", "1.5"),
        ("DEFAULT_MIN_WEIGHT", "101"),
        ("DEFAULT_FALLBACK", ","),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://a.example, https://b.example/path"),
        ("RATE_LIMIT_RPS", "0"),
        ("RATE_LIMIT_BURST", "1e3"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "nginx"),
        ("PROVIDER_TIMEOUT_SECS", "0"),
        ("PROVIDER_TIMEOUT_SECS", "inf"),
        ("REQUEST_TIMEOUT_SECS", "86401"),
        ("MAX_BODY_BYTES", "10MB"),
        ("PUBLIC_MODELS", "maybe"),
        ("DB_DSN", "mysql://host/db"),
        ("DB_DSN", "sqlite://"),
        ("DB_DSN", "sqlite:///:memory:"),
        ("DB_DSN", "file:/data/tokenhub.sqlite"),
        ("STATE_URL", "/a/path"),
        ("STATE_URL", "redis://localhost"),
    ],
)
def test_bad_values_are_refused_naming_variable_value_and_what_is_accepted(name: str, text: str) -> None:
    message = refusal(**{name: text})
    row = next(row for row in TABLE if row.name == f"TOKENHUB_{name}")
    assert message.startswith(row.name)
    assert repr(text) in message
    assert row.accepted in message


def test_what_comes_later_is_said_to_come_later() -> None:
    assert "not available yet" in refusal(DEFAULT_MODE="thompson")
    assert "not available yet" in refusal(DB_DSN="postgresql+psycopg://host/db")
    assert "not available yet" in refusal(STATE_URL="postgresql://host/db")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/var/x.sqlite", "sqlite:////var/x.sqlite"),
        ("sqlite:////var/x.sqlite", "sqlite:////var/x.sqlite"),
        ("x.sqlite", f"sqlite:///{Path.cwd()}/x.sqlite"),
        ("sqlite:///x.sqlite", f"sqlite:///{Path.cwd()}/x.sqlite"),
    ],
)
def test_the_database_is_a_path_or_a_url(text: str, url: str) -> None:
    assert load(DB_DSN=text).db_url == url


def test_the_state_is_a_file_of_its_own() -> None:
    assert load(STATE_URL="sqlite:////var/state.sqlite").state_path == Path("/var/state.sqlite")


def test_routing_defaults_become_a_policy_with_exact_money() -> None:
    policy = load(DEFAULT_MODE="cheap", DEFAULT_MAX_BUDGET_USD="0.000000001", DEFAULT_MAX_LATENCY_MS="0").default_policy
    assert (policy["mode"], policy["max_budget_usd"], policy["max_latency_ms"]) == ("cheap", 1, 0)
    assert policy.set_by("mode") == "server"
    assert load(DEFAULT_MAX_BUDGET_USD="0").default_policy["max_budget_usd"] is None
    assert load(DEFAULT_FALLBACK="a, b", DEFAULT_MIN_WEIGHT="7").default_policy["fallback"] == ("a", "b")


def test_a_routing_default_that_nobody_set_is_the_tables() -> None:
    assert load().default_policy is DEFAULTS
    assert load(DEFAULT_MAX_BUDGET_USD="0.05").default_policy is DEFAULTS


def test_every_mode_of_the_policy_table_is_a_default_mode() -> None:
    assert [load(DEFAULT_MODE=mode).default_policy["mode"] for mode in MODES] == list(MODES)


def test_origins_and_proxies_are_lists() -> None:
    assert load(CORS_ORIGINS="https://a.example, http://[::1]:3000,").cors_origins == (
        "https://a.example",
        "http://[::1]:3000",
    )
    assert load(CORS_ORIGINS="none").cors_origins == ()
    proxies = load(TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8, ::1").trusted_proxies
    assert proxies == (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize("token", ["", "tiny", "fifteen-chars-x"])
def test_production_refuses_a_weak_admin_token_without_showing_it(token: str) -> None:
    message = refusal(ADMIN_TOKEN=token)
    assert not token or token not in message
    assert "16" in message


def test_development_takes_a_short_admin_token() -> None:
    assert load(ADMIN_TOKEN="short", ENV="development").admin_token == "short"
    assert load(ADMIN_TOKEN="", ENV="development").admin_token == ""


@pytest.mark.parametrize("token", ["a token with spaces in it", "ein-schlüssel", "line\nend-of-a-long-token"])
def test_an_admin_token_that_fits_into_no_header_is_refused_without_showing_it(token: str) -> None:
    assert token not in refusal(ADMIN_TOKEN=token, ENV="development")


def test_the_admin_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(load(ADMIN_TOKEN=TOKEN))


def test_a_variable_that_is_empty_counts_as_not_set() -> None:
    assert load(LOG_LEVEL="", WORKERS="", CORS_ORIGINS="").log_level == "info"


def test_the_env_file_stands_in_where_the_environment_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(
        "# a comment\n\nTOKENHUB_LOG_LEVEL=debug\nexport TOKENHUB_WORKERS = '3'\n"
        'TOKENHUB_ENV="development"\r\nOTHER=a=b'
    )
    settings = load(ENV_FILE=str(file), LOG_LEVEL="error", ENV="")
    assert (settings.log_level, settings.workers, settings.env) == ("error", 3, "development")
    assert config.with_env_file({"TOKENHUB_ENV_FILE": str(file)})["OTHER"] == "a=b"


def test_a_bad_env_file_is_told_by_name_and_line_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=1\nsecret words\n")
    message = refusal(ENV_FILE=str(file))
    assert "line 2" in message
    assert "secret words" not in message
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal(ENV_FILE=str(file))
    assert "cannot be read" in refusal(ENV_FILE=str(tmp_path / "absent"))
    assert "cannot be read" in refusal(ENV_FILE=str(tmp_path))


def test_a_named_credentials_file_is_required() -> None:
    settings = load(CREDENTIALS_FILE="/x/credentials")
    assert settings.credentials_file == Path("/x/credentials")
    assert settings.credentials_required


def test_a_reload_lays_over_what_it_may_change_and_nothing_else() -> None:
    old = load(LOG_LEVEL="info", WORKERS="2")
    new = load(LOG_LEVEL="debug", WORKERS="3", RATE_LIMIT_RPS="5", DEFAULT_MODE="cheap")
    result = config.overlaid(old, new.texts)
    assert (result.log_level, result.rate_limit_rps, result.default_policy["mode"]) == ("debug", 5, "cheap")
    assert result.workers == 2
    assert result.reloadable == new.reloadable
    with pytest.raises(ConfigurationError):
        config.overlaid(old, {"TOKENHUB_LOG_LEVEL": "loud"})


def test_a_reload_tells_which_changes_are_live_and_which_need_a_restart() -> None:
    old = load(WORKERS="2")
    new = load(WORKERS="3", LOG_LEVEL="debug", ADMIN_TOKEN=TOKEN)
    assert config.changed(old, new) == (["TOKENHUB_LOG_LEVEL"], ["TOKENHUB_WORKERS", "TOKENHUB_ADMIN_TOKEN"])
    assert config.changed(old, old) == ([], [])


def test_misspelled_names_are_found() -> None:
    environ = {"TOKENHUB_LOGLEVEL": "x", "TOKENHUB_LOG_LEVEL": "info", "HOME": "/"}
    assert config.unknown(environ) == ["TOKENHUB_LOGLEVEL"]


def test_the_example_file_is_the_tables() -> None:
    assert (ROOT / ".env.example").read_text() == config.example(), "run: python -m tokenhub.config > .env.example"


def test_only_the_settings_read_the_environment() -> None:
    reading = re.compile(r"os\.(environ|getenv|putenv)|from os import .*environ")
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("tokenhub", "blueprints", "migrations")
        for path in (ROOT / folder).rglob("*.py")
        if reading.search(path.read_text())
    }
    assert readers == {"tokenhub/config.py", "tokenhub/__init__.py"}  # The second only tells numpy to start no threads.
