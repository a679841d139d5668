"""TLS as Prometheus sees it: a real blackbox exporter with the deployed module connects to real certificates."""

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import trustme

from deploy.monitoring import PROMETHEUS
from deploy.prometheus import free_port, scraping
from http_servers import Handler, serving_http
from waiting import until

pytestmark = [
    pytest.mark.needs_program("prometheus"),
    pytest.mark.needs_program("prometheus-blackbox-exporter"),
]

VALID_DAYS = {"valid": 80, "soon": 5, "expired": -1}


@contextmanager
def exporting(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the exporter with the deployed configuration; yields its address and its process."""
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-blackbox-exporter", f"--config.file={PROMETHEUS / 'blackbox.yml'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or _answers(address), what="the exporter")
        assert process.poll() is None, (folder / "log").read_text()
        yield address, process
    finally:
        process.kill()
        process.wait(10)


def _answers(address: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{address}/-/healthy").status_code == 200
    return False


def servers(stack: ExitStack) -> dict[str, str]:
    """Start a TLS server on 127.0.0.1 for each kind of certificate. Returns the addresses, with one of no server."""
    authority = trustme.CA()
    started = {"dead": f"localhost:{free_port()}"}
    for kind, days in VALID_DAYS.items():
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ends = datetime.now(UTC) + timedelta(days=days)
        begins = ends - timedelta(days=90)
        authority.issue_cert("localhost", not_before=begins, not_after=ends).configure_cert(tls)
        started[kind] = stack.enter_context(serving_http(Handler, tls, "localhost")).removeprefix("https://")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # of an authority that no client knows, for another name
    trustme.CA().issue_cert("asr.example.com").configure_cert(tls)
    started["foreign"] = stack.enter_context(serving_http(Handler, tls, "localhost")).removeprefix("https://")
    return started


def test_each_certificate_and_a_dead_service_raise_their_alerts_alone(tmp_path: Path) -> None:
    """An expired or foreign certificate is a connection with an expiry; no server, or no exporter, is none."""
    with ExitStack() as stack:
        address, exporter = stack.enter_context(exporting(tmp_path))
        at = servers(stack)
        prometheus = stack.enter_context(
            scraping("127.0.0.1:1", tmp_path / "prometheus", blackbox=address, tls=[*at.values()])
        )
        expected = {
            ("AsrCertificateExpires", at["soon"]),
            ("AsrCertificateExpires", at["expired"]),
            ("AsrCertificateExpired", at["expired"]),
            ("AsrTlsUnreachable", at["dead"]),
        }
        until(lambda: len(prometheus.query('probe_success{job="asr-tls"}')) == len(at), what="probes of all")
        until(lambda: prometheus.firing() - {("AsrDown", "127.0.0.1:1")} == expected, what="the alerts")
        exporter.kill()
        silent = {("AsrTlsUnreachable", each) for each in at.values()}
        until(lambda: silent <= prometheus.firing(), what="the alerts about the exporter")
