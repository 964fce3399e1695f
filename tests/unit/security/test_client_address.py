"""Only named proxies are believed."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tokenhub.security.client_address import ClientAddress

TRUSTED = ClientAddress([ip_network("10.0.0.0/8"), ip_network("::1/128")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "evil, junk", "10.0.0.1"),
        ("10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("", "1.2.3.4", "unknown"),
    ],
)
def test_the_nearest_hop_that_is_no_proxy_counts(peer: str, forwarded: str, expected: str) -> None:
    assert TRUSTED({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}) == expected


def test_without_named_proxies_nobody_is_believed() -> None:
    assert ClientAddress([])({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "1.2.3.4"}) == "10.0.0.1"
