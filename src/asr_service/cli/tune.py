"""`asr-service tune`: measure numbers of threads and batch sizes on this device, and write those that are faster."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import psutil
import typer
from rich.console import Console
from rich.table import Table

from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.protocol import ModelFacts
from asr_service.engine.model.stages import Stage
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.sizing import gpu_memory
from asr_service.engine.tuning.choice import MIN_GAIN, Measurement
from asr_service.engine.tuning.measure import (
    Tuner,
    TuningResult,
    default_parallelism,
    default_threads,
    thread_counts,
    workloads_for,
)
from asr_service.errors import ConfigurationError, StartupError
from asr_service.hardware.devices import Device, Slot
from asr_service.hardware.environment import device_environment
from asr_service.hardware.malloc import retain_heap
from asr_service.hardware.nvml import discover_gpus
from asr_service.hardware.spec import count_cpu_slots, parse_devices
from asr_service.logs import configure_logs
from asr_service.settings import Settings, load_settings

_NAMES: Final = ("ASR_MODEL_THREADS", "ASR_ENCODE_BATCH", "ASR_DECODE_BATCH")
_MAX_OTHER_LOAD: Final = 0.1
"""The share of the CPU's time that other programs may take during the measurement."""
_EXIT_BUSY: Final = os.EX_TEMPFAIL
_MARK: Final = "# tune: "
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
        _check_file(write)
    device = parse_devices(settings.devices)[0]
    console = Console(highlight=False, soft_wrap=True)
    began, busy_s, own_s = time.monotonic(), _busy_s(), time.process_time()
    result, facts = _tune(settings, device, console)
    others_s = (_busy_s() - busy_s) - (time.process_time() - own_s)
    is_busy = device.kind == "cpu" and others_s > _MAX_OTHER_LOAD * (psutil.cpu_count() or 1) * (
        time.monotonic() - began
    )
    console.print(_table(result))
    if is_busy:
        console.print(
            "Other programs used the CPU during the measurement, so it is not reliable. Stop them, and retry."
        )
        raise typer.Exit(_EXIT_BUSY)
    values, verdict = _values(result), _verdict(result)
    console.print(verdict)
    _print_values(console, settings, result, values)
    if write is not None:
        heading = f"{facts.name}, {facts.compute_type}, on {facts.device}: {verdict}"
        _write(write, values, [heading, *map(_described, result.measurements.all)])
        console.print(f"Wrote {write}." if values else f"Wrote {write}: it sets none of {', '.join(_NAMES)}.")


def _busy_s() -> float:
    """Return the seconds that all cores of this machine have worked so far, for any program."""
    times = psutil.cpu_times()
    return float(times.user + getattr(times, "nice", 0.0) + times.system + getattr(times, "steal", 0.0))


def _tune(settings: Settings, device: Device, console: Console) -> tuple[TuningResult, ModelFacts]:
    """Load the model as a slot does, with the largest number of threads to try, and measure. Raises StartupError."""
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
        default = default_parallelism(settings, device, gpu_memory(facts, n_threads))
        with console.status("") as status:
            workloads = workloads_for(settings, device)
            tuner = Tuner(model, default, workloads, settings.beam_size, lambda made: status.update(_described(made)))
            return tuner.tune(threads), facts
    except RuntimeError as error:
        raise StartupError(
            f"{device} cannot run the model: {error}; `asr-service doctor` looks for the cause"
        ) from error


def _values(result: TuningResult) -> dict[str, int]:
    """Return the settings to make, by name; none if the gain is too small.

    ASR_DECODE_BATCH is left unset if the chosen default depends on the windows' length: no number has that effect.
    """
    if result.gain < MIN_GAIN:
        return {}
    chosen, default = result.chosen, result.default
    values = dict(zip(_NAMES, (chosen.threads, chosen.encode.n_windows, chosen.decode.n_windows), strict=True))
    if chosen.decode == default.decode and default.decode.n_frames is not None:
        del values["ASR_DECODE_BATCH"]
    return values


def _verdict(result: TuningResult) -> str:
    if result.gain < MIN_GAIN:
        return f"The defaults are within {100 * (MIN_GAIN - 1):.0f} % of the fastest values: nothing to change."
    default = result.default
    described = f"threads {default.threads}, encode {_limit(default.encode)}, decode {_limit(default.decode)}"
    return f"{100 * (result.gain - 1):.0f} % more windows a second than with the defaults ({described})."


def _limit(limit: BatchLimit) -> str:
    bound = "" if limit.n_frames is None else f", at most {limit.n_frames / 100:g} s of windows"
    return f"{limit.n_windows}{bound}"


def _print_values(console: Console, settings: Settings, result: TuningResult, values: dict[str, int]) -> None:
    for name, value in values.items():
        console.print(f"{name}={value}")
    if values and "ASR_DECODE_BATCH" not in values:
        console.print(f"ASR_DECODE_BATCH stays unset. Its default is {_limit(result.default.decode)}.")
    set_now = (settings.model_threads, settings.encode_batch, settings.decode_batch)
    for name, now in zip(_NAMES, set_now, strict=True):
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


def _check_file(path: Path) -> None:
    """Check that the file can be read and written. Fail before minutes of measuring and not after them."""
    place = path if path.exists() else path.absolute().parent
    if path.is_dir() or not os.access(place, os.W_OK):
        raise ConfigurationError(f"{path} cannot be written. Check that its folder exists and is writable.")
    try:
        _lines(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}.") from error


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _write(path: Path, values: dict[str, int], comments: list[str]) -> None:
    """Replace the lines of an earlier run and all other lines that set one of the three values. Other lines stay."""
    kept = [line for line in _lines(path) if not line.startswith(_MARK) and _assigned(line) not in _NAMES]
    date = datetime.now(UTC).date().isoformat()
    made = [f"{_MARK}{date}, {comments[0]}", *(f"{_MARK}{comment}" for comment in comments[1:])]
    made += [f"{name}={value}" for name, value in values.items()]
    # Written in place, so that the file keeps its owner and mode: it may hold keys.
    try:
        path.write_text("\n".join([*kept, *made]) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} was not written completely: {error.strerror}. Check its content.") from error


def _assigned(line: str) -> str:
    """Return the name of the variable that a line sets, or an empty string."""
    return line.strip().removeprefix("export ").partition("=")[0].strip().upper()
