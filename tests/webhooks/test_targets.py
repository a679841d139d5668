"""URLs that would reach the service's own network are refused, by text, by look-up and at the connection."""

import socket
from typing import Any

import anyio
import httpcore
import pytest

from asr_service.access.networks import parse_networks
from asr_service.webhooks.targets import CheckedBackend, TargetRefused, check_target, check_url

Names = dict[str, list[list[str]]]

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "198.18.0.1", "224.0.0.1", "255.255.255.255", "[::]", "[::1]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]",
    "[ff02::1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[fec0::1]", "[64:ff9b:1::a00:1]", "[::10.0.0.1]", "[::ffff:0:10.0.0.1]",
    "[5f00::1]",
]  # fmt: skip
"""Loopback, private, link-local, CGNAT, benchmark, multicast and unspecified addresses, also inside IPv6 addresses, and
IPv6 addresses outside 2000::/3, such as those of a local NAT64 or of IPv4 in its forms ::/96 and ::ffff:0:0:0/96."""


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Answer look-ups of names from a table of lists. Each look-up takes the next list, and the last one stays.

    Addresses are answered as the system's resolver answers them.
    """
    table: dict[str, list[list[str]]] = {}

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        if host in table:
            answers = table[host]
            addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        else:
            addresses = ["127.0.0.1"] if host == "localhost" else _numeric(host)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_UNSPEC, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    return table


def _numeric(host: str) -> list[str]:
    host.encode("idna")
    if ":" in host:
        return [host]
    try:
        return [socket.inet_ntoa(socket.inet_aton(host))]
    except OSError:
        return []


def check(url: str, allowed: str = "") -> None:
    anyio.run(check_target, url, parse_networks(allowed) if allowed else ())


def connect(host: str, port: int = 443, allowed: str = "") -> None:
    async def main() -> None:
        backend = CheckedBackend(parse_networks(allowed) if allowed else (), secure=True)
        stream = await backend.connect_tcp(host, port, timeout=2)
        await stream.aclose()

    anyio.run(main)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match="not a public address"):
        check_url(f"https://{host}/hook", ())
    with pytest.raises(TargetRefused, match="not a public address"):
        connect(host.strip("[]"))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost"])
def test_another_spelling_of_a_private_address_is_refused(host: str) -> None:
    with pytest.raises(TargetRefused, match=r"not a public address|not a URL"):
        check(f"https://{host}/hook")
    with pytest.raises(TargetRefused, match=r"not a public address|not a URL"):
        connect(host)


@pytest.mark.parametrize(
    "host",
    ["93.184.215.14", "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]", "[::ffff:93.184.215.14]", "[64:ff9b::5db8:d70e]"],
)
def test_a_public_address_passes(host: str) -> None:
    check_url(f"https://{host}:8443/hook?x=1", ())


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/hook", "Expected https://"),
        ("ftp://example.com/hook", "Expected a URL such as"),
        ("example.com/hook", "Expected a URL such as"),
        ("https:///hook", "Expected a URL such as"),
        ("https://user:password@example.com/", "user name"),
        ("https://example.com:x/", "not a URL"),
        ("https://example.com:99999/", "Expected a URL such as"),
        ("https://example.com:0/", "Expected a URL such as"),
        ("https://example.com:8_0/", "Expected a URL such as"),
        ("https://example.com:\u0668\u0660/", "Expected a URL such as"),
        ("https://example .com/", "Expected a URL such as"),
        ("https://example%20.com/", "Expected a URL such as"),
        ("https://example..com/", "Expected a URL such as"),
        ("https://" + "a" * 64 + ".com/", "Expected a URL such as|not a URL"),
        ("https://" + "a." * 127 + "com/", "Expected a URL such as|not a URL"),
        ("https://xn--a/", "not a URL"),
        ("https://example.com/" + "a" * 2048, "at most 2048"),
    ],
)
def test_a_url_that_can_never_be_called_is_refused(url: str, says: str) -> None:
    with pytest.raises(TargetRefused, match=says):
        check_url(url, ())


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com.:443?x=1",
        "https://example.com:8443#part",
        "https://my_host.example.com/a:b",
        "https://m\u00fcnchen.example/h\u00f6ren",
        "https://xn--mnchen-3ya.example/",
    ],
)
def test_a_usual_url_passes(url: str) -> None:
    check_url(url, ())


def test_a_name_with_one_private_address_is_refused(names: Names) -> None:
    """The resolver could give either address to the connection."""
    names["mixed.example"] = [["93.184.215.14", "10.0.0.1"]]
    with pytest.raises(TargetRefused, match=r"10\.0\.0\.1"):
        check("https://mixed.example/")


def test_a_name_that_cannot_be_resolved_passes_the_check_and_fails_at_the_connection(
    names: Names,
) -> None:
    names["later.example"] = [[]]
    check("https://later.example/")
    for host in ("later.example", f"{'a' * 70}.example"):
        with pytest.raises(httpcore.ConnectError, match="resolved"):
            connect(host)


def test_a_name_whose_address_changes_after_the_check_is_refused(names: Names) -> None:
    """The connection checks the address that it uses, so a public address in the first check is not enough."""
    names["rebound.example"] = [["93.184.215.14"], ["127.0.0.1"]]
    check("https://rebound.example/")
    with pytest.raises(TargetRefused, match=r"127\.0\.0\.1"):
        connect("rebound.example")


def test_an_allowed_network_can_be_called_and_no_other(names: Names) -> None:
    check("http://127.0.0.1:8000/hook", allowed="127.0.0.0/8")
    names["inside.example"] = [["10.0.0.1"]]
    check("https://inside.example/", allowed="10.0.0.0/8")
    with pytest.raises(TargetRefused):
        check("https://inside.example/", allowed="127.0.0.0/8")


def test_plain_http_reaches_allowed_networks_only(names: Names) -> None:
    names["public.example"] = [["93.184.215.14"]]
    with pytest.raises(TargetRefused, match="https:// only"):
        check("http://public.example/", allowed="127.0.0.0/8")
