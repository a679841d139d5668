"""`asr-service render nginx | systemd`: files for the programs around the service."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from asr_service.deployment import (
    NginxOptions,
    RenderedFile,
    SystemdOptions,
    nginx_files,
    systemd_files,
    write_files,
)
from asr_service.settings import Settings, load_settings

render_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write into; by default the text is printed.")
]
DevicesOption = Annotated[str | None, typer.Option(help="In place of ASR_DEVICES: a slot for each.")]

_HERE = NginxOptions(server_name="localhost", certificate=Path("/"), certificate_key=Path("/"))
"""For its defaults."""
_UNITS = SystemdOptions()
"""The same."""


@render_app.command("nginx")
def nginx_command(
    server_name: Annotated[str, typer.Option(help="The name that clients call.")],
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate and its chain; by default where certbot keeps the name's.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Its private key, beside it by default.")] = None,
    devices: DevicesOption = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(help="A service of one slot elsewhere, host:port, in place of this machine's; again for each."),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(help="A machine with an Nginx of --private-listen, host:port, in place of slots; again for each."),
    ] = None,
    private_listen: Annotated[
        str | None, typer.Option(help="For a machine behind another Nginx: plain HTTP on this host:port.")
    ] = None,
    inside: Annotated[
        list[str] | None,
        typer.Option(
            help="An address or network that may read /metrics and /health (with --private-listen: call at all); "
            "again for each. By default this machine."
        ),
    ] = None,
    nginx_version: Annotated[
        str, typer.Option(help="Nginx' version; from 1.25.1 on HTTP/2 is written in the new way.")
    ] = _HERE.version,
    requests_per_s: Annotated[
        int, typer.Option(min=1, help="Requests a second from one address; three times as many at once.")
    ] = _HERE.requests_per_s,
    connections: Annotated[int, typer.Option(min=1, help="Open requests from one address.")] = _HERE.connections,
    http_port: Annotated[int, typer.Option(min=1, max=65535)] = _HERE.http_port,
    https_port: Annotated[int, typer.Option(min=1, max=65535)] = _HERE.https_port,
    ipv6: Annotated[bool, typer.Option(help="Listen on IPv6 too.")] = _HERE.ipv6,
    access_log: Annotated[Path, typer.Option(help="Where a line of JSON a request goes.")] = _HERE.access_log,
    output: OutputOption = None,
) -> None:
    r"""Write Nginx' configuration: TLS, the slots, limits, the log. It belongs into /etc/nginx/conf.d.

    \b
    Examples:
      asr-service render nginx --server-name asr.example.com --output /etc/nginx/conf.d
      asr-service render nginx --server-name asr.example.com --machine gpu-1:8080 --machine gpu-2:8080
      asr-service render nginx --server-name gpu-1 --private-listen 10.0.0.11:8080 --inside 10.0.0.0/24

    Ends with 78 where a setting or an option is wrong.
    """
    kept_by_certbot = Path("/etc/letsencrypt/live") / server_name
    certificate = certificate or kept_by_certbot / "fullchain.pem"
    options = NginxOptions(
        server_name=server_name,
        certificate=certificate,
        certificate_key=certificate_key or certificate.with_name("privkey.pem"),
        upstreams=tuple(upstream or ()),
        machines=tuple(machine or ()),
        private_listen=private_listen,
        inside=tuple(inside or _HERE.inside),
        version=nginx_version,
        http_port=http_port,
        https_port=https_port,
        ipv6=ipv6,
        requests_per_s=requests_per_s,
        connections=connections,
        access_log=access_log,
    )
    _deliver(nginx_files(_settings(devices), options), output)


@render_app.command("systemd")
def systemd_command(
    program: Annotated[Path, typer.Option(help="The command that is installed.")] = _UNITS.program,
    proxy_user: Annotated[
        str, typer.Option(help="Who Nginx runs as: it joins the service's group.")
    ] = _UNITS.proxy_user,
    devices: DevicesOption = None,
    output: OutputOption = None,
) -> None:
    r"""Write systemd's units, for one service and for several (`asr-service@NAME`), the fetch of the model, the user.

    \b
    Examples:
      asr-service render systemd --output /etc/systemd/system
      ASR_DEVICES=cuda:0,cuda:1 asr-service render systemd --proxy-user nginx

    Ends with 78 where a setting or an option is wrong.
    """
    options = SystemdOptions(program=program, proxy_user=proxy_user)
    _deliver(systemd_files(_settings(devices), options), output)


def _settings(devices: str | None) -> Settings:
    return load_settings(None, **({} if devices is None else {"devices": devices}))


def _deliver(files: Sequence[RenderedFile], output: Path | None) -> None:
    """Write the files and say where; without a folder, print them, each under its name where there are several."""
    if output is not None:
        for path in write_files(files, output):
            typer.echo(f"wrote {path}", err=True)
        return
    for file in files:
        if len(files) > 1:
            typer.echo(f"# ==== {file.name}")
        typer.echo(file.text, nl=False)
