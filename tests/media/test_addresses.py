from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.media.addresses import is_allowed, may_dial


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "93.184.215.14",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001:81b::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert may_dial(ip_address(address), ())


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::f7f7:f7f7",  # Teredo, its server on the loopback
        "2001:0:808:808::80ff:fffe",  # Teredo, its client on the loopback
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2a00::5efe:a00:1",  # ISATAP of 10.0.0.1
        "2a00::200:5efe:7f00:1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::5efe:808:808",
        "fec0::1",
        "ff02::1",
    ],
)
def test_other_addresses_may_not(address: str) -> None:
    assert not may_dial(ip_address(address), ())


@given(st.ip_addresses(v=4))
def test_never_less_strict_than_the_standard_library(address: IPv4Address) -> None:
    if may_dial(address, ()):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_never_less_strict_for_ipv6(address: IPv6Address) -> None:
    if may_dial(address, ()) and address.ipv4_mapped is None:
        assert address.is_global or address in ip_network("64:ff9b::/96")
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_changes_nothing(address: IPv4Address) -> None:
    wrapped = (
        IPv6Address(f"::ffff:{address}"),
        IPv6Address(f"64:ff9b::{address}"),
        IPv6Address(0x2002 << 112 | int(address) << 80 | 1),
    )
    assert {may_dial(inner, ()) for inner in wrapped} == {may_dial(address, ())}


def test_allowed_networks_are_exempt() -> None:
    allowed = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert may_dial(ip_address("10.1.2.3"), allowed)
    assert may_dial(ip_address("::ffff:10.1.2.3"), allowed)
    assert may_dial(ip_address("fd00::1"), allowed)
    assert not may_dial(ip_address("192.168.0.1"), allowed)
    assert is_allowed(ip_address("::ffff:10.1.2.3"), allowed)
    assert not is_allowed(ip_address("8.8.8.8"), allowed)
