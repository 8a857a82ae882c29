"""Which internet addresses belong to the public, however somebody spells them."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

# `is_global` alone is not enough: what it says of these differs between versions of Python, and
# tunnels (6to4, Teredo) end at an IPv4 address that may be anything.
_NEVER = [
    ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared by a provider's customers; some clouds' metadata
        "168.63.129.16/32",  # the metadata of Azure
        "192.0.0.0/24",  # protocol assignments; the metadata of Oracle
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments; Teredo
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
_UNICAST = ip_network("2000::/3")
_MAPPED = ip_network("::ffff:0:0/96")
_NAT64 = ip_network("64:ff9b::/96")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def literal(host: str) -> Address | None:
    """Return the address that a host's name spells, or None for a real name.

    A name that ends in a number is an IPv4 address, of which systems know many spellings
    (127.1, 0x7f000001, 2130706433, 0177.0.0.1): https://url.spec.whatwg.org/#ends-in-a-number-checker

    :param host: without the brackets of IPv6.
    :raises ValueError: if it ends in a number and is no address.
    """
    try:
        return ip_address(host)
    except ValueError:
        if not _NUMBER.fullmatch(host.rpartition(".")[2]):
            return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError as error:
        raise ValueError(f"{host!r} is not an address") from error


def is_public(address: Address) -> bool:
    """Tell whether anybody on the internet could reach the host at an address.

    NAT64 and IPv4-mapped addresses are judged by the IPv4 address that they stand for.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id:
            return False
        if address in _MAPPED or address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        if address not in _UNICAST:
            return False
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
