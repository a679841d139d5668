"""Starts the service: decides the slots, takes the address, and hands both to Gunicorn."""

import contextlib
import faulthandler
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from asr_service.access import usage_directory
from asr_service.access.keys import read_keys
from asr_service.hardware.devices import Slot
from asr_service.hardware.environment import engine_environment
from asr_service.hardware.nvml import discover_gpus, driver_problem
from asr_service.hardware.spec import parse_devices
from asr_service.languages import check_language
from asr_service.lifecycle import Die
from asr_service.logs import configure_logs, log_uncaught
from asr_service.models.auto import slot_models
from asr_service.models.registry import check_model
from asr_service.serving.limits import ServerLimits, Timeouts
from asr_service.serving.logger import name_process
from asr_service.serving.metrics_files import share_metrics
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
    """Make the service's own application. Imported here, in the worker, so that the master stays small and single."""
    from asr_service.api.factory import create_app  # noqa: PLC0415

    return create_app(settings, slot, die)


def serve(
    settings: Settings,
    *,
    app_factory: AppFactory = create_default_app,
    limits: ServerLimits = ServerLimits(),  # noqa: B008  # frozen
    on_ready: Callable[[ServePlan], None] = lambda _plan: None,
) -> int:
    """Serve until SIGTERM, SIGINT or SIGQUIT; SIGHUP reloads slot after slot. Once a process.

    `on_ready` is called in the master when the first slot is ready. Returns the process' exit code. Raises StartupError
    where the service cannot start: a setting is wrong, the address is taken, no slot has a model.
    """
    configure_logs(settings.log_level, settings.log_format)
    log_uncaught()
    faulthandler.enable()  # systemd's watchdog ends a master that hangs by SIGABRT, which then shows where it hung
    name_process(pid=os.getpid())
    with ExitStack() as held:
        plan = _make_plan(settings, app_factory, limits, held)
        # It imports the metrics, whose files `_make_plan` has just laid out.
        from asr_service.serving.application import run_master  # noqa: PLC0415

        log.info("starting", slots=[str(slot.device) for slot in plan.slots], addresses=plan.addresses)
        _warn_where_open(plan)
        _warn_without_gpu(plan)
        code = run_master(plan, notifier=Notifier(), on_ready=on_ready)
        log.info("stopped", exit_code=code)
        return code


def _make_plan(settings: Settings, app_factory: AppFactory, limits: ServerLimits, held: ExitStack) -> ServePlan:
    """Take what only one service may have; `held` gives it back."""
    # A mistake in these is told here, once, and not by every worker.
    check_model(settings.model)
    check_language(settings.language)
    read_keys(settings)
    gpus = discover_gpus()
    slots = tuple(Slot(index, device) for index, device in enumerate(parse_devices(settings.devices, gpus)))
    directory = run_directory(settings)
    listener = None
    if len(slots) == 1:
        listener = held.enter_context(tcp_listener(settings.host, settings.port))
        own_directory(directory)
        metrics_dir = directory / f"metrics-{listener.getsockname()[1]}"
        usage_dir = directory / f"keys-{listener.getsockname()[1]}"
    else:
        held.callback(os.close, claim_directory(directory))
        metrics_dir = directory / "metrics"
        usage_dir = directory / "keys"
    _hold_metrics(settings.metrics_dir or metrics_dir, held)
    usage_dir = settings.key_usage_dir or usage_dir
    _hold_usage(usage_dir, held)
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


def _warn_where_open(plan: ServePlan) -> None:
    if plan.listener is not None and not is_loopback(plan.listener) and not read_keys(plan.settings):
        log.warning(
            "No API keys are set: whoever reaches this address may use the service. `asr-service keys new` makes one.",
            address=url_of(plan.listener),
        )


def _warn_without_gpu(plan: ServePlan) -> None:
    """`auto` takes the CPU, and a smaller model with it: not in silence where there should be a GPU."""
    if plan.settings.devices == "auto" and plan.slots[0].device.kind == "cpu" and (trouble := driver_problem()):
        log.warning("The CPU is used. `asr-service doctor` tells more.", reason=trouble)


def _hold_metrics(directory: Path, held: ExitStack) -> None:
    lock = share_metrics(directory)
    held.callback(_leave_metrics, directory, lock)


def _hold_usage(directory: Path, held: ExitStack) -> None:
    """What keys use is kept by the workers, and shared by no two services."""
    lock = usage_directory.prepare(directory)
    held.callback(_leave_usage, directory, lock)


def _leave_usage(directory: Path, lock: int) -> None:
    with contextlib.suppress(OSError):  # a worker may still be ending
        usage_directory.clear(directory)
        directory.rmdir()
    os.close(lock)


def _leave_metrics(directory: Path, lock: int) -> None:
    for file in directory.glob("*.db"):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not ours alone
        directory.rmdir()
    os.close(lock)
