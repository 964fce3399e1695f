"""One server a data folder, whoever dies how."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tokenhub.errors import ConfigurationError
from tokenhub.runtime.claim import Claim


def test_a_second_claim_is_refused_and_names_the_first(tmp_path: Path) -> None:
    claim = Claim(tmp_path)
    with pytest.raises(
        ConfigurationError, match=rf"another TokenHub \(process {os.getpid()}\) serves from this folder"
    ):
        Claim(tmp_path)
    claim.let_go()
    Claim(tmp_path).let_go()


def test_a_child_that_let_go_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    claim = Claim(tmp_path)
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        claim.let_go()
        os.write(told, b".")
        signal.pause()
    os.read(ready, 1)
    with pytest.raises(ConfigurationError):
        Claim(tmp_path)  # The child's letting go did not take it from the parent.
    claim.let_go()
    Claim(tmp_path).let_go()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(told)


@pytest.mark.parametrize("trap", ["folder", "link"])
def test_what_cannot_be_a_lock_is_one_line(tmp_path: Path, trap: str) -> None:
    if trap == "folder":
        (tmp_path / "lock").mkdir()
    else:
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="the file cannot be made"):
        Claim(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_the_lock_goes_along_to_a_program_that_the_holder_becomes(tmp_path: Path) -> None:
    """As SIGUSR2 has it: the new master knows of no descriptor, and the folder is claimed until it ends."""
    script = (
        "import sys; from pathlib import Path; from tokenhub.runtime import claim\n"
        "claim.take_over(Path(sys.argv[1])); print('ready', flush=True); sys.stdin.read()"
    )
    ours = Claim(tmp_path)
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
        text=True,
    )
    assert other.stdout is not None and other.stdout.readline() == "ready\n"
    ours.let_go()
    with pytest.raises(ConfigurationError, match=rf"\(process {other.pid}\)"):
        Claim(tmp_path)
    other.communicate()
    Claim(tmp_path).let_go()
