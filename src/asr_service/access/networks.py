"""Lists of addresses and networks, such as ASR_METRICS_INSIDE."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from asr_service.setting_types import NO_NETWORK

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a list with commas; `none` has none. A single address is a network.

    Raises ValueError: one is invalid.
    """
    if text.strip() == NO_NETWORK:
        return ()
    return tuple(ip_network(part.strip()) for part in text.split(","))


def parse_address(host: str) -> Address | None:
    """Return the address, an IPv4 address if the host is one that is mapped to IPv6; None if it is no address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # an IPv4 client of a socket that listens on ::
    return address


def contains_address(networks: Sequence[Network], host: str) -> bool:
    """Return whether the address is in one of the networks. A host that is no address is in none."""
    address = parse_address(host)
    return address is not None and any(address in network for network in networks)
