from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tokenhub.errors import ConfigurationError
from tokenhub.security import sealing_key


def test_a_made_key_is_private_random_and_stays(tmp_path: Path) -> None:
    key = sealing_key.ensure(tmp_path / "a")
    assert len(key) == 32
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    assert sealing_key.ensure(tmp_path / "a") == key
    assert sealing_key.ensure(tmp_path / "b") != key


@pytest.mark.parametrize("content", [bytes(range(32)), base64.b64encode(bytes(range(32))) + b"\n"])
def test_a_key_is_raw_or_base64(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    assert sealing_key.ensure(path) == bytes(range(32))


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 31, b"\xff" * 33, base64.b64encode(b"x" * 31)])
def test_a_file_that_holds_no_key_is_refused_and_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        sealing_key.ensure(path)
    assert path.read_bytes() == content
