"""`asr-service worker`: run the jobs of /jobs with the services."""

from typing import Annotated

import typer

from asr_service.cli.numbers import number_option
from asr_service.errors import ConfigurationError
from asr_service.extras import install_command
from asr_service.logs import configure_logs, log_uncaught
from asr_service.settings import load_settings


def worker_command(
    service: Annotated[
        str | None,
        typer.Option(help="Address of the services: a URL, or unix:/PATH of a socket. Overrides ASR_SERVICE_URL."),
    ] = None,
    concurrency: Annotated[
        int | None, number_option(int, "Maximum jobs at a time. Overrides ASR_WORKER_CONCURRENCY.", least=1)
    ] = None,
) -> None:
    r"""Run jobs until Ctrl-C or SIGTERM. A job worker has no model: it sends the recordings to the services.

    It needs Redis (ASR_JOBS_URL, as in the services) and the extra `cluster`. The services leave the jobs to it with
    ASR_JOBS_RUNNER=workers.

    \b
    Examples:
      asr-service worker --service https://asr.example.com
      asr-service worker --service unix:/run/asr-service/slot-0.sock,unix:/run/asr-service/slot-1.sock

    \b
    Exit codes:
      78  a setting is missing or wrong
    """
    settings = load_settings(service_url=service, worker_concurrency=concurrency)
    configure_logs(settings.log_level, settings.log_format)
    log_uncaught()
    try:
        from asr_service.jobs.cluster.worker import run_worker  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise ConfigurationError(
            f"A job worker needs the package {error.name}. Run `{install_command('cluster')}`."
        ) from error
    raise typer.Exit(run_worker(settings))
