"""`asr-service doctor`: looks for what commonly goes wrong, and names the cure of each."""

import json
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from asr_service.cli.doctor.findings import Finding, Level
from asr_service.cli.doctor.gpu import check_devices, check_libraries, check_memory
from asr_service.cli.doctor.machine import (
    check_address,
    check_keys,
    check_limits,
    check_python,
    check_settings,
    check_spool,
)
from asr_service.cli.doctor.model import (
    are_here,
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
    strict: Annotated[bool, typer.Option("--strict", help="End with 2 where there are warnings.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the trial run, which takes memory.")] = False,
) -> None:
    r"""Look for what is wrong with this machine and its settings, and name the cure.

    Python, settings, GPUs, CUDA's libraries, memory, the model's files, disks, the address, API keys, limits,
    the decoder, and a trial run of the model. Fetches nothing.

    \b
    Examples:
      asr-service doctor
      ASR_MODEL=large-v3 ASR_DEVICES=cuda:0 asr-service doctor --json

    Ends with 1 where something fails, and 0 where nothing does.
    """
    configure_logs("error", "plain")
    console = Console(highlight=False, soft_wrap=True)
    findings: list[Finding] = []
    for finding in _examine(quick=quick):
        findings.append(finding)
        if not as_json:
            _print(console, finding)
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in findings], indent=2))
    raise typer.Exit(_exit_code(findings, strict=strict))


def _examine(*, quick: bool) -> Iterator[Finding]:
    """Go from the cheap to the dear. A trial run is made only where nothing before it is broken."""
    yield from check_python()
    settings, found = check_settings()
    yield from found
    gpus = discover_gpus()
    devices, of_devices = check_devices(settings, gpus)
    yield from of_devices
    of_libraries = check_libraries(settings, devices, gpus)
    yield from of_libraries
    models, of_models = check_models(settings, devices)
    yield from of_models
    yield from check_memory(settings, models, devices)
    yield from check_language(settings, models)
    yield from check_model_disk(settings, models)
    yield from check_spool(settings)
    yield from check_address(settings, devices)
    yield from check_keys(settings)
    yield from check_limits()
    of_decoder = check_decoder(settings)
    yield from of_decoder
    so_far = [*found, *of_devices, *of_libraries, *of_models, *of_decoder]
    broken = any(finding.level == "failure" for finding in so_far)
    if not quick and not broken and are_here(settings, models.values()):
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
    if finding.cure is not None:
        console.print(Text(f"{indent}-> {finding.cure}", style="cyan"))
