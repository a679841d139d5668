"""Gunicorn's settings. All are set here; no configuration file, command line or environment is read."""

import math
import os
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from asr_service.errors import StartupError
from asr_service.serving.arbiter import SlotArbiter
from asr_service.serving.logger import GunicornLogger
from asr_service.serving.plan import ServePlan
from asr_service.serving.systemd import Notifier
from asr_service.serving.worker import SlotWorker

_HEARTBEATS_IN = "/dev/shm"  # noqa: S108  # in memory: a slow disk must not delay a heartbeat; the files are unlinked


class GunicornApplication(BaseApplication):  # type: ignore[misc]  # Gunicorn has no types
    def __init__(self, plan: ServePlan) -> None:
        self.plan = plan
        super().__init__()

    def load_config(self) -> None:
        for name, value in _gunicorn_settings(self.plan).items():
            self.cfg.set(name, value)

    def load(self) -> None:
        """Load nothing: each worker creates its application itself."""


def run_master(plan: ServePlan, *, notifier: Notifier, on_ready: Callable[[ServePlan], None]) -> int:
    """Serve until a signal stops the service, and return the master's exit code.

    Raises StartupError: when no slot was ever ready, and a retry would not help.
    """
    arbiter = SlotArbiter(GunicornApplication(plan), notifier=notifier, on_ready=on_ready)
    try:
        arbiter.run()
    except SystemExit as end:
        failure: StartupError | None = arbiter.failure
        if failure is not None:
            raise failure from None
        return end.code if isinstance(end.code, int) else 1
    return 0


def _gunicorn_settings(plan: ServePlan) -> dict[str, Any]:
    return {
        "bind": [],  # the arbiter gets its listener from the plan; workers with unix sockets create them
        "workers": len(plan.slots),
        "worker_class": SlotWorker,
        "worker_tmp_dir": _HEARTBEATS_IN if os.access(_HEARTBEATS_IN, os.W_OK) else None,
        "preload_app": False,  # nothing of CTranslate2 or CUDA crosses a fork
        "timeout": plan.limits.heartbeat_s,
        "graceful_timeout": math.ceil(plan.timeouts.graceful_s),
        "control_socket_disable": True,
        "logger_class": GunicornLogger,
        "pre_fork": lambda arbiter, worker: arbiter.before_fork(worker),
        "post_fork": lambda arbiter, worker: arbiter.after_fork(worker),
        "proc_name": "asr-service",
    }
