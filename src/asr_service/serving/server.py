"""Starts the service: choose the slots, take the address, run Gunicorn's master."""

import faulthandler
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from asr_service.access.keys import read_keys
from asr_service.access.usage_directory import USAGE_FILES
from asr_service.errors import ConfigurationError
from asr_service.hardware.devices import Slot
from asr_service.hardware.environment import engine_environment
from asr_service.hardware.nvml import discover_gpus, driver_problem
from asr_service.hardware.spec import parse_devices
from asr_service.languages import check_language
from asr_service.lifecycle import Die
from asr_service.logs import configure_logs, log_uncaught
from asr_service.models.auto import slot_models
from asr_service.models.registry import check_model
from asr_service.serving.limits import ServerLimits, Timeouts, raise_open_files
from asr_service.serving.logger import name_process
from asr_service.serving.metrics_files import METRICS_FILES, share_metrics
from asr_service.serving.owned_directory import owned_directory
from asr_service.serving.plan import AppFactory, ServePlan, SlotApp
from asr_service.serving.slots.status import SharedSlotStatus
from asr_service.serving.sockets import (
    claim_directory,
    is_loopback,
    own_directory,
    run_directory,
    tcp_listener,
    url_of,
)
from asr_service.serving.systemd import Notifier
from asr_service.settings import Settings

log = structlog.get_logger(__name__)


def create_default_app(settings: Settings, slot: Slot, die: Die) -> SlotApp:
    """Create the service's own application.

    The import is here so that only workers load the engine: the master stays small and has one thread.
    """
    from asr_service.api.factory import create_app  # noqa: PLC0415

    return create_app(settings, slot, die)


def serve(
    settings: Settings,
    *,
    app_factory: AppFactory = create_default_app,
    needs_tcp: bool = False,
    limits: ServerLimits = ServerLimits(),  # noqa: B008  # frozen
    on_ready: Callable[[ServePlan], None] = lambda _plan: None,
) -> int:
    """Serve until SIGTERM, SIGINT or SIGQUIT, and return the exit code of the process. SIGHUP reloads slot after slot.

    A process can call this once. `needs_tcp` says that the operator chose a TCP address, which several slots do not
    use. `on_ready` is called in the master when the first slot is ready.

    Raises StartupError: when a setting is invalid, the address is in use, or no slot can load its model.
    """
    configure_logs(settings.log_level, settings.log_format)
    log_uncaught()
    faulthandler.enable()  # systemd's watchdog sends SIGABRT to a master that hangs: its stack is then printed
    name_process(pid=os.getpid())
    raise_open_files()
    with ExitStack() as held:
        plan = _make_plan(settings, app_factory, limits, needs_tcp=needs_tcp, held=held)
        # Imported here: it imports the metrics, whose directory `_make_plan` has just set.
        from asr_service.serving.application import run_master  # noqa: PLC0415

        log.info(
            "starting", slots=[str(slot.device) for slot in plan.slots], models=plan.models, addresses=plan.addresses
        )
        _warn_if_open(plan)
        _warn_without_gpu(plan)
        code = run_master(plan, notifier=Notifier(), on_ready=on_ready)
        log.info("stopped", exit_code=code)
        return code


def _make_plan(
    settings: Settings, app_factory: AppFactory, limits: ServerLimits, *, needs_tcp: bool, held: ExitStack
) -> ServePlan:
    """Choose the slots and take the address and the directories; closing `held` releases them."""
    # Checked here, so that a mistake is reported once and not by every worker.
    check_model(settings.model)
    check_language(settings.language)
    read_keys(settings)
    gpus = discover_gpus()
    slots = tuple(Slot(index, device) for index, device in enumerate(parse_devices(settings.devices, gpus)))
    _choose_temporary_directory()
    directory = run_directory(settings)
    if needs_tcp and len(slots) > 1:
        raise ConfigurationError(
            f"--host and --port are for one slot, and ASR_DEVICES={settings.devices} makes {len(slots)}, which "
            f"listen on unix sockets in {directory}. Leave them out, or choose one device.",
            param="ASR_DEVICES",
        )
    listener = _take_address(settings, directory, len(slots), held)
    suffix = f"-{listener.getsockname()[1]}" if listener else ""
    metrics_dir = settings.metrics_dir or directory / f"metrics{suffix}"
    usage_dir = settings.key_usage_dir or directory / f"keys{suffix}"
    for path, setting, patterns, mode in (
        (metrics_dir, "ASR_METRICS_DIR" if settings.metrics_dir else "ASR_SOCKET_DIR", METRICS_FILES, 0o750),
        (usage_dir, "ASR_KEY_USAGE_DIR" if settings.key_usage_dir else "ASR_SOCKET_DIR", USAGE_FILES, 0o700),
    ):
        held.enter_context(owned_directory(path, setting=setting, patterns=patterns, mode=mode))
    share_metrics(metrics_dir, len(slots))
    return ServePlan(
        settings=settings.model_copy(update={"key_usage_dir": usage_dir}),
        slots=slots,
        models=slot_models(settings, [slot.device for slot in slots], gpus),
        environments=tuple(engine_environment(slot.device, gpus) for slot in slots),
        slot_status=SharedSlotStatus(len(slots)),
        app_factory=app_factory,
        timeouts=limits.shorten(Timeouts.for_request(settings.request_timeout_s)),
        limits=limits,
        listener=listener,
        directory=None if listener else directory,
    )


def _take_address(settings: Settings, directory: Path, n_slots: int, held: ExitStack) -> socket.socket | None:
    """Return the listener of the only slot; with several, lock the directory of their sockets and return None."""
    if n_slots > 1:
        held.callback(os.close, claim_directory(directory))
        return None
    listener = held.enter_context(tcp_listener(settings.host, settings.port))
    own_directory(directory)
    return listener


def _choose_temporary_directory() -> None:
    """Choose the directory of uploads, which all workers inherit.

    If a worker chose it while its disk is full, Python would take another directory. If Python takes another one here,
    the service starts, because the disk of TMPDIR may be full for a while.
    """
    wanted = os.environ.get("TMPDIR")
    try:
        chosen = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigurationError(
            "No directory for temporary files can be written. Free some disk space, or set TMPDIR to another one.",
            param="TMPDIR",
        ) from error
    if wanted and Path(chosen).resolve() != Path(wanted).resolve():
        log.warning("Uploads are stored elsewhere: no file can be written in TMPDIR.", wanted=wanted, used=chosen)


def _warn_if_open(plan: ServePlan) -> None:
    if plan.listener is not None and not is_loopback(plan.listener) and not read_keys(plan.settings):
        log.warning(
            "No API keys are set: everyone who can reach this address can use the service. "
            "`asr-service keys new NAME` creates a key.",
            address=url_of(plan.listener),
        )


def _warn_without_gpu(plan: ServePlan) -> None:
    """Warn if ASR_DEVICES=auto uses the CPU, and so a smaller model, on a machine that has an NVIDIA GPU."""
    if plan.settings.devices == "auto" and plan.slots[0].device.kind == "cpu" and (problem := driver_problem()):
        log.warning("The CPU is used. `asr-service doctor` has details.", reason=problem)
