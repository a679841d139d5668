"""What the files of one machine have to agree on: how many slots it has, where they are, how long things may take."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from asr_service.errors import ConfigurationError
from asr_service.hardware.spec import count_named_slots, parse_devices
from asr_service.serving.limits import Timeouts
from asr_service.serving.sockets import host_and_port, local_host, socket_path
from asr_service.settings import Settings

RUN_DIRECTORY: Final = Path("/run/asr-service")
"""Where sockets are, unless ASR_SOCKET_DIR says otherwise: what systemd's RuntimeDirectory=asr-service makes."""


@dataclass(frozen=True, slots=True)
class Site:
    """One machine's service."""

    n_slots: int
    socket_dir: Path
    addresses: tuple[str, ...]
    """Where each slot is called: `unix:/path` with several slots, `host:port` with one."""
    timeouts: Timeouts

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read off the settings. Raises ConfigurationError: they name no device, or leave open where the service is."""
        # Devices that are named are counted, so that files can be made on a machine without them.
        n_slots = count_named_slots(settings.devices) or len(parse_devices(settings.devices))
        directory = settings.socket_dir or RUN_DIRECTORY
        if n_slots == 1:
            addresses: tuple[str, ...] = (_tcp_address(settings),)
        else:
            addresses = tuple(f"unix:{socket_path(directory, slot)}" for slot in range(n_slots))
        return cls(n_slots, directory, addresses, Timeouts.for_request(settings.request_timeout_s))


def _tcp_address(settings: Settings) -> str:
    if settings.port == 0:
        raise ConfigurationError("ASR_PORT=0 takes a free port, which no file can name; set a port", param="ASR_PORT")
    return host_and_port(local_host(settings.host), settings.port)
