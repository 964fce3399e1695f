from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tokenhub.errors import ConfigurationError
from tokenhub.runtime import credentials

SECRET = "sk-canary-0123456789"
PROVIDER = {"id": "a", "base_url": "https://a.example", "api_key": SECRET}
MODEL = {"id": "m", "provider_id": "a", "weight": 8, "input_per_1k": 0.001, "output_per_1k": 0.002}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    return folder / "credentials"


def write(path: Path, content: Any) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)


def refusal(path: Path, content: Any) -> str:
    write(path, content)
    with pytest.raises(ConfigurationError) as caught:
        credentials.read(path, is_required=False)
    assert caught.value.name == str(path)
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message
    return caught.value.message


def test_a_good_file_gives_its_entries(path: Path) -> None:
    write(path, {"providers": [PROVIDER], "models": [MODEL]})
    found = credentials.read(path, is_required=True)
    assert list(found.providers) == [PROVIDER]
    assert list(found.models) == [MODEL]
    assert SECRET not in repr(found)


def test_a_missing_file_is_an_error_only_where_it_was_named(path: Path) -> None:
    assert credentials.read(path, is_required=False) == credentials.Credentials()
    with pytest.raises(ConfigurationError, match="TOKENHUB_CREDENTIALS_FILE"):
        credentials.read(path, is_required=True)


def test_a_link_to_nothing_is_an_error(path: Path) -> None:
    path.symlink_to(path.parent / "absent")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        credentials.read(path, is_required=False)


def test_a_file_or_folder_that_others_may_read_is_refused_with_its_cure(path: Path) -> None:
    write(path, {})
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}"):
        credentials.read(path, is_required=False)
    path.chmod(0o600)
    path.parent.chmod(0o755)
    with pytest.raises(ConfigurationError, match=f"chmod 700 {path.parent}"):
        credentials.read(path, is_required=False)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not valid JSON"),
        ("[]", "must be an object"),
        ('{"providers": {}}', "providers: must be an array"),
        ({"provider": []}, "provider: unknown field"),
        ({"providers": [{**PROVIDER, "api_kye": SECRET}]}, "providers[0].api_kye: unknown field"),
        ({"providers": [PROVIDER, {**PROVIDER, "id": 7}]}, "providers[1].id: must be a string"),
        ({"providers": [{"base_url": "https://a.example"}]}, "providers[0].id: is required"),
        ({"providers": [{"id": "a"}]}, "providers[0].base_url: is required"),
        ({"providers": [{**PROVIDER, "enabled": "yes"}]}, "providers[0].enabled: must be true or false"),
        ({"providers": [{**PROVIDER, "api_key": SECRET + "\n"}]}, "providers[0].api_key: must"),
        ({"providers": [{**PROVIDER, "autoload_models": True}]}, "providers[0].autoload_models: is not available yet"),
        ({"models": [{**MODEL, "weight": "8"}]}, "models[0].weight: must be a whole number"),
        ({"models": [{**MODEL, "tool_name_map": {}}]}, "models[0].tool_name_map: unknown field"),
        ({"models": [{"id": "m"}]}, "models[0].provider_id: is required"),
        ({"models": [MODEL, MODEL]}, "models[1].id: 'm' is there twice"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_mistake_is_named_with_its_place(path: Path, content: Any, told: str) -> None:
    assert told in refusal(path, content)


def test_autoload_may_be_false(path: Path) -> None:
    write(path, {"providers": [{**PROVIDER, "autoload_models": False}]})
    assert list(credentials.read(path, is_required=False).providers) == [PROVIDER]
