"""`asr-service serve`."""

import sys
from typing import Annotated

import structlog
import typer

from asr_service.errors import StartupError
from asr_service.logs import Format, configure_logs, is_plain
from asr_service.serving import ServePlan, serve
from asr_service.settings import load_settings


def serve_command(
    host: Annotated[str | None, typer.Option(help="Address to listen on, with one slot. ASR_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port, with one slot; 0 takes a free one. ASR_PORT.")] = None,
    devices: Annotated[str | None, typer.Option(help="`auto`, `cpu`, `cuda:0,cuda:1`, ... ASR_DEVICES.")] = None,
    model: Annotated[str | None, typer.Option(help="A model's name or folder. ASR_MODEL.")] = None,
) -> None:
    r"""Serve over HTTP until Ctrl-C or SIGTERM; SIGHUP reloads slot after slot.

    \b
    Examples:
      asr-service serve
      asr-service serve --model small --port 9000
      ASR_DEVICES=cuda:0,cuda:1 asr-service serve

    Ends with 78 where a setting is wrong (a port that is taken among them) and with 69 where there is no model, or no
    such GPU.
    """
    given = {"host": host, "port": port, "devices": devices, "model": model}
    log_format: Format = "auto"
    try:
        settings = load_settings(None, **{name: value for name, value in given.items() if value is not None})
        log_format = settings.log_format
        code = serve(settings, on_ready=_say_how_to_call)
    except StartupError as error:
        _say_why(error, log_format)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(code)


def _say_why(error: StartupError, log_format: Format) -> None:
    """The last line: of the log, where programs read that."""
    if is_plain(log_format):
        typer.echo(f"asr-service cannot serve: {error.message}", err=True)
        return
    if not structlog.is_configured():  # the settings were refused
        configure_logs(fmt=log_format)
    log = structlog.get_logger(__name__)
    log.critical("asr-service cannot serve", reason=error.message, exit_code=error.exit_code)


def _say_how_to_call(plan: ServePlan) -> None:
    """On a terminal, one line to copy; elsewhere the log has the addresses."""
    if not sys.stdout.isatty():
        return
    address = plan.addresses[0]
    target = f"{address}/transcribe"
    if address.startswith("unix:"):
        target = f"--unix-socket {address.removeprefix('unix:')} http://slot/transcribe"
    typer.echo(f"\n  Listening on {', '.join(plan.addresses)}. Try:\n\n    curl -F file=@speech.flac {target}\n")
