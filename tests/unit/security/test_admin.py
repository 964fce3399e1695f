from __future__ import annotations

import os
from pathlib import Path

import pytest

from tokenhub.errors import ConfigurationError
from tokenhub.security import admin
from tokenhub.security.admin import AdminToken

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize(
    "presented", ["", "wrong", TOKEN + "x", TOKEN[:-1], "é", "\ud800", "x" * 100_000, TOKEN.upper()]
)
def test_only_the_token_matches_whatever_is_presented(presented: str) -> None:
    token = AdminToken(TOKEN, Path("/nowhere"))
    assert token.matches(TOKEN)
    assert not token.matches(presented)


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(AdminToken(TOKEN, Path("/nowhere")))


def test_a_made_token_is_long_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / admin.FILE_NAME
    admin.ensure(path)
    token = admin.read(path)
    assert len(token) >= 40
    assert path.stat().st_mode & 0o777 == 0o600
    admin.ensure(path)
    assert admin.read(path) == token
    assert AdminToken("", path).matches(token)


def test_the_file_is_read_when_needed_and_tried_again_while_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / admin.FILE_NAME
    token = AdminToken("", path)
    assert not token.matches("")
    assert not token.matches(TOKEN)
    path.write_text(TOKEN + "\n")
    os.chmod(path, 0o644)
    assert not token.matches(TOKEN)
    os.chmod(path, 0o600)
    assert token.matches(TOKEN)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 30, b"a token with spaces inside"[:12]])
def test_a_file_without_a_usable_token_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / admin.FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match="16"):
        admin.ensure(path)
    assert not AdminToken("", path).matches("")
