"""Whole lines to a file descriptor, without ever waiting for its reader. What a line says is in `logs.py`."""

from __future__ import annotations

import os
import stat

MAX_LINE_BYTES = 4096
"""PIPE_BUF: up to here a pipe takes a line whole or not at all, so lines of several workers never mix."""


class Lines:
    """Writes lines to a descriptor of its own; one that cannot be written at once is dropped and counted.

    A worker that waits for a stopped reader stands still with all its requests, so it never does.
    """

    def __init__(self, fd: int) -> None:
        self._fd = _never_blocking(fd)
        self._rest = b""
        self.dropped = 0

    def write(self, line: bytes) -> bool:
        """Write a line that ends in a newline; False if it was dropped."""
        try:
            if self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
            if not self._rest:
                self._rest = line[os.write(self._fd, line) :]
                return True
        except OSError:
            pass  # Full, closed or out of space: there is nowhere left to tell it.
        self.dropped += 1
        return False

    def close(self) -> None:
        """Close our descriptor; the one that was given stays open."""
        os.close(self._fd)


def _never_blocking(fd: int) -> int:
    """A new descriptor for the same pipe, terminal, socket or file."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            # Opened anew it has flags of its own: O_NONBLOCK on the inherited one would also hit whoever shares it.
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            pass  # Owned by another user, or no /proc.
    own = os.dup(fd)
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        os.set_blocking(own, False)
    return own
