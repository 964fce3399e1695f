"""The folder is ours alone, the same at every start, and empty at the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenhub.runtime import metrics_folder


def test_it_is_in_memory_and_the_same_for_the_same_data(tmp_path: Path) -> None:
    one, again = metrics_folder.place(tmp_path / "a", tmp_path), metrics_folder.place(tmp_path / "a", tmp_path)
    assert one == again and one.parent == tmp_path
    assert metrics_folder.place(tmp_path / "b", tmp_path) != one


def test_without_memory_it_is_with_the_data(tmp_path: Path) -> None:
    assert metrics_folder.place(tmp_path, tmp_path / "absent") == tmp_path / "metrics"


@pytest.mark.parametrize("trap", ["link", "open", "file"])
def test_what_somebody_else_may_have_made_is_not_used(tmp_path: Path, trap: str) -> None:
    folder = metrics_folder.place(tmp_path / "data", tmp_path)
    if trap == "link":
        folder.symlink_to(tmp_path)
    elif trap == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder.touch()
    assert metrics_folder.place(tmp_path / "data", tmp_path) == tmp_path / "data" / "metrics"


def test_clearing_leaves_an_empty_private_folder(tmp_path: Path) -> None:
    folder = metrics_folder.place(tmp_path, tmp_path)
    metrics_folder.clear(folder)
    (folder / "old.db").touch()
    metrics_folder.clear(folder)
    assert list(folder.iterdir()) == [] and folder.stat().st_mode & 0o777 == 0o700
    assert metrics_folder.make(folder)


def test_a_folder_that_cannot_be_made_is_told_and_not_raised(tmp_path: Path) -> None:
    folder = tmp_path / "gone" / "metrics"
    assert not metrics_folder.make(folder)
    metrics_folder.clear(folder)
    (tmp_path / "gone").mkdir()
    assert metrics_folder.make(folder) and folder.is_dir()
