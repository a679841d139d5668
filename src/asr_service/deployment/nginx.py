"""Nginx's configuration: TLS, the slots or machines of a service, and one error format for every failure."""

import ipaddress
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asr_service.deployment.checks import require, require_path
from asr_service.deployment.files import RenderedFile, fill
from asr_service.deployment.site import Site
from asr_service.errors import ConfigurationError, error_body
from asr_service.jobs.running.wire import MAX_WORK_BYTES
from asr_service.jobs.times import MAX_WAIT_S
from asr_service.serving.limits import Timeouts
from asr_service.settings import Settings

FILE_NAME: Final = "asr-service.conf"
_HTTP2_DIRECTIVE_SINCE: Final = (1, 25, 1)
_LOOPBACK: Final = ("127.0.0.1", "::1")

_PRIVATE_TOP_LEVELS: Final = frozenset({
    "arpa", "corp", "example", "home", "internal", "intranet", "invalid", "lan", "local", "localhost", "private",
    "test",
})  # fmt: skip
"""Last labels of names that no public authority certifies: RFC 6761, RFC 6762, RFC 8375 (home.arpa) and common use."""
_LOG_LEVELS: Final = ("alert", "crit", "error", "warn")
"""At `info` Nginx logs header lines that it rejects, and those can hold API keys."""

_HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_ADDRESS: Final = re.compile(rf"{_HOST}:[0-9]{{1,5}}|unix:/[\w./-]+")
_SERVER_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxOptions:
    """Options of the configuration that are not settings of the service."""

    server_name: str
    """Host name that clients use, and for which the certificate is valid."""
    certificate: Path
    certificate_key: Path
    upstreams: tuple[str, ...] = ()
    """Slots on other machines (`host:port` of a service with one slot) in place of this machine's."""
    machines: tuple[str, ...] = ()
    """Machines (`host:port` of an Nginx with `private_listen`) in place of slots."""
    private_listen: str | None = None
    """`host:port` on which a machine behind another Nginx listens, with plain HTTP and without limits by client."""
    inside: tuple[str, ...] = _LOOPBACK
    """Addresses and networks that can read /metrics and /health; with `private_listen`, the only ones with access."""
    version: str = "1.22"
    """Version of Nginx. Since 1.25.1 HTTP/2 has its own directive."""
    http_port: int = 80
    https_port: int = 443
    ipv6: bool = True
    requests_per_s: int = 20
    """Maximum average rate of requests from one client address; bursts may have three times as many."""
    connections: int = 64
    """Maximum open requests of one client address."""
    hsts: bool | None = None
    """Whether answers have Strict-Transport-Security. By default, if the server name is a public host name."""
    access_log: Path = Path("/var/log/nginx/asr-service.access.log")
    error_log: Path = Path("/var/log/nginx/asr-service.error.log")
    error_log_level: str = "alert"
    waf: bool = False
    """Whether ModSecurity checks URLs and headers with the OWASP Core Rule Set."""


@dataclass(frozen=True, slots=True)
class _Server:
    address: str

    @property
    def is_local(self) -> bool:
        return self.address.startswith("unix:")

    @property
    def failing(self) -> str:
        """Return the parameters that say when Nginx stops trying this server.

        A local socket refuses a connection within microseconds. A slot that is loading, draining or dead can be tried
        each time, and after a reload a slot that has just become ready is used at once. A connection to a host that is
        down takes 2 s to fail.
        """
        return "max_fails=0" if self.is_local else "max_fails=1 fail_timeout=5s"

    @property
    def health_url(self) -> str:
        return f"http://{self.address}{':' if self.is_local else ''}/health"


def nginx_files(settings: Settings, options: NginxOptions) -> tuple[RenderedFile, ...]:
    """Render one file, to be included in the http block.

    Raises ConfigurationError: when an option is invalid, such as one that could add directives of its own.
    """
    _check(options)
    site = Site.of(settings)
    text = fill(
        "nginx.conf.j2",
        o=options,
        servers=tuple(_Server(address) for address in options.machines or options.upstreams or site.addresses),
        over_machines=bool(options.machines),
        jobs_by_caller=settings.jobs_url is None and len(options.machines or options.upstreams) > 1,
        checks_keys=_asks_for_keys(settings) and options.private_listen is None,
        http2_directive=_version(options.version) >= _HTTP2_DIRECTIVE_SINCE,
        hsts=options.private_listen is None and _uses_hsts(options),
        max_upload_bytes=settings.max_upload_bytes,
        max_body_bytes=settings.max_upload_bytes + (MAX_WORK_BYTES if settings.jobs_runner == "workers" else 0),
        root_path=settings.root_path,
        upload_timeout=_time(settings.upload_timeout_s),
        read_timeout=_time(max(site.timeouts.proxy_s, Timeouts.for_request(MAX_WAIT_S).proxy_s)),
        body=_body,
    )
    return (RenderedFile(FILE_NAME, text),)


def _asks_for_keys(settings: Settings) -> bool:
    return settings.api_keys is not None or settings.api_keys_file is not None


def _uses_hsts(options: NginxOptions) -> bool:
    return _is_public_host(options.server_name) if options.hsts is None else options.hsts


def _is_public_host(name: str) -> bool:
    """Return whether public certificates exist for the name. A browser applies HSTS to all ports of a name.

    So HSTS for localhost would disable every other local web application that has no TLS.
    """
    labels = name.lower().rstrip(".").split(".")
    is_address = labels[-1].isdigit()
    return len(labels) > 1 and not is_address and labels[-1] not in _PRIVATE_TOP_LEVELS


def _body(status: int, code: str, message: str) -> str:
    """Return an error's body as a string in Nginx's syntax, in which `$` would begin a variable."""
    body = json.dumps(error_body(status, message, code, None))
    if set(body) & set("'$\\"):
        raise AssertionError(f"cannot be quoted for Nginx: {body}")
    return f"'{body}'"


def _time(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"


def _version(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[0-9]+\.[0-9]+(\.[0-9]+)?\+?", text):
        raise ConfigurationError(
            f"--nginx-version={text!r} is not a version such as 1.22 or 1.26.3.", param="--nginx-version"
        )
    numbers = tuple(int(number) for number in text.rstrip("+").split("."))
    return (*numbers, 99) if len(numbers) == 2 else numbers  # noqa: PLR2004  # 1.25 means the last of its series


def _check(options: NginxOptions) -> None:
    require(_SERVER_NAME, options.server_name, "--server-name", "a host name")
    require_path(options.certificate, "--certificate")
    require_path(options.certificate_key, "--certificate-key")
    require_path(options.access_log, "--access-log")
    require_path(options.error_log, "--error-log")
    if options.error_log_level not in _LOG_LEVELS:
        raise ConfigurationError(
            f"--error-log-level={options.error_log_level!r} is not one of {', '.join(_LOG_LEVELS)}.",
            param="--error-log-level",
        )
    for option, addresses in (("--upstream", options.upstreams), ("--machine", options.machines)):
        for address in addresses:
            require(_ADDRESS, address, option, "host:port or unix:/path")
    if options.upstreams and options.machines:
        raise ConfigurationError(
            "--upstream (slots) and --machine (machines) cannot be combined. Use one of them.", param="--machine"
        )
    if options.private_listen is not None:
        require(_ADDRESS, options.private_listen, "--private-listen", "host:port")
    for network in options.inside:
        _require_network(network)


def _require_network(network: str) -> None:
    try:
        ipaddress.ip_network(network)
    except ValueError as error:
        raise ConfigurationError(
            f"--inside={network!r} is not an address or network: {error}.", param="--inside"
        ) from None
