"""The addresses of services: HTTP(S) URLs and unix sockets."""

from collections.abc import Mapping

import httpx

_UNIX = "unix:"


def open_endpoint(address: str, headers: Mapping[str, str], timeout: httpx.Timeout) -> httpx.AsyncClient:
    """Open a client of the service at `http(s)://HOST`, or at a unix socket: `unix:/PATH`.

    Each request has a connection of its own: a load balancer may choose another service for each connection.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    if address.startswith(_UNIX):
        transport = httpx.AsyncHTTPTransport(uds=address.removeprefix(_UNIX), limits=limits)
        return httpx.AsyncClient(base_url="http://slot", headers=headers, timeout=timeout, transport=transport)
    return httpx.AsyncClient(base_url=address, headers=headers, timeout=timeout, limits=limits)
