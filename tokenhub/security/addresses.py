"""Which addresses a provider may be at. Asked about the address that is really connected to, after name resolution, so
that a name that points elsewhere a moment later gains nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_NAT64 = ip_network("64:ff9b::/96")
_METADATA = frozenset({ip_address("100.100.100.200"), ip_address("fd00:ec2::254")})
"""Cloud metadata services outside of the link-local range."""


def may_be_called(ip: str) -> bool:
    """False for link-local addresses (cloud metadata services are there), metadata services elsewhere, and what is no
    host at all; written as IPv6 in any way, too. Loopback and private ranges are where local models run: allowed."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = _embedded(address)
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return address.is_loopback or not address.is_reserved


def _embedded(address: IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
