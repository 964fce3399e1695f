"""The address a request comes from. Only proxies that the operator named are believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Network = IPv4Network | IPv6Network
UNKNOWN = "unknown"


class ClientAddress:
    """Reads the client's address from a WSGI environment."""

    def __init__(self, trusted_proxies: Sequence[Network]) -> None:
        self._trusted = tuple(trusted_proxies)

    def __call__(self, environ: Mapping[str, Any]) -> str:
        """The peer; or, where the peer is a trusted proxy, the nearest hop in X-Forwarded-For that is not one."""
        peer = str(environ.get("REMOTE_ADDR") or UNKNOWN)
        if not self._trusted or not self._is_trusted(peer):
            return peer
        hops = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
        for hop in reversed(hops):
            address = _parse(hop.strip())
            if address is None:
                break
            if not self._is_trusted(str(address)):
                return str(address)
        return peer

    def _is_trusted(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
