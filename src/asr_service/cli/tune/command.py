"""The command `asr-service tune`."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from asr_service.cli.tune.file import check_file, write_values
from asr_service.cli.tune.other_load import OtherLoad
from asr_service.cli.tune.values import NAMES, gain_text, limit_text, tuned_values
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.protocol import ModelFacts
from asr_service.engine.model.stages import Stage
from asr_service.engine.sizing import gpu_memory
from asr_service.engine.tuning.choice import Measurement
from asr_service.engine.tuning.measure import (
    Tuner,
    TuningResult,
    default_parallelism,
    default_threads,
    thread_counts,
    workloads_for,
)
from asr_service.errors import StartupError
from asr_service.hardware.devices import Device, Slot
from asr_service.hardware.environment import device_environment
from asr_service.hardware.malloc import retain_heap
from asr_service.hardware.nvml import discover_gpus
from asr_service.hardware.spec import count_cpu_slots, parse_devices
from asr_service.logs import configure_logs
from asr_service.settings import Settings, load_settings

_EXIT_BUSY: Final = os.EX_TEMPFAIL
_HEADINGS: Final = ("stage", "window", "threads", "windows per call", "windows/s", "call time")
_VERBS: Final = {Stage.ENCODE: "encode", Stage.GENERATE: "decode"}


def tune_command(
    write: Annotated[
        Path | None,
        typer.Option("--write", help="File to write the values to, such as .env. Its other lines stay."),
    ] = None,
) -> None:
    r"""Measure which number of threads and which batch sizes are fastest on this device with the configured model.

    Uses the first device of ASR_DEVICES. Stop the service first: nothing else should run on the machine.
    The sound is synthetic and each window is decoded to a fixed number of tokens, so the speeds compare settings with
    each other; they do not predict the service's speed.

    \b
    Examples:
      asr-service tune
      ASR_MODEL=base asr-service tune --write .env

    Exit codes: 75 if other programs used the CPU (nothing is written), 69 if there is no model, 78 if a setting is
    wrong.
    """
    configure_logs("error", "plain")
    settings = load_settings()
    if write is not None:
        check_file(write)
    device = parse_devices(settings.devices)[0]
    console = Console(highlight=False, soft_wrap=True)
    load = OtherLoad() if device.kind == "cpu" else None
    result, facts = _tune(settings, device, console, load)
    is_busy = load is not None and load.is_high
    console.print(_table(result))
    if is_busy:
        console.print(
            "Other programs used the CPU during the measurement, so it is not reliable. Stop them, and retry."
        )
        raise typer.Exit(_EXIT_BUSY)
    values, gain = tuned_values(result), gain_text(result)
    console.print(gain)
    _print_values(console, settings, result, values)
    if write is not None:
        heading = f"{facts.name}, {facts.compute_type}, on {facts.device}: {gain}"
        write_values(write, values, [heading, *map(_described, result.measurements.all)])
        console.print(f"Wrote {write}." if values else f"Wrote {write}: it sets none of {', '.join(NAMES)}.")


def _tune(
    settings: Settings, device: Device, console: Console, load: OtherLoad | None
) -> tuple[TuningResult, ModelFacts]:
    """Load the model as a slot does, with the largest number of threads to try, and measure. Raises StartupError."""

    def show(made: Measurement) -> None:
        status.update(_described(made))
        if load is not None:
            load.warn(console)

    os.environ.update(device_environment(device, discover_gpus()))
    if device.kind == "cpu":
        retain_heap()
    n_threads = default_threads(settings, device)
    threads = thread_counts(n_threads, device, count_cpu_slots(settings.devices))
    most = settings.model_copy(update={"model_threads": max(threads)})
    try:
        model = load_slot_model(most, Slot(0, device), lambda: None)
        facts = model.facts
        console.print(f"Measuring {facts.name}, {facts.compute_type}, on {facts.device}, beam {settings.beam_size}")
        if load is not None:
            load.warn(console)
        default = default_parallelism(settings, device, gpu_memory(facts, n_threads))
        with console.status("") as status:
            workloads = workloads_for(settings, device)
            tuner = Tuner(model, default, workloads, settings.beam_size, show)
            return tuner.tune(threads), facts
    except RuntimeError as error:
        raise StartupError(
            f"{device} cannot run the model: {error}; `asr-service doctor` looks for the cause"
        ) from error


def _print_values(console: Console, settings: Settings, result: TuningResult, values: dict[str, int]) -> None:
    for name, value in values.items():
        console.print(f"{name}={value}")
    if values and "ASR_DECODE_BATCH" not in values:
        console.print(f"ASR_DECODE_BATCH stays unset. Its default is {limit_text(result.default.decode)}.")
    set_now = (settings.model_threads, settings.encode_batch, settings.decode_batch)
    for name, now in zip(NAMES, set_now, strict=True):
        if now is not None and name not in values:
            console.print(f"{name}={now} is set. The default is as fast or faster.")


def _table(result: TuningResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=True)
    for each in result.measurements.all:
        cells = (_VERBS[each.stage], each.workload.name, str(each.threads), str(each.batch))
        table.add_row(*cells, f"{each.windows_per_s:.2f}", f"{each.call_s:.3f} s")
    return table


def _described(each: Measurement) -> str:
    case = f"threads {each.threads}, windows per call {each.batch}"
    return (
        f"{_VERBS[each.stage]}, {each.workload.name}, {case}: "
        f"{each.windows_per_s:.2f} windows/s, {each.call_s:.3f} s per call"
    )
