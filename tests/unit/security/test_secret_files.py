from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenhub.errors import ConfigurationError
from tokenhub.security import secret_files


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_are_0600_and_folders_0700_under_any_umask(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "data"
    secret_files.ensure_folder(folder)
    assert mode(folder) == 0o700
    assert secret_files.create(folder / "a", b"1")
    assert mode(folder / "a") == 0o600
    secret_files.replace(folder / "a", b"2")
    assert mode(folder / "a") == 0o600
    assert secret_files.read(folder / "a") == b"2"
    assert os.listdir(folder) == ["a"]


def test_create_never_overwrites(tmp_path: Path) -> None:
    assert secret_files.create(tmp_path / "a", b"first")
    assert not secret_files.create(tmp_path / "a", b"second")
    assert secret_files.read(tmp_path / "a") == b"first"


def test_of_many_creators_one_wins(tmp_path: Path) -> None:
    won: list[bytes] = []

    def create(content: bytes) -> None:
        if secret_files.create(tmp_path / "a", content):
            won.append(content)

    threads = [threading.Thread(target=create, args=(str(number).encode(),)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [secret_files.read(tmp_path / "a")]
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660, 0o777])
def test_a_loose_file_is_refused_with_its_cure(tmp_path: Path, loose: int) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"secret")
    path.chmod(loose)
    with pytest.raises(ConfigurationError, match=f"chmod 600 {path}") as caught:
        secret_files.read(path)
    assert "secret" not in caught.value.message
    path.chmod(0o400)
    assert secret_files.read(path) == b"secret"


@pytest.mark.parametrize("loose", [0o750, 0o701, 0o755])
def test_a_loose_folder_is_refused_with_its_cure(tmp_path: Path, loose: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(loose)
    with pytest.raises(ConfigurationError, match=f"chmod 700 {folder}"):
        secret_files.ensure_folder(folder)
    assert mode(folder) == loose


def test_another_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret_files.create(tmp_path / "a", b"1")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ConfigurationError, match="belongs to user"):
        secret_files.read(tmp_path / "a")
    with pytest.raises(ConfigurationError, match="belongs to user"):
        secret_files.ensure_folder(tmp_path)


def test_what_is_no_file_or_no_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="not a file"):
        secret_files.read(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        secret_files.read(tmp_path / "absent")
    with pytest.raises(ConfigurationError):
        secret_files.read(tmp_path)
    secret_files.create(tmp_path / "a", b"1")
    with pytest.raises(ConfigurationError, match="not a folder"):
        secret_files.ensure_folder(tmp_path / "a")
    with pytest.raises(ConfigurationError, match="Not a directory"):
        secret_files.ensure_folder(tmp_path / "a" / "b")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        secret_files.create(tmp_path / "absent" / "b", b"1")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    secret_files.create(tmp_path / "a", b"")
    os.truncate(tmp_path / "a", secret_files.MAX_BYTES + 1)
    with pytest.raises(ConfigurationError, match="larger"):
        secret_files.read(tmp_path / "a")
