"""`asr-service doctor`: checks this machine and its settings, and suggests fixes."""

import json
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from asr_service.cli.doctor.cache import check_cache
from asr_service.cli.doctor.findings import Finding, Level
from asr_service.cli.doctor.gpu import check_devices, check_memory
from asr_service.cli.doctor.jobs import check_jobs
from asr_service.cli.doctor.libraries import check_libraries
from asr_service.cli.doctor.machine import (
    check_address,
    check_keys,
    check_limits,
    check_python,
    check_settings,
    check_spool,
)
from asr_service.cli.doctor.model import (
    are_on_disk,
    check_decoder,
    check_language,
    check_model_disk,
    check_models,
    check_run,
)
from asr_service.hardware.nvml import discover_gpus
from asr_service.logs import configure_logs

_STYLES: Final[dict[Level, str]] = {"ok": "green", "warning": "yellow", "failure": "bold red"}
_LEVEL_WIDTH: Final = 9
_CHECK_WIDTH: Final = 13
_FAILURE: Final = 1
_WARNING: Final = 2


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 2 if there are warnings.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Skip the trial run, which loads the model.")] = False,
) -> None:
    r"""Check this machine and its settings, and suggest fixes.

    Checks Python, settings, GPUs, CUDA's libraries, memory, the model's files, disks, the address, API keys, jobs in
    Redis, limits and the decoder, and runs the model once. Downloads nothing.

    \b
    Examples:
      asr-service doctor
      ASR_MODEL=large-v3 ASR_DEVICES=cuda:0 asr-service doctor --json

    The exit code is 1 if a check fails, else 0.
    """
    configure_logs("error", "plain")
    console = Console(highlight=False, soft_wrap=True)
    findings: list[Finding] = []
    for finding in _run_checks(quick=quick):
        findings.append(finding)
        if not as_json:
            _print(console, finding)
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    raise typer.Exit(_exit_code(findings, strict=strict))


def _run_checks(*, quick: bool) -> Iterator[Finding]:
    """Run the checks, the cheap ones first; the trial run only if no check before it failed."""
    yield from check_python()
    settings, setting_findings = check_settings()
    yield from setting_findings
    gpus = discover_gpus()
    devices, device_findings = check_devices(settings, gpus)
    yield from device_findings
    library_findings = check_libraries(settings, devices, gpus)
    yield from library_findings
    models, model_findings = check_models(settings, devices)
    yield from model_findings
    yield from check_memory(settings, models, devices)
    yield from check_language(settings, models)
    yield from check_model_disk(settings, models)
    yield from check_spool(settings)
    yield from check_address(settings, devices)
    yield from check_keys(settings)
    yield from check_jobs(settings)
    yield from check_cache(settings)
    yield from check_limits()
    decoder_findings = check_decoder(settings)
    yield from decoder_findings
    findings = [*setting_findings, *device_findings, *library_findings, *model_findings, *decoder_findings]
    has_failed = any(finding.level == "failure" for finding in findings)
    if not quick and not has_failed and are_on_disk(settings, models.values()):
        yield from check_run(settings, models, gpus)


def _exit_code(findings: list[Finding], *, strict: bool) -> int:
    levels = {finding.level for finding in findings}
    if "failure" in levels:
        return _FAILURE
    return _WARNING if strict and "warning" in levels else 0


def _print(console: Console, finding: Finding) -> None:
    first, *more = finding.message.splitlines()
    line = Text(finding.level.ljust(_LEVEL_WIDTH), style=_STYLES[finding.level])
    line.append(finding.check.ljust(_CHECK_WIDTH), style="bold")
    line.append(first, style="default")
    console.print(line)
    indent = " " * (_LEVEL_WIDTH + _CHECK_WIDTH)
    for text in more:
        console.print(Text(indent + text))
    if finding.fix is not None:
        console.print(Text(f"{indent}-> {finding.fix}", style="cyan"))
