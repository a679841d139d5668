"""`asr-service tune`: measures threads and batches on this device, and writes what is faster than the defaults."""

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
from asr_service.engine.tuning.choice import WORTH_WRITING, Point, Sizes
from asr_service.engine.tuning.measure import Tuner, Tuning, default_sizes, thread_counts, works_of
from asr_service.errors import ConfigurationError, StartupError
from asr_service.hardware.devices import Device, Slot
from asr_service.hardware.environment import device_environment
from asr_service.hardware.malloc import retain_heap
from asr_service.hardware.nvml import discover_gpus
from asr_service.hardware.spec import n_cpu_slots, parse_devices
from asr_service.logs import configure_logs
from asr_service.settings import Settings, load_settings

_NAMES: Final = ("ASR_MODEL_THREADS", "ASR_ENCODE_BATCH", "ASR_DECODE_BATCH")
_QUIET: Final = 0.1
"""The share of a CPU that other programs may take."""
_TRY_AGAIN: Final = os.EX_TEMPFAIL
_MARK: Final = "# tune: "
_HEADINGS: Final = ("stage", "window", "threads", "windows a call", "windows/s", "a call lasts")
_VERBS: Final = {Stage.ENCODE: "encode", Stage.GENERATE: "decode"}


def tune_command(
    write: Annotated[
        Path | None, typer.Option("--write", help="The file to set the values in, such as .env; its other lines stay.")
    ] = None,
) -> None:
    r"""Measure how many threads and windows at once are fastest on this device, with the model that the settings name.

    Takes the first device of ASR_DEVICES. The machine should have nothing else to do: stop the service before.
    The sound is made up and every window decoded to a fixed number of tokens: speeds to compare, not to expect.

    \b
    Examples:
      asr-service tune
      ASR_MODEL=base asr-service tune --write .env

    Ends with 75 and writes nothing where other programs used the CPU, with 69 where there is no model, with 78 where
    a setting is wrong.
    """
    configure_logs("error", "plain")
    settings = load_settings()
    if write is not None:
        _check_writable(write)
    device = parse_devices(settings.devices)[0]
    console = Console(highlight=False, soft_wrap=True)
    began, busy_s, own_s = time.monotonic(), _busy_s(), time.process_time()
    tuning, facts = _tune(settings, device, console)
    others_s = (_busy_s() - busy_s) - (time.process_time() - own_s)
    is_busy = device.kind == "cpu" and others_s > _QUIET * _n_cores() * (time.monotonic() - began)
    console.print(_table(tuning))
    if is_busy:
        console.print("other programs used this CPU meanwhile: nothing to go by; try again when they do not")
        raise typer.Exit(_TRY_AGAIN)
    values, told = _values(tuning), _verdict(tuning)
    console.print(told)
    _print_values(console, settings, tuning, values)
    if write is not None:
        _write(write, values, [f"{facts.name}, {facts.compute_type}, on {facts.device}: {told}", *_points(tuning)])
        console.print(f"wrote {write}" if values else f"{write} has none of the three")


def _busy_s() -> float:
    """Seconds that this machine's cores have worked so far, for whomever."""
    times = psutil.cpu_times()
    return float(times.user + getattr(times, "nice", 0.0) + times.system + getattr(times, "steal", 0.0))


def _n_cores() -> int:
    return psutil.cpu_count() or 1


def _tune(settings: Settings, device: Device, console: Console) -> tuple[Tuning, ModelFacts]:
    """Load the model as a slot does, with as many threads as will be tried. Raises StartupError."""
    os.environ.update(device_environment(device, discover_gpus()))
    if device.kind == "cpu":
        retain_heap()
    default = default_sizes(settings, device)
    threads = thread_counts(default, device, n_cpu_slots(settings.devices))
    most = settings.model_copy(update={"model_threads": max(threads)})
    try:
        model = load_slot_model(most, Slot(0, device), lambda: None)
        facts = model.facts
        console.print(f"{facts.name}, {facts.compute_type}, on {facts.device}, beam {settings.beam_size}: measuring")
        with console.status("") as status:
            works = works_of(settings, device)
            tuner = Tuner(model, default, works, settings.beam_size, lambda point: status.update(_told(point)))
            return tuner.tune(threads), facts
    except RuntimeError as error:
        raise StartupError(f"{device} cannot run the model: {error}; `asr-service doctor` looks into it") from error


