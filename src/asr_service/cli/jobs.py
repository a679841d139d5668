"""`asr-service jobs`: submit recordings to a service as jobs, and fetch their transcripts."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from asr_service.cli.numbers import number_option
from asr_service.cli.shared_options import CaFileOption, KeyOption, check_key, check_recording, check_server
from asr_service.cli.terminal import os_reason, print_bytes, printable
from asr_service.errors import AsrError

if TYPE_CHECKING:
    from asr_service.client import JobsClient, RemoteJob

jobs_app = typer.Typer(no_args_is_help=True)

SERVER_VARIABLE: Final = "ASRSERVICE_URL"
_ID: Final = re.compile(r"[A-Za-z0-9_-]+")
"""No other character, because an id is a part of a path."""
_DEFAULT_SERVER: Final = "http://127.0.0.1:8000"


def _parse_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not the id of a job. `asr-service jobs list` prints them.")
    return text


JobIds = Annotated[list[str], typer.Argument(metavar="IDS", help="Ids of jobs.", show_default=False, parser=_parse_id)]
Server = Annotated[str, typer.Option(envvar=SERVER_VARIABLE, help="Address of the service.")]


@jobs_app.command("submit")
def submit_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Recordings.", show_default=False)],
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--field", "-F", metavar="NAME=VALUE", help="An option of /transcribe or a field of the job. Repeatable."
        ),
    ] = None,
    server: Server = _DEFAULT_SERVER,
    api_key: KeyOption = None,
    ca_file: CaFileOption = None,
) -> None:
    r"""Submit recordings, each as a job. Prints the id of each job and its file.

    A recording that is refused does not keep the others from being submitted. The exit code is 1 then.

    \b
    Examples:
      asr-service jobs submit talk.mp3
      asr-service jobs submit calls/*.wav -F language=pt -F priority=low -F response_format=srt
      asr-service jobs submit talk.mp3 -F webhook_url=https://app.example.com/hooks/asr
    """
    fields = _pairs(field)
    for file in files:
        check_recording(file)
    with _jobs(server, api_key, ca_file) as jobs:
        submitted = [_submit(jobs, file, fields) for file in files]
    if not all(submitted):
        raise typer.Exit(1)


def _submit(jobs: "JobsClient", file: Path, fields: dict[str, str]) -> bool:
    """Submit a recording and print its job, or else why there is none. Returns whether there is one."""
    from asr_service.client.errors import RecordingRefused  # noqa: PLC0415 - slow to import

    try:
        with file.open("rb") as recording:
            job = jobs.submit(recording, fields)
    except (RecordingRefused, OSError) as error:
        reason = os_reason(error) if isinstance(error, OSError) else error.message
        typer.echo(printable(f"asr-service: {file}: {reason}"), err=True)
        return False
    typer.echo(printable(f"{job.id}  {file}"))
    return True


@jobs_app.command("list")
def list_command(
    status: Annotated[str | None, typer.Option(help="Only jobs in this state, such as running.")] = None,
    limit: Annotated[int, number_option(int, "Maximum number of jobs.", least=1, most=100)] = 20,
    server: Server = _DEFAULT_SERVER,
    api_key: KeyOption = None,
    ca_file: CaFileOption = None,
) -> None:
    r"""List the jobs of the API key, the newest first.

    \b
    Examples:
      asr-service jobs list
      asr-service jobs list --status failed --limit 100
    """
    query = {"limit": str(limit)} | ({"status": status} if status else {})
    with _jobs(server, api_key, ca_file) as jobs:
        for job in jobs.list(query):
            created = datetime.fromtimestamp(job.fields["created_at"], UTC)
            typer.echo(f"{job.id}  {created:%Y-%m-%dT%H:%M:%SZ}  {_state(job)}")


@jobs_app.command("show")
def show_command(
    ids: JobIds, server: Server = _DEFAULT_SERVER, api_key: KeyOption = None, ca_file: CaFileOption = None
) -> None:
    r"""Print jobs as JSON.

    \b
    Examples:
      asr-service jobs show job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d
    """
    with _jobs(server, api_key, ca_file) as jobs:
        _for_each(ids, lambda job_id: _show(jobs.get(job_id)))


@jobs_app.command("wait")
def wait_command(
    ids: JobIds, server: Server = _DEFAULT_SERVER, api_key: KeyOption = None, ca_file: CaFileOption = None
) -> None:
    r"""Wait until jobs have ended, and print how. The exit code is 1 if one has not succeeded.

    \b
    Examples:
      asr-service jobs wait job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d
    """
    with _jobs(server, api_key, ca_file) as jobs:
        _for_each(ids, lambda job_id: _show_end(jobs.wait(job_id)))


@jobs_app.command("fetch")
def fetch_command(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the job.", show_default=False, parser=_parse_id)],
    fmt: Annotated[
        str | None, typer.Option("--format", "-f", help="Format of the transcript. By default as it was submitted.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. By default standard output.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the job first.")] = False,
    server: Server = _DEFAULT_SERVER,
    api_key: KeyOption = None,
    ca_file: CaFileOption = None,
) -> None:
    r"""Print the transcript of a job, or write it to a file.

    \b
    Examples:
      asr-service jobs fetch job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d
      asr-service jobs fetch job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d --wait -f srt -o talk.srt
    """
    with _jobs(server, api_key, ca_file) as jobs:
        if wait:
            jobs.wait(job_id)
        text = jobs.transcript(job_id, {"response_format": fmt} if fmt else {})
    if output is None:
        print_bytes(text)
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}.") from None


@jobs_app.command("cancel")
def cancel_command(
    ids: JobIds, server: Server = _DEFAULT_SERVER, api_key: KeyOption = None, ca_file: CaFileOption = None
) -> None:
    r"""Cancel jobs. Those that have ended are deleted with their transcripts.

    The exit code is 1 if one of them does not exist. The others are cancelled.

    \b
    Examples:
      asr-service jobs cancel job_019abc0f1d2e4a5b6c7d8e9f0a1b2c3d
    """
    with _jobs(server, api_key, ca_file) as jobs:
        _for_each(ids, lambda job_id: _show_removal(job_id, jobs.remove(job_id)))


def _for_each(ids: Sequence[str], act: Callable[[str], bool]) -> None:
    """Act on each job, also if one is refused. The exit code is 1 if one is refused or is not as wanted."""
    from asr_service.client.errors import RecordingRefused  # noqa: PLC0415 - slow to import

    is_complete = True
    for job_id in ids:
        try:
            is_complete &= act(job_id)
        except RecordingRefused as error:
            _print_error(error)
            is_complete = False
    if not is_complete:
        raise typer.Exit(1)


def _show(job: "RemoteJob") -> bool:
    typer.echo(json.dumps(job.fields, indent=2, ensure_ascii=False))
    return True


def _show_end(job: "RemoteJob") -> bool:
    typer.echo(f"{job.id}  {_state(job)}")
    return job.status == "succeeded"


def _show_removal(job_id: str, cancelled: "RemoteJob | None") -> bool:
    typer.echo(f"{job_id}  {'deleted' if cancelled is None else cancelled.status}")
    return True


@contextmanager
def _jobs(server: str, api_key: str | None, ca_file: Path | None) -> "Iterator[JobsClient]":
    """Open the client. An error of one request ends the command with exit code 1 and its message."""
    from asr_service.client import connect_to_jobs  # noqa: PLC0415 - slow to import
    from asr_service.client.errors import RecordingRefused  # noqa: PLC0415 - slow to import

    check_server(server)
    check_key(api_key)
    try:
        with connect_to_jobs(server, api_key, ca_file=ca_file) as jobs:
            yield jobs
    except RecordingRefused as error:
        _print_error(error)
        raise typer.Exit(1) from error


def _print_error(error: AsrError) -> None:
    typer.echo(f"asr-service: {error.message}", err=True)


def _pairs(fields: list[str] | None) -> dict[str, str]:
    pairs: dict[str, Any] = {}
    for field in fields or ():
        name, equals, value = field.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"--field {field!r} is not NAME=VALUE, such as language=en.")
        if name in pairs:
            raise typer.BadParameter(f"--field {name} is given twice.")
        pairs[name] = value
    return pairs


def _state(job: "RemoteJob") -> str:
    """Return the state of a job in a few words."""
    if job.status == "running" and job.audio_s_total:
        return f"running  {job.audio_s_done:.0f} of {job.audio_s_total:.0f} s"
    return f"{job.status}  {job.error}" if job.error else job.status
