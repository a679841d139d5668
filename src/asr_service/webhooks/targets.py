"""Checks which URLs may be called, and connects only to the addresses that were checked.

A URL of a caller must not reach the service's own network. So a host is resolved once, all its addresses are checked,
and the connection is made to one of these. There is no second look-up, which could give another result.
"""

import contextlib
import re
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import anyio
import httpcore
import httpx

from asr_service.access.networks import Address, Network

MAX_URL_LENGTH: Final = 2048
_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""The public IPv6 addresses. `is_global` of Python 3.11 is also true for others, such as the site-local fec0::1."""
_LOOKUP_TIMEOUT_S: Final = 2.0
_MAX_PORT: Final = 65_535
_MAX_NAME: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}", re.IGNORECASE | re.ASCII)
_PORT: Final = re.compile(r"[a-z]+://[^/?#]*:[0-9]+(?=[/?#]|$)", re.IGNORECASE)
_EXPECTED: Final = "Expected a URL such as https://example.com/hook."


class TargetRefused(Exception):
    """The URL may not be called. The message says why, for the caller."""


def check_url(url: str, allowed: Sequence[Network]) -> httpx.URL:
    """Check a URL without resolving its host. Return it parsed.

    Plain HTTP needs an allowed network, because only there is the connection trusted.

    Raises TargetRefused: when the URL is no absolute HTTPS URL, has a user name, or names an address that may not be
    called.
    """
    if len(url) > MAX_URL_LENGTH:
        raise TargetRefused(f"A URL can have at most {MAX_URL_LENGTH} characters.")
    parsed = _parse(url)
    if parsed.scheme not in {"https", "http"} or not parsed.host:
        raise TargetRefused(_EXPECTED)
    if parsed.scheme == "http" and not allowed:
        raise TargetRefused("Expected https://. ASR_WEBHOOK_ALLOW_NETWORKS can allow networks that need no TLS.")
    if parsed.userinfo:
        raise TargetRefused("A user name or password cannot be part of the URL.")
    if not _has_port(url, parsed) or not _has_name(parsed):
        raise TargetRefused(_EXPECTED)
    try:
        address = ip_address(parsed.host)
    except ValueError:
        return parsed
    _check_addresses([address], secure=parsed.scheme == "https", allowed=allowed)
    return parsed


def _parse(url: str) -> httpx.URL:
    """Parse a URL, and decode its host. Raises TargetRefused: it is not a URL."""
    try:
        parsed = httpx.URL(url)
        parsed.host  # noqa: B018 - decodes an international name, which may be invalid
    except (httpx.InvalidURL, UnicodeError):
        raise TargetRefused("This is not a URL.") from None
    return parsed


def _has_port(url: str, parsed: httpx.URL) -> bool:
    """Return whether the port is one, if the URL has a port. httpx also reads `:8_0` as port 80."""
    port = _PORT.match(url)
    return parsed.port is None or (port is not None and 0 < parsed.port <= _MAX_PORT)


def _has_name(parsed: httpx.URL) -> bool:
    """Return whether the host is an address, or a name that can have one."""
    host = parsed.raw_host.decode("ascii")
    if ":" in host:
        return True  # of an IPv6 address, which httpx has checked
    return len(host) <= _MAX_NAME and all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))


async def check_target(url: str, allowed: Sequence[Network]) -> httpx.URL:
    """Check a URL and the addresses of its host. Return it parsed.

    A host that cannot be resolved within two seconds passes: it may be there later, and each delivery checks again.

    Raises TargetRefused: as `check_url`, and when an address of the host may not be called.
    """
    parsed = check_url(url, allowed)
    addresses: list[Address] = []
    with anyio.move_on_after(_LOOKUP_TIMEOUT_S):
        with contextlib.suppress(OSError):
            addresses = await _resolve(parsed.host, parsed.port or 0)
    if addresses:
        _check_addresses(addresses, secure=parsed.scheme == "https", allowed=allowed)
    return parsed


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections to checked addresses only. For one scheme: `secure` is true for HTTPS."""

    def __init__(self, allowed: Sequence[Network], *, secure: bool) -> None:
        self._allowed = allowed
        self._secure = secure
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of the host that answers.

        Raises TargetRefused: when an address of the host may not be called.
        Raises httpcore.ConnectError: when the host has no address, or none answers.
        """
        try:
            addresses = await _resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"The host cannot be resolved: {error}") from error
        _check_addresses(addresses, secure=self._secure, allowed=self._allowed)
        failure: Exception = httpcore.ConnectError("The host has no address.")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


async def _resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host in the order of the resolver. Numbers such as `2130706433` are resolved too.

    Raises OSError: when the host has none.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters
        raise OSError(str(error)) from error
    # A link-local address may have a scope: fe80::1%eth0.
    return list(dict.fromkeys(ip_address(sockaddr[0].partition("%")[0]) for *_, sockaddr in found))


def _check_addresses(addresses: Iterable[Address], *, secure: bool, allowed: Sequence[Network]) -> None:
    for address in addresses:
        plain = _embedded(address)
        if any(each in network for each in (address, plain) for network in allowed):
            continue
        if not (_is_public(plain) and address.is_global and not address.is_multicast):
            raise TargetRefused(
                f"{plain} is not a public address. An operator can allow its network in ASR_WEBHOOK_ALLOW_NETWORKS."
            )
        if not secure:
            raise TargetRefused(f"{plain} is not in ASR_WEBHOOK_ALLOW_NETWORKS, so it can be called by https:// only.")


def _is_public(address: Address) -> bool:
    is_unicast = address in _GLOBAL_UNICAST if isinstance(address, IPv6Address) else not address.is_multicast
    return is_unicast and address.is_global


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address leads to, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address
