"""`asr-service serve`: run the HTTP service."""

import sys
from typing import Annotated

import structlog
import typer

from asr_service.cli.numbers import number_option
from asr_service.errors import StartupError
from asr_service.logs import LogFormat, configure_logs, is_plain
from asr_service.serving import ServePlan, serve
from asr_service.settings import load_settings


def serve_command(
    host: Annotated[str | None, typer.Option(help="Address to listen on, for one slot. Overrides ASR_HOST.")] = None,
    port: Annotated[
        int | None, number_option(int, "Port, for one slot; 0 takes a free one. Overrides ASR_PORT.")
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="Devices: auto, cpu, cuda:0,cuda:1, ... Overrides ASR_DEVICES.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model name or folder. Overrides ASR_MODEL.")] = None,
) -> None:
    r"""Serve over HTTP until Ctrl-C or SIGTERM. SIGHUP restarts the slots one after the other.

    \b
    Examples:
      asr-service serve
      asr-service serve --model small --port 9000
      ASR_DEVICES=cuda:0,cuda:1 asr-service serve

    \b
    Exit codes:
      69  the model or the GPU is not available
      78  a setting is wrong, or the port is in use
    """
    log_format: LogFormat = "auto"
    try:
        settings = load_settings(host=host, port=port, devices=devices, model=model)
        log_format = settings.log_format
        code = serve(settings, needs_tcp=host is not None or port is not None, on_ready=_print_usage)
    except StartupError as error:
        _report_failure(error, log_format)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(code)


def _report_failure(error: StartupError, log_format: LogFormat) -> None:
    """Print the reason as the last line; in the log's format if the log is JSON."""
    if is_plain(log_format):
        typer.echo(f"asr-service cannot serve: {error.message}", err=True)
        return
    if not structlog.is_configured():  # load_settings failed
        configure_logs(fmt=log_format)
    log = structlog.get_logger(__name__)
    log.critical("asr-service cannot serve", reason=error.message, exit_code=error.exit_code)


def _print_usage(plan: ServePlan) -> None:
    """Print a curl command on a terminal. Elsewhere the log has the addresses."""
    if not sys.stdout.isatty():
        return
    address = plan.addresses[0]
    target = f"{address}/transcribe"
    if address.startswith("unix:"):
        target = f"--unix-socket {address.removeprefix('unix:')} http://slot/transcribe"
    typer.echo(f"\n  Listening on {', '.join(plan.addresses)}. Try:\n\n    curl -F file=@speech.flac {target}\n")
    if not address.startswith("unix:"):
        typer.echo("  For another port, set ASR_PORT.\n")
