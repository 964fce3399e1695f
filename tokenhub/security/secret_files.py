"""Files that only we may read: 0600 in folders of 0700, whatever the umask. Anything looser is refused, with the
command that cures it. All errors are ConfigurationError: these files are touched at start and reload only."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import NamedTemporaryFile

from tokenhub.errors import ConfigurationError

MAX_BYTES = 1 << 20
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def ensure_folder(path: Path) -> None:
    """Make the folder (0700) if there is none; refuse one that is not ours alone or cannot be written to."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
            path.chmod(0o700)
    except FileExistsError:
        pass  # Somebody else was faster, or it is no folder: the check below tells.
    except OSError as error:
        raise ConfigurationError(str(path), f"the folder cannot be made: {error.strerror}") from None
    check_folder(path)
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(str(path), f"the folder cannot be written to by user {os.geteuid()}")


def check_folder(path: Path) -> None:
    """Refuse what is no folder, not ours, or open to others."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(str(path), f"the folder cannot be read: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(str(path), "is not a folder")
    _check_owner(path, status, "700")


def read(path: Path) -> bytes:
    """The content, at most MAX_BYTES. Raises ConfigurationError where the file is missing, not ours, or not 0600."""
    try:
        # Not blocking: opening a pipe would wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(str(path), "is not a file")
        _check_owner(path, status, "600")
        if status.st_size > MAX_BYTES:
            raise ConfigurationError(str(path), f"is larger than {MAX_BYTES} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES)
    finally:
        os.close(descriptor)


def create(path: Path, content: bytes) -> bool:
    """Make the file with this content, whole or not at all. False, and nothing changed, if there is one already."""
    if path.exists():
        return False
    draft = _draft(path, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from None
    finally:
        draft.unlink()
    return True


def replace(path: Path, content: bytes) -> None:
    """Put this content in the file's place, whole or not at all."""
    draft = _draft(path, content)
    try:
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from None


def _draft(path: Path, content: bytes) -> Path:
    """A file beside `path` with the content, on the disk. It is made with O_EXCL and 0600; the mode is then set again,
    because a umask can only take bits away."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            return Path(file.name)
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}") from None


def _check_owner(path: Path, status: os.stat_result, mode: str) -> None:
    if status.st_uid != os.geteuid():
        raise ConfigurationError(str(path), f"belongs to user {status.st_uid}, but we run as {os.geteuid()}")
    if status.st_mode & _OTHERS:
        found = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(str(path), f"others may use it (mode {found:03o}); run: chmod {mode} {path}")
