"""Gunicorn's worker class for one slot."""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from typing import ClassVar, NoReturn

import structlog
import uvicorn
import uvloop
from gunicorn.workers.base import Worker

from asr_service.errors import StartupError
from asr_service.hardware.devices import Slot
from asr_service.serving.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from asr_service.serving.http.server import SlotServer
from asr_service.serving.plan import ServePlan, SlotApp

ENDING_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Held back from a worker until it has its own handlers."""
_LAST_WORDS_S = 5

log = structlog.get_logger(__name__)


class SlotWorker(Worker):  # type: ignore[misc]  # Gunicorn has no types
    """Runs one slot's application on a loop of its own, and says to the master that the loop lives until it has ended.

    The process ends here, always by `os._exit`: neither a thread of the engine nor the code of the master, from whose
    middle this process was forked, may have a part in it.
    """

    IGNORED: ClassVar = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
    slot: Slot

    @property
    def plan(self) -> ServePlan:
        plan: ServePlan = self.app.plan
        return plan

    def init_signals(self) -> None:
        """Until the loop runs, signals end the process: it has accepted nothing yet."""
        for sig in self.SIGNALS:
            if sig != signal.SIGABRT:  # faulthandler's since the master: for a loop that stands still it shows where
                signal.signal(sig, signal.SIG_IGN if sig in self.IGNORED else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)

    def load_wsgi(self) -> None:
        """The application is made in `run`, where it can be told its slot."""

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
        except BaseException as error:  # whatever it is ends this process and no other
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
        runner.run(self._serve(app))  # and never closed: that would wait for threads

    def die(self, exit_code: int, reason: str) -> NoReturn:
        """End this worker at once, from any thread. The master logs the reason and starts another."""
        faulthandler.dump_traceback_later(_LAST_WORDS_S, exit=True)  # should a lock hold up the words below
        try:
            self._give_reason(reason)
            self._endpoint.unpublish()
            log.critical("The worker ends itself.", exit_code=exit_code)
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
            report_state=lambda state: self.plan.slot_status.set_state(self.slot.index, state),
        )
        self._server = server
        await server.serve()
        beating.cancel()

    async def _beat(self) -> None:
        """Tell the master that the loop turns, drain included, and finish when there is no master any more."""
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
            http="httptools",  # `SlotServer` makes its own form of it
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            log_level="warning",  # what it tells of its start and end, the slot's own lines say
            access_log=False,
            server_header=False,
            # Whoever may open the unix socket is the proxy; over TCP only a proxy on this machine is believed.
            forwarded_allow_ips="*" if self.plan.listener is None else "127.0.0.1,::1",
        )

    def _give_reason(self, reason: str) -> None:
        self.plan.slot_status.set_reason(self.slot.index, reason)


def _end_process(exit_code: int) -> NoReturn:
    for handler in logging.getLogger().handlers:
        handler.flush()
    sys.stdout.flush()
    os._exit(exit_code if exit_code in range(256) else 1)
