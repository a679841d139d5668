"""Gunicorn's master, which supervises slots in place of a number of workers."""

import os
import time
from collections.abc import Callable
from typing import Any

import structlog
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.sock import TCP6Socket, TCPSocket

from asr_service.access.keys import read_keys
from asr_service.errors import ConfigurationError, StartupError
from asr_service.lifecycle import SlotState
from asr_service.metrics import SLOT_READY, WORKER_RESTARTS
from asr_service.serving.exit_status import describe_exit
from asr_service.serving.logger import name_process
from asr_service.serving.metrics_files import become_slot, forget_gauges
from asr_service.serving.plan import ServePlan
from asr_service.serving.signals import SignalQueue, quick_ends_first
from asr_service.serving.slots.reload import RollingReload
from asr_service.serving.slots.supervisor import STARTUP_FAILURES, SlotSupervisor
from asr_service.serving.standby import Standby
from asr_service.serving.systemd import Notifier
from asr_service.serving.worker import MASTER_SIGNALS, SlotWorker

log = structlog.get_logger(__name__)


class SlotArbiter(Arbiter):  # type: ignore[misc]  # Gunicorn has no types
    """Keeps one worker in every slot. A worker that fails, at start or later, affects no other slot.

    After `run`, `failure` is the reason why no slot could start, or None if that did not end the service.
    """

    def __init__(self, app: Any, *, notifier: Notifier, on_ready: Callable[[ServePlan], None]) -> None:
        super().__init__(app)
        self.plan: ServePlan = app.plan
        self.WORKERS: dict[int, SlotWorker] = {}
        self.LISTENERS = self._gunicorn_listeners()
        self.failure: StartupError | None = None
        self._notifier = notifier
        self._on_ready = on_ready
        self._is_up = False
        self._is_stopping = False
        self._clock = time.monotonic
        limits, timeouts, listener = self.plan.limits, self.plan.timeouts, self.plan.listener
        self._standby = None if listener is None else Standby(listener, self.plan.slots[0], limits)
        self._supervisor = SlotSupervisor(
            self.plan.slots,
            first_s=limits.backoff_first_s,
            most_s=limits.backoff_most_s,
            min_uptime_s=limits.min_uptime_s,
        )
        self._reload = RollingReload(
            self._supervisor,
            self.plan.slot_status,
            self.kill_worker,
            graceful_s=timeouts.graceful_s,
            load_s=self._load_limit_s,
        )
        for slot in self.plan.slots:  # so that a slot without a worker has the value 0
            SLOT_READY.labels(str(slot.index)).set(0)
            WORKER_RESTARTS.labels(str(slot.index)).inc(0)

    # -- the loop

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        return quick_ends_first(super().wait_for_signals(min(timeout, self.plan.limits.tick_s)))

    def manage_workers(self) -> None:
        """Start workers in slots that are due, continue a reload, and report the state."""
        now_s = self._clock()
        self._stop_if_startup_failed()
        while self._supervisor.next_due(now_s) is not None:
            self._try_to_spawn()
        self._reload.step(now_s)
        self._report(now_s)

    def reap_workers(self) -> None:
        """Handle workers that have ended. Gunicorn's own form would stop the service after exit codes 3 and 4."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._standby is not None:
                self._standby.reaped(pid)
            worker = self.WORKERS.pop(pid, None)
            if worker is not None:
                self._on_worker_exit(worker, os.waitstatus_to_exitcode(status))

    def stop(self, graceful: bool = True) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._notifier.send("STOPPING=1")
            self._notifier.status("finishing accepted requests" if graceful else "stopping")
            log.info("stopping", graceful=graceful, workers=len(self.WORKERS))
            if self._standby is not None:
                self._standby.kill()
        super().stop(graceful)

    # -- signals

    def init_signals(self) -> None:
        """Block the signals that the loop takes from its queue, also in new workers, which unblock them."""
        self.SIG_QUEUE = SignalQueue(MASTER_SIGNALS)

    def handle_hup(self) -> None:
        try:
            read_keys(self.plan.settings)  # with invalid keys no new worker could start
        except ConfigurationError as error:
            log.error("Reload refused: the API keys are invalid.", reason=error.message)  # noqa: TRY400
            return
        self._reload.begin()

    def handle_ttin(self) -> None:
        log.warning("SIGTTIN is ignored: each slot has one worker. Change ASR_DEVICES and restart the service.")

    def handle_ttou(self) -> None:
        log.warning("SIGTTOU is ignored: each slot has one worker. Change ASR_DEVICES and restart the service.")

    def handle_usr2(self) -> None:
        log.warning("SIGUSR2 is ignored: a second master would load a second model on each device. SIGHUP reloads.")

    # -- hooks of Gunicorn's spawn_worker, set in the application's configuration

    def before_fork(self, worker: SlotWorker) -> None:
        """Give the worker its slot, and end the process that answered meanwhile."""
        slot = self._supervisor.next_due(self._clock())
        if slot is None:
            raise RuntimeError("a worker was spawned while no slot was free")
        worker.slot = slot
        if self._standby is not None:
            self._standby.stop()
        self.plan.slot_status.begin(slot.index)
        if self._supervisor.take(slot.index, self._clock()):
            WORKER_RESTARTS.labels(str(slot.index)).inc()

    def after_fork(self, worker: SlotWorker) -> None:
        """Prepare the new process for its slot."""
        os.environ.update(self.plan.environments[worker.slot.index])
        become_slot(worker.slot.index)
        name_process(slot=worker.slot.index, pid=os.getpid())
        log.info("loading", device=str(worker.slot.device))

    # -- helpers

    @property
    def _load_limit_s(self) -> float:
        return self.plan.settings.model_load_timeout_s + self.plan.limits.boot_margin_s

    def _gunicorn_listeners(self) -> list[Any]:
        listener = self.plan.listener
        if listener is None:
            return []
        kind = TCP6Socket if ":" in listener.getsockname()[0] else TCPSocket
        return [kind(listener.getsockname(), self.cfg, self.log, fd=os.dup(listener.fileno()))]

    def _try_to_spawn(self) -> None:
        slot = self._supervisor.next_due(self._clock())
        try:
            pid = self.spawn_worker()
        except OSError:
            if slot is None:
                raise
            wait_s = self._supervisor.release(slot.index, self._clock(), exit_code=1, was_ready=False)
            log.exception("The worker could not be started.", slot=slot.index, retry_in_s=wait_s)
            self._answer_meanwhile(wait_s, "the system could not start a process")
        else:
            worker = self.WORKERS[pid]
            self._supervisor.started(worker.slot.index, pid)

    def _on_worker_exit(self, worker: SlotWorker, exit_code: int) -> None:
        """Free the slot. A negative `exit_code` is a signal."""
        worker.tmp.close()
        index, slot_status = worker.slot.index, self.plan.slot_status
        was_ready, reason = slot_status.was_ready(index), slot_status.reason(index)
        slot_status.set_state(index, SlotState.DOWN)
        forget_gauges(index)
        if self.plan.directory is not None:
            self.plan.socket_paths[index].unlink(missing_ok=True)
        wait_s = self._supervisor.release(index, self._clock(), exit_code=exit_code, was_ready=was_ready, reason=reason)
        how, reason = describe_exit(exit_code), " ".join(reason.split())  # one line
        if self._is_stopping or exit_code == 0:
            log.info("worker ended", slot=index, worker=worker.pid, exit_code=exit_code)
        elif self._supervisor.startup_failed() is None:
            log.error("worker ended", slot=index, worker=worker.pid, how=how, reason=reason, retry_in_s=wait_s)
        else:  # the service ends, and its last message has the reason
            log.error("worker ended", slot=index, worker=worker.pid, how=how)
        if not self._is_stopping and self._supervisor.startup_failed() is None:
            self._answer_meanwhile(wait_s, (reason or how).rstrip("."))

    def _answer_meanwhile(self, wait_s: float, reason: str) -> None:
        """Answer 503 until the next worker starts. Several slots have no address meanwhile, and so need no answer."""
        if self._standby is not None and wait_s > 0:
            self._standby.start(wait_s, reason)

    def _stop_if_startup_failed(self) -> None:
        index = self._supervisor.startup_failed()
        if index is not None:
            self.failure = STARTUP_FAILURES[self._supervisor.exit_code(index)](self._supervisor.reason(index))
            raise HaltServer(None, 0)  # `run_master` raises the failure; Gunicorn's own line would add nothing

    def _report(self, now_s: float) -> None:
        n_ready, n_slots = self.plan.slot_status.n_ready(), len(self.plan.slots)
        if n_ready and not self._is_up:
            self._is_up = True
            log.info("serving", addresses=self.plan.addresses)
            self._notifier.send("READY=1")
            self._on_ready(self.plan)
        self._notifier.status(f"{n_ready} of {n_slots} slots ready")
        self._notifier.ping(now_s)
