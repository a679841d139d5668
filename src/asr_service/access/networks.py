"""Lists of addresses and networks, such as ASR_METRICS_INSIDE."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a list with commas. A single address is a network. Raises ValueError: one is invalid."""
    return tuple(ip_network(part.strip()) for part in text.split(","))


def contains_address(networks: Sequence[Network], host: str) -> bool:
    """Return whether the address is in one of the networks. A host that is no address is in none."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # an IPv4 client of a socket that listens on ::
    return any(address in network for network in networks)
