"""How providers' keys are sealed: under the key in the data folder, each bound to its provider's id."""

from __future__ import annotations

from pathlib import Path

from tokenhub.security import sealing_key
from tokenhub.security.crypto import Sealer


def sealer_from(data_dir: Path) -> Sealer:
    """The sealer with the key that the master made. Raises ConfigurationError where it cannot be read."""
    return Sealer(sealing_key.read(data_dir / sealing_key.FILE_NAME))


def key_context(provider_id: str) -> str:
    """What the sealed key of a provider is bound to."""
    return f"provider-key:{provider_id}"
