"""Uvicorn's server for one slot: its endpoint follows the application's readiness, and its drain has a time limit."""

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import Callable, Iterator

import structlog
import uvicorn

from asr_service.lifecycle import SlotState
from asr_service.serving.endpoint import Endpoint
from asr_service.serving.http.connection_state import ConnectionState
from asr_service.serving.http.connections import Connections
from asr_service.serving.http.protocol import BoundedHttp
from asr_service.serving.limits import ServerLimits
from asr_service.serving.plan import SlotApp

_TICK_S = 0.05
_TICKS_PER_CHECK = 20
_TICKS_PER_DATE = 2  # Uvicorn renews the date header every tenth call

log = structlog.get_logger(__name__)


class SlotServer(uvicorn.Server):
    """Serves one application until SIGTERM, then drains until the application is idle or `drain_s` has passed.

    SIGINT and SIGQUIT end it without a drain.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: SlotApp,
        endpoint: Endpoint,
        *,
        drain_s: float,
        limits: ServerLimits,
        max_connections: int,
        report_state: Callable[[SlotState], None],
    ) -> None:
        super().__init__(config)
        self._app = app
        self._endpoint = endpoint
        self._drain_s = drain_s
        self._limits = limits
        self._connections = Connections(max_connections)
        self._report_state = report_state
        self._is_open = False
        self._deadline_s = math.inf
        self._n_ticks = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the event loop. Uvicorn's own form would raise them again after its end."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.finish)
        for sig in (signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(sig, self.finish_at_once)
        yield

    def finish(self) -> None:
        """Stop when accepted requests are finished."""
        self.should_exit = True

    def finish_at_once(self) -> None:
        """Stop without waiting for requests."""
        self.should_exit = self.force_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  # the endpoint has them
        await super().startup(sockets=[])
        if not self.should_exit:
            self._add(await self._endpoint.start(self._make_protocol))

    async def main_loop(self) -> None:
        """Open and close the endpoint as the application becomes ready or not, then drain."""
        while not self.should_exit:
            await self._tick()
            await self._follow()
        if not self.force_exit:
            await self._drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Run Uvicorn's own shutdown, which waits for responses to be sent, for the rest of the drain's time."""
        self._unpublish(SlotState.DRAINING)
        left_s = max(self._deadline_s - asyncio.get_running_loop().time(), 1.0)
        self.config.timeout_graceful_shutdown = 1 if self.force_exit else math.ceil(min(left_s, 1e9))
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown + 2):
                await super().shutdown(sockets)
        except TimeoutError:
            log.error("The application did not end in time.")  # noqa: TRY400  # the traceback has no information

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline_s = loop.time() + self._drain_s
        log.info("draining", busy=self._app.busy, at_most_s=self._drain_s)
        self._unpublish(SlotState.DRAINING)
        self._close_idle()
        await self._tick_until(lambda: not self._endpoint.needs_accept_grace, loop.time() + self._limits.accept_grace_s)
        self._app.begin_drain()
        await self._tick_until(lambda: not self._app.busy, self._deadline_s)
        if self._app.busy and not self.force_exit:
            log.error("The drain's time is over, and requests are unfinished.", after_s=self._drain_s)

    async def _tick_until(self, done: Callable[[], bool], deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        while not done() and not self.force_exit and loop.time() < deadline_s:
            await self._tick()

    async def _tick(self) -> None:
        await self.on_tick(self._n_ticks // _TICKS_PER_DATE)
        if self._n_ticks % _TICKS_PER_CHECK == 0:
            self._connections.check_descriptors()
        self._n_ticks += 1
        await asyncio.sleep(_TICK_S)

    async def _follow(self) -> None:
        if self._app.ready and not self._is_open:
            self._is_open = True
            self._add(await self._endpoint.open(self._make_protocol))
            self._report_state(SlotState.READY)
            log.info("ready")
        elif self._is_open and not self._app.ready:
            self._unpublish(SlotState.LOADING)
            log.warning("no longer ready")

    def _unpublish(self, state: SlotState) -> None:
        self._endpoint.unpublish()
        self._is_open = False
        self._report_state(state)

    def _close_idle(self) -> None:
        """Close connections after their current request: a later request would reach a slot that has gone.

        A connection without a request yet stays open, since it was made while the slot was ready. One in a lingering
        close ends by itself.
        """
        for connection in list(self.server_state.connections):
            if (
                isinstance(connection, BoundedHttp)
                and connection.cycle is not None
                and connection.state is not ConnectionState.LINGERING
            ):
                connection.shutdown()

    def _add(self, server: asyncio.Server | None) -> None:
        if server is not None:
            self.servers.append(server)

    def _make_protocol(self) -> BoundedHttp:
        return BoundedHttp(
            self._limits,
            self._connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
