"""The key that seals secrets in the state: 32 random bytes in a file of the data folder, made by the master."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from tokenhub.errors import ConfigurationError
from tokenhub.security import secret_files
from tokenhub.security.crypto import KEY_BYTES

FILE_NAME = "secret.key"


def ensure(path: Path) -> bytes:
    """The key in the file, which is made if there is none. Raises ConfigurationError where it is not usable."""
    secret_files.create(path, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
    return read(path)


def read(path: Path) -> bytes:
    """The key in the file: 32 bytes, raw or in base64. Raises ConfigurationError."""
    content = secret_files.read(path)
    if len(content) == KEY_BYTES:
        return content
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(str(path), f"is not a key of {KEY_BYTES} bytes, raw or in base64; restore a backup")
    return key
