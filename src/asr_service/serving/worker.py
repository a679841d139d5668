"""Gunicorn's worker class for one slot."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from typing import NoReturn

import structlog
import uvicorn
import uvloop
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from asr_service.errors import StartupError
from asr_service.hardware.devices import Slot
from asr_service.serving.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from asr_service.serving.http.server import SlotServer
from asr_service.serving.limits import max_connections
from asr_service.serving.plan import ServePlan, SlotApp

MASTER_SIGNALS = frozenset({*Arbiter.SIGNALS, signal.SIGCHLD})
"""Signals that the master blocks, and that stay blocked in a worker until it has chosen what each of them does."""
_DEFAULT_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD})
_DIE_TIMEOUT_S = 5
_MAX_MESSAGE_BYTES = 21 * 1024**2
"""Maximum size of one message of a WebSocket: 15 MiB of audio in base64, with its JSON."""

log = structlog.get_logger(__name__)


def restore_signals() -> None:
    """Undo what the master has done to signals, in a process that it has just forked."""
    for sig in MASTER_SIGNALS:  # without SIGABRT: faulthandler prints where a blocked loop stands
        signal.signal(sig, signal.SIG_DFL if sig in _DEFAULT_SIGNALS else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER_SIGNALS)


class SlotWorker(Worker):  # type: ignore[misc]  # Gunicorn has no types
    """Runs one slot's application in an event loop, and sends heartbeats to the master until the loop has ended.

    The process always ends by `os._exit` in this class, so that it neither waits for threads of the engine nor runs the
    code of the master after the fork.
    """

    slot: Slot

    @property
    def plan(self) -> ServePlan:
        plan: ServePlan = self.app.plan
        return plan

    def init_signals(self) -> None:
        """Let signals end the process until the loop runs: it has accepted no request yet."""
        restore_signals()

    def load_wsgi(self) -> None:
        """Load nothing: `run` creates the application for its slot."""

    def init_process(self) -> NoReturn:
        exit_code = 1
        try:
            super().init_process()
            exit_code = 0
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else 1
        except StartupError as error:
            exit_code = error.exit_code
            self._give_reason(error.message)
        except BaseException as error:  # no failure may leave this process
            log.exception("The worker failed.")
            self._give_reason(f"{type(error).__name__}: {error}")
        finally:
            _end_process(exit_code)

    def run(self) -> None:
        plan = self.plan
        self._endpoint: Endpoint = (
            TcpEndpoint(plan.listener) if plan.listener else UnixEndpoint(plan.socket_paths[self.slot.index])
        )
        settings = plan.settings.model_copy(update={"model": plan.models[self.slot.index]})
        app = plan.app_factory(settings, self.slot, self.die)
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        runner.run(self._serve(app))  # never closed, because that would wait for threads

    def die(self, exit_code: int, reason: str) -> NoReturn:
        """End this process at once, from any thread. The master logs the reason and starts another worker."""
        faulthandler.dump_traceback_later(_DIE_TIMEOUT_S, exit=True)  # in case a lock blocks the lines below
        try:
            self._give_reason(reason)
            self._endpoint.unpublish()
            log.critical("The worker is ending itself.", exit_code=exit_code)
        finally:
            _end_process(exit_code)

    async def _serve(self, app: SlotApp) -> None:
        beating = asyncio.create_task(self._beat())
        server = SlotServer(
            self._uvicorn_config(app),
            app,
            self._endpoint,
            drain_s=self.plan.timeouts.drain_s,
            limits=self.plan.limits,
            max_connections=max_connections(self.plan.settings.max_open_requests),
            report_state=lambda state: self.plan.slot_status.set_state(self.slot.index, state),
        )
        self._server = server
        await server.serve()
        beating.cancel()

    async def _beat(self) -> None:
        """Send heartbeats to the master, during a drain too, and finish when the master has gone."""
        every_s = min(self.timeout / 2, 1.0)
        while True:
            self.notify()
            if os.getppid() != self.ppid and not self._server.should_exit:
                log.error("The master has gone; finishing.")
                self._server.finish()
            await asyncio.sleep(every_s)

    def _uvicorn_config(self, app: SlotApp) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http="httptools",  # `SlotServer` creates its own subclass of this protocol
            ws="none",  # `BoundedHttp` creates its own subclass of the WebSocket protocol
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_ping_interval=self.plan.limits.ping_s,
            ws_ping_timeout=self.plan.limits.ping_s,
            ws_per_message_deflate=False,  # base64 of audio hardly compresses, and the compressor takes memory
            lifespan="on",
            interface="asgi3",
            log_config=None,
            log_level="warning",  # the slot logs its own start and end
            access_log=False,
            server_header=False,
            # Every client of a unix socket is the proxy. Over TCP only a proxy on this machine is trusted.
            forwarded_allow_ips="*" if self.plan.listener is None else "127.0.0.1,::1",
        )

    def _give_reason(self, reason: str) -> None:
        self.plan.slot_status.set_reason(self.slot.index, reason)


def _end_process(exit_code: int) -> NoReturn:
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    os._exit(exit_code if exit_code in range(256) else 1)
