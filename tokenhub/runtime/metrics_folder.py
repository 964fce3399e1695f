"""Where the workers of one server share their metrics: files that prometheus_client maps into memory.

In memory, not on the data's disk, where the machine has such a place: writing to a mapped file on a disk that is full
kills the process (SIGBUS), and a full disk must not cost a worker. Imports nothing of prometheus_client.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is checked to be ours alone


def place(data_dir: Path, in_memory: Path = IN_MEMORY) -> Path:
    """The folder of the server with this data folder: always the same one, so that nothing is left behind."""
    name = f"tokenhub-{os.geteuid()}-{hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:12]}"
    folder = in_memory / name
    return folder if os.access(in_memory, os.W_OK | os.X_OK) and _may_be_ours(folder) else data_dir / "metrics"


def make(folder: Path) -> bool:
    """Make it if it is not there. False where that cannot be: the data folder may be gone for a while."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return True


def clear(folder: Path) -> None:
    """Make it empty: the files of an earlier run count what was counted before."""
    shutil.rmtree(folder, ignore_errors=True)
    make(folder)


def _may_be_ours(folder: Path) -> bool:
    """Not there yet, or a real folder of ours that nobody else may use: others can make names in shared places."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
