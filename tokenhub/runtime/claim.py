"""One data folder, one server: the master holds a lock on it as long as it lives. A lock that the kernel keeps, so
that one that was killed leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from tokenhub.errors import ConfigurationError

FILE_NAME = "lock"


class Claim:
    """The lock, held until it is let go or the process ends. Whoever is forked from its holder lets it go at once:
    workers that outlive a killed master must not keep the next one out."""

    def __init__(self, data_dir: Path) -> None:
        """Raises ConfigurationError where another process holds it. The folder must be there."""
        path = data_dir / FILE_NAME
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError(str(path), f"the file cannot be made: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            who = f"another TokenHub (process {holder})" if holder else "another TokenHub"
            told = f"{who} serves from this folder; stop it, or choose another folder"
            if not isinstance(error, BlockingIOError):
                told = f"the folder cannot be locked: {error.strerror}"
            raise ConfigurationError("TOKENHUB_DATA_DIR", f"{data_dir}: {told}") from None
        # SIGUSR2 has the master exec another one, to which the lock goes along.
        os.set_inheritable(self._descriptor, True)
        _sign(path)

    def let_go(self) -> None:
        """In a child: forget the lock, which its parent keeps. In the holder: give it up."""
        os.close(self._descriptor)


def take_over(data_dir: Path) -> None:
    """After SIGUSR2, in the new master: it has the lock, as a file that it does not know of. Write who it is."""
    _sign(data_dir / FILE_NAME)


def _sign(path: Path) -> None:
    with contextlib.suppress(OSError):  # Only words: a full disk is told by what needs the room.
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
