"""`asr-service render nginx | systemd`: configuration files for the programs around the service."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from asr_service.cli.numbers import number_option
from asr_service.deployment import (
    NginxOptions,
    RenderedFile,
    SystemdOptions,
    nginx_files,
    systemd_files,
    write_files,
)
from asr_service.settings import load_settings

render_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write into. By default the text is printed.")
]
DevicesOption = Annotated[str | None, typer.Option(help="Devices, one slot for each. Overrides ASR_DEVICES.")]

_NGINX_DEFAULTS = NginxOptions(server_name="localhost", certificate=Path("/"), certificate_key=Path("/"))
_SYSTEMD_DEFAULTS = SystemdOptions()


@render_app.command("nginx")
def nginx_command(
    server_name: Annotated[str, typer.Option(help="Host name that clients use.")],
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate with its chain. By default certbot's file for the server name.")
    ] = None,
    certificate_key: Annotated[
        Path | None, typer.Option(help="Private key. By default privkey.pem next to the certificate.")
    ] = None,
    devices: DevicesOption = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(help="host:port of a service with one slot, in place of this machine's slots. Repeatable."),
    ] = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(help="host:port of a machine whose Nginx has --private-listen, in place of slots. Repeatable."),
    ] = None,
    private_listen: Annotated[
        str | None, typer.Option(help="Listen for plain HTTP on this host:port, for a machine behind another Nginx.")
    ] = None,
    inside: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network that may read /metrics and /health; with --private-listen, that may send any "
            "request. Repeatable. By default this machine."
        ),
    ] = None,
    nginx_version: Annotated[
        str, typer.Option(help="Version of Nginx. HTTP/2 has another syntax since 1.25.1.")
    ] = _NGINX_DEFAULTS.version,
    requests_per_s: Annotated[
        int,
        number_option(
            int, "Maximum requests per second from one address, with bursts of three times as many.", least=1
        ),
    ] = _NGINX_DEFAULTS.requests_per_s,
    connections: Annotated[
        int, number_option(int, "Maximum open requests from one address.", least=1)
    ] = _NGINX_DEFAULTS.connections,
    http_port: Annotated[int, number_option(int, "Port for HTTP.", least=1, most=65535)] = _NGINX_DEFAULTS.http_port,
    https_port: Annotated[int, number_option(int, "Port for HTTPS.", least=1, most=65535)] = _NGINX_DEFAULTS.https_port,
    ipv6: Annotated[bool, typer.Option(help="Also listen on IPv6.")] = _NGINX_DEFAULTS.ipv6,
    hsts: Annotated[
        bool | None,
        typer.Option(
            "--hsts/--no-hsts",
            help="Send Strict-Transport-Security for two years. By default only for a public host name, and not for "
            "names such as localhost and asr.internal.",
        ),
    ] = _NGINX_DEFAULTS.hsts,
    access_log: Annotated[
        Path, typer.Option(help="File for the access log, one line of JSON per request.")
    ] = _NGINX_DEFAULTS.access_log,
    error_log: Annotated[Path, typer.Option(help="File for Nginx's error log.")] = _NGINX_DEFAULTS.error_log,
    error_log_level: Annotated[
        str,
        typer.Option(
            help="alert, crit, error or warn. Below alert the error log contains queries, with their prompts."
        ),
    ] = _NGINX_DEFAULTS.error_log_level,
    waf: Annotated[
        bool,
        typer.Option(
            "--waf",
            help="Check URLs and headers with ModSecurity and the OWASP Core Rule Set. Needs Debian's packages "
            "libnginx-mod-http-modsecurity and modsecurity-crs.",
        ),
    ] = _NGINX_DEFAULTS.waf,
    output: OutputOption = None,
) -> None:
    r"""Write a configuration for Nginx with TLS, the slots, limits and a log.

    Its folder is usually /etc/nginx/conf.d. Exits with 78 if a setting or an option is wrong.

    \b
    Examples:
      asr-service render nginx --server-name asr.example.com --output /etc/nginx/conf.d
      asr-service render nginx --server-name asr.example.com --machine gpu-1:8080 --machine gpu-2:8080
      asr-service render nginx --server-name gpu-1 --private-listen 10.0.0.11:8080 --inside 10.0.0.0/24
    """
    certbot_folder = Path("/etc/letsencrypt/live") / server_name
    certificate = certificate or certbot_folder / "fullchain.pem"
    options = NginxOptions(
        server_name=server_name,
        certificate=certificate,
        certificate_key=certificate_key or certificate.with_name("privkey.pem"),
        upstreams=tuple(upstream or ()),
        machines=tuple(machine or ()),
        private_listen=private_listen,
        inside=tuple(inside or _NGINX_DEFAULTS.inside),
        version=nginx_version,
        http_port=http_port,
        https_port=https_port,
        ipv6=ipv6,
        requests_per_s=requests_per_s,
        connections=connections,
        hsts=hsts,
        access_log=access_log,
        error_log=error_log,
        error_log_level=error_log_level,
        waf=waf,
    )
    _deliver(nginx_files(load_settings(devices=devices), options), output)


@render_app.command("systemd")
def systemd_command(
    program: Annotated[
        Path, typer.Option(help="Path of the installed asr-service command.")
    ] = _SYSTEMD_DEFAULTS.program,
    proxy_user: Annotated[
        str, typer.Option(help="User that Nginx runs as. It is added to the service's group.")
    ] = _SYSTEMD_DEFAULTS.proxy_user,
    devices: DevicesOption = None,
    output: OutputOption = None,
) -> None:
    r"""Write systemd units for the service, the download of its model and a job worker, and the definition of its user.

    There are units for one service and for several (asr-service@NAME). One file changes Nginx's own unit, so that Nginx
    finishes its requests before it stops. Exits with 78 if a setting or an option is wrong.

    \b
    Examples:
      asr-service render systemd --output /etc/systemd/system
      ASR_DEVICES=cuda:0,cuda:1 asr-service render systemd --proxy-user nginx
    """
    options = SystemdOptions(program=program, proxy_user=proxy_user)
    _deliver(systemd_files(load_settings(devices=devices), options), output)


def _deliver(files: Sequence[RenderedFile], output: Path | None) -> None:
    """Write the files and print their paths. Without a folder, print their text, with headings if there are several."""
    if output is not None:
        for path in write_files(files, output):
            typer.echo(f"wrote {path}", err=True)
        return
    for file in files:
        if len(files) > 1:
            typer.echo(f"# ==== {file.name}")
        typer.echo(file.text, nl=False)
