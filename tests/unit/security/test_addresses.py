"""Local models may be called, metadata services never, however they are written."""

from __future__ import annotations

import pytest

from tokenhub.security.addresses import may_be_called


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "172.16.0.9",
        "192.168.1.5",
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "fd12::1",
    ],
)
def test_hosts_may_be_called(ip: str) -> None:
    assert may_be_called(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "100.100.100.200",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
        "not an address",
        "",
    ],
)
def test_metadata_services_and_what_is_no_host_may_not(ip: str) -> None:
    assert not may_be_called(ip)
