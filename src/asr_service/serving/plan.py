"""The plan of a service: what the master decides at start and the workers use."""

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from asr_service.hardware.devices import Slot
from asr_service.lifecycle import Die
from asr_service.serving.limits import ServerLimits, Timeouts
from asr_service.serving.slots.status import SharedSlotStatus
from asr_service.serving.sockets import socket_path, url_of
from asr_service.settings import Settings

Message = MutableMapping[str, Any]
"""An ASGI message or scope."""


class SlotApp(Protocol):
    """The ASGI application of one slot."""

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and warm. Until then each request for work gets a 503."""

    @property
    def busy(self) -> bool:
        """Whether a request is open or some of its work still runs."""

    def begin_drain(self) -> None:
        """Finish accepted requests and answer 503 to new ones. Called once, on the event loop."""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None: ...


AppFactory = Callable[[Settings, Slot, Die], SlotApp]
"""Creates the application, in the worker. It must be fast: the model loads later, while the application answers."""


@dataclass(frozen=True, slots=True)
class ServePlan:
    """One service. Clients connect to `listener` (one slot) or to sockets in `directory` (several slots)."""

    settings: Settings
    slots: tuple[Slot, ...]
    models: tuple[str, ...]
    """For each slot its ASR_MODEL, with `auto` replaced by a name: a restart never changes it."""
    environments: tuple[dict[str, str], ...]
    """For each slot, environment variables that its worker has in addition, such as the device that it can use."""
    slot_status: SharedSlotStatus
    app_factory: AppFactory
    timeouts: Timeouts
    limits: ServerLimits
    listener: socket.socket | None
    directory: Path | None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The address of each slot."""
        if self.listener is not None:
            return (url_of(self.listener),)
        return tuple(f"unix:{path}" for path in self.socket_paths)

    @property
    def socket_paths(self) -> tuple[Path, ...]:
        """The path of each slot's unix socket; empty with one slot."""
        if self.directory is None:
            return ()
        return tuple(socket_path(self.directory, slot.index) for slot in self.slots)
