"""What the master decided at start, as the workers get it."""

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
"""ASGI's, as the specification has it: servers and frameworks each type it in their own way."""


class SlotApp(Protocol):
    """The ASGI application of one slot, as its worker sees it."""

    @property
    def ready(self) -> bool:
        """The model is loaded and warm. Until then every request for work is answered 503."""

    @property
    def busy(self) -> bool:
        """A request is being answered, or something of one still runs."""

    def begin_drain(self) -> None:
        """Finish what was accepted and answer 503 to what is new. Called once, on the event loop."""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None: ...


AppFactory = Callable[[Settings, Slot, Die], SlotApp]
"""Called in the worker. It must be quick: models are loaded after it, while the application already answers."""


@dataclass(frozen=True, slots=True)
class ServePlan:
    """One service. Either `listener` (one slot) or `directory` (several) is where clients come in."""

    settings: Settings
    slots: tuple[Slot, ...]
    models: tuple[str, ...]
    """For each slot its ASR_MODEL, with `auto` replaced by a name: a restart never changes it."""
    environments: tuple[dict[str, str], ...]
    """For each slot, the variables that its worker has beside the master's: the one device it sees, among them."""
    slot_status: SharedSlotStatus
    app_factory: AppFactory
    timeouts: Timeouts
    limits: ServerLimits
    listener: socket.socket | None
    directory: Path | None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the slots are called, one each."""
        if self.listener is not None:
            return (url_of(self.listener),)
        return tuple(f"unix:{path}" for path in self.socket_paths)

    @property
    def socket_paths(self) -> tuple[Path, ...]:
        if self.directory is None:
            return ()
        return tuple(socket_path(self.directory, slot.index) for slot in self.slots)