def _values(tuning: Tuning) -> dict[str, int]:
    """Give the settings to make, by name; none where the defaults are about as good.

    A batch that stays the default is left to it, since the default takes fewer of long windows, which no number says.
    """
    if tuning.gain < WORTH_WRITING:
        return {}
    chosen, default = tuning.chosen, tuning.default
    values = dict(zip(_NAMES, (chosen.threads, chosen.encode.n_windows, chosen.decode.n_windows), strict=True))
    if chosen.decode == default.decode and default.decode.n_frames is not None:
        del values["ASR_DECODE_BATCH"]
    return values


def _verdict(tuning: Tuning) -> str:
    percent = 100 * (tuning.gain - 1)
    if tuning.gain < WORTH_WRITING:
        return f"the defaults are within {100 * (WORTH_WRITING - 1):.0f} %: nothing to write"
    return f"{percent:.0f} % more windows a second than with the defaults ({_described(tuning.default)})"


def _described(sizes: Sizes) -> str:
    return f"threads {sizes.threads}, encode {_limit(sizes.encode)}, decode {_limit(sizes.decode)}"


def _limit(limit: BatchLimit) -> str:
    fewer = "" if limit.n_frames is None else f" or {limit.n_frames / 100:g} s of windows"
    return f"{limit.n_windows}{fewer}"


def _print_values(console: Console, settings: Settings, tuning: Tuning, values: dict[str, int]) -> None:
    for name, value in values.items():
        console.print(f"{name}={value}")
    if values and "ASR_DECODE_BATCH" not in values:
        console.print(f"ASR_DECODE_BATCH stays unset: {_limit(tuning.default.decode)}")
    set_now = (settings.model_threads, settings.encode_batch, settings.decode_batch)
    for name, now in zip(_NAMES, set_now, strict=True):
        if now is not None and name not in values:
            console.print(f"{name}={now} is set; the default was found as good or better")


def _table(tuning: Tuning) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, no_wrap=True)
    for point in tuning.measured.points:
        cells = (_VERBS[point.stage], point.work.name, str(point.threads), str(point.batch))
        table.add_row(*cells, f"{point.windows_per_s:.2f}", f"{point.call_s:.3f} s")
    return table


def _points(tuning: Tuning) -> list[str]:
    return [_told(point) for point in tuning.measured.points]


def _told(point: Point) -> str:
    many = f"threads {point.threads}, windows a call {point.batch}"
    speed = f"{point.windows_per_s:.2f} windows/s, {point.call_s:.3f} s a call"
    return f"{_VERBS[point.stage]}, {point.work.name}, {many}: {speed}"


def _check_writable(path: Path) -> None:
    """Before minutes of measuring, not after them."""
    place = path if path.exists() else path.absolute().parent
    if path.is_dir() or not os.access(place, os.W_OK):
        raise ConfigurationError(f"{path} cannot be written: see that its folder is there, and may be written to")


def _write(path: Path, values: dict[str, int], comments: list[str]) -> None:
    """Replace what an earlier run wrote and any other value of the three; every other line stays as it is."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if not line.startswith(_MARK) and _assigned(line) not in _NAMES]
    date = datetime.now(UTC).date().isoformat()
    made = [f"{_MARK}{date}, {comments[0]}", *(f"{_MARK}{comment}" for comment in comments[1:])]
    made += [f"{name}={value}" for name, value in values.items()]
    # In place, so that the file keeps its owner and mode: it may hold keys.
    try:
        path.write_text("\n".join([*kept, *made]) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} was not written to its end: {error.strerror}; see what it holds") from error


def _assigned(line: str) -> str:
    """Name the variable that a line sets, or nothing."""
    return line.strip().removeprefix("export ").partition("=")[0].strip().upper()
