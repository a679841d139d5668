"""Identifies callers: API keys and addresses. Limits for each caller protect the other callers."""

from ipaddress import IPv6Address, IPv6Network
from typing import Final, NewType

from asr_service.access.keys import Key
from asr_service.access.networks import parse_address

Caller = NewType("Caller", str)
"""Names a caller in the log, too. Two requests have the same caller if these texts are equal."""

UNKNOWN_CALLER: Final = Caller("unknown")
"""The caller of all requests without an API key and without an address, as on a Unix socket without a proxy."""

_IPV6_PREFIX: Final = 64
"""Bits of the network that one IPv6 client usually has to itself. It can send from any address of it."""


def identify_caller(key: Key | None, host: str | None) -> Caller:
    """Return the caller with this API key or, without a key, with this address or network of addresses."""
    if key is not None:
        return Caller(f"key {key.name}")
    address = None if host is None else parse_address(host)
    if address is None:
        return UNKNOWN_CALLER
    if isinstance(address, IPv6Address):
        return Caller(str(IPv6Network((int(address), _IPV6_PREFIX), strict=False)))
    return Caller(str(address))
