"""Reading the credentials file: who may see it, and that all of it is right. What it does is `services/seeding.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenhub.errors import ConfigurationError, InvalidRequest
from tokenhub.security import secret_files
from tokenhub.services.seeding import check_entries, parse_credentials

AUTOLOAD = "autoload_models"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The entries of a file, checked. They may hold keys: never shown."""

    providers: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    models: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


def read(path: Path, *, is_required: bool) -> Credentials:
    """The file's content; nothing where it is missing and not required.

    Raises ConfigurationError: file not 0600, folder not 0700, or a mistake named with its path in the document.
    """
    if not path.exists() and not path.is_symlink():
        if is_required:
            raise ConfigurationError(str(path), "TOKENHUB_CREDENTIALS_FILE names it, but it is not there")
        return Credentials()
    secret_files.check_folder(path.parent)
    content = secret_files.read(path)
    try:
        providers, models = parse_credentials(content)
        providers = [_without_autoload(number, entry) for number, entry in enumerate(providers)]
        check_entries(providers, models)
    except InvalidRequest as error:
        raise ConfigurationError(str(path), error.message) from None
    return Credentials(providers, models)


def _without_autoload(number: int, entry: Any) -> Any:
    """The entry without a wish that it may have in the README's form, and that is refused where it is true."""
    if not isinstance(entry, Mapping) or AUTOLOAD not in entry:
        return entry
    if entry[AUTOLOAD] is not False:
        raise InvalidRequest(f"providers[{number}].{AUTOLOAD}: is not available yet; list the models")
    return {name: value for name, value in entry.items() if name != AUTOLOAD}
