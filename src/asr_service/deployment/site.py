"""The facts on which the files of one machine agree: its slots, their addresses and the time-outs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from asr_service.errors import ConfigurationError
from asr_service.hardware.spec import count_named_slots, parse_devices
from asr_service.serving.limits import Timeouts
from asr_service.serving.sockets import host_and_port, local_host, socket_path
from asr_service.settings import Settings

RUN_DIRECTORY: Final = Path("/run/asr-service")
"""Default directory of the sockets: the one that systemd's RuntimeDirectory=asr-service creates."""


@dataclass(frozen=True, slots=True)
class Site:
    """The service of one machine."""

    n_slots: int
    socket_dir: Path
    addresses: tuple[str, ...]
    """Address of each slot: `unix:/path` with several slots, `host:port` with one."""
    timeouts: Timeouts

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Derive the site from the settings.

        Raises ConfigurationError: when the settings name no device, or the port is not fixed.
        """
        # Named devices are only counted, so that files can be rendered on a machine without them.
        n_slots = count_named_slots(settings.devices) or len(parse_devices(settings.devices))
        directory = settings.socket_dir or RUN_DIRECTORY
        if n_slots == 1:
            addresses: tuple[str, ...] = (_tcp_address(settings),)
        else:
            addresses = tuple(f"unix:{socket_path(directory, slot)}" for slot in range(n_slots))
        return cls(n_slots, directory, addresses, Timeouts.for_request(settings.request_timeout_s))


def _tcp_address(settings: Settings) -> str:
    if settings.port == 0:
        raise ConfigurationError("ASR_PORT=0 takes a free port, which is not known here. Set a port.", param="ASR_PORT")
    return host_and_port(local_host(settings.host), settings.port)
