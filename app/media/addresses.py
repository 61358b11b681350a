"""Which addresses may be dialled for a stranger: public ones, and those a setting allows."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The IANA special-purpose registries, where they are not "globally reachable", and multicast.
_NOT_PUBLIC_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Of IPv6 only global unicast can be public; these parts of it are not.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_V6: Final = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20")
)
# Where the last 32 bits are an IPv4 address: mapped (RFC 4291), compatible (RFC 4291), translated
# (RFC 2765), NAT64 (RFC 6052). The loopback and the unspecified address are 0.0.0.1 and 0.0.0.0.
_LOW_32_BITS: Final = tuple(
    IPv6Network(network)
    for network in ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")
# Interface identifiers of ISATAP (RFC 5214, 6.1), with or without the universal bit.
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


def may_dial(address: Address, allowed: Collection[Network]) -> bool:
    """Tell whether `address`, and every IPv4 address that it carries, is public or allowed."""
    if in_any(address, allowed):
        return True
    if isinstance(address, IPv4Address):
        return not in_any(address, _NOT_PUBLIC_V4)
    if not all(may_dial(inner, allowed) for inner in _embedded(address)):
        return False
    if in_any(address, (*_LOW_32_BITS, _TEREDO)):  # nothing but the embedded address counts
        return True
    return address in _GLOBAL_UNICAST and not in_any(address, _NOT_PUBLIC_V6)


def is_allowed(address: Address, allowed: Collection[Network]) -> bool:
    """Tell whether a setting, rather than being public, makes `address` (or what it maps) fine."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return in_any(address, allowed) or (mapped is not None and in_any(mapped, allowed))


def in_any(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that packets to `address` may end up at."""
    number = int(address)
    if in_any(address, _LOW_32_BITS):
        yield IPv4Address(number & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:  # the server, and the client's address with its bits inverted
        yield IPv4Address(number >> 64 & 0xFFFFFFFF)
        yield IPv4Address(~number & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFFFFFF)
