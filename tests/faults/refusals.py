"""Starts that must fail: a data folder to break, a server to begin on it, and the one line that it must say."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import apsw

from tests.e2e.harness import GUNICORN, ROOT, free_port, until
from tests.factories import chat_body
from tests.faults.site import Books, Site

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24

_preparing = threading.Lock()


@functools.cache
def _prepared() -> tempfile.TemporaryDirectory[str]:
    """A data folder that a server has used, made once a process and gone with it."""
    made = tempfile.TemporaryDirectory(prefix="tokenhub-prepared-")
    site = Site(Path(made.name))
    try:
        gateway = site.gateway(WORKERS="1")
        for _ in range(40):
            gateway.chat(chat_body("ok"))
        until(lambda: not Books(gateway.data).outbox())
    finally:
        site.close()
    _settle_wal(gateway.data / "state.sqlite")
    return made


def prepared() -> Path:
    """A data folder that a server has used: copy it, then break the copy."""
    with _preparing:
        return Path(_prepared().name) / "gateway0" / "data"


def copied(site: Site, name: str) -> Path:
    """A copy of the prepared data folder."""
    data = data_folder(site, name)
    shutil.copytree(prepared(), data)
    return data


def _settle_wal(path: Path) -> None:
    """Move the write-ahead log into the file, so that noise in the file is not hidden by it."""
    connection = apsw.Connection(str(path))
    connection.execute("SELECT * FROM meta").fetchall()  # Before the first read it does not know that there is one.
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


def data_folder(site: Site, name: str = "refused") -> Path:
    """A folder to start in that does not exist yet."""
    folder = site.folder / name
    folder.mkdir()
    return folder / "data"


def settings_for(data: Path, **settings: str) -> dict[str, str]:
    """The environment of a server on a data folder."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(data.parent),
        "TOKENHUB_LISTEN_ADDR": f"127.0.0.1:{free_port()}",
        "TOKENHUB_DATA_DIR": str(data),
        "TOKENHUB_WORKERS": "1",
        "TOKENHUB_ENV": "development",
        **{f"TOKENHUB_{name}": text for name, text in settings.items()},
    }


def begin(environment: Mapping[str, str], *arguments: str, unprivileged: bool = False) -> subprocess.Popen[str]:
    """Start a server and read what it says."""
    return subprocess.Popen(
        [str(GUNICORN), "-c", "gunicorn.conf.py", *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=obey_file_modes if unprivileged else None,
    )


def refusal(process: subprocess.Popen[str], within_s: float = 15) -> str:
    """The one line with which a start was refused: exit code 2, no traceback. AssertionError for anything else."""
    try:
        told, _ = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        told, _ = process.communicate(timeout=30)
        raise AssertionError(f"it started:\n{told[-2000:]}") from None
    assert process.returncode == 2, f"exit code {process.returncode}:\n{told[-3000:]}"
    lines = [line for line in told.splitlines() if line.startswith("tokenhub: ")]
    others = [line for line in told.splitlines() if line not in lines and "Starting gunicorn" not in line]
    assert len(lines) == 1 and not others, told[-3000:]
    return lines[0].removeprefix("tokenhub: ")


def obey_file_modes() -> None:
    """In a child that is to be exec'd: be bound by file modes also where we are root."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "a capability cannot be dropped")
