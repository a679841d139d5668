"""`asr-service health`: query each slot of the service on this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx
import typer

from asr_service.errors import DeviceUnavailable
from asr_service.hardware.spec import count_named_slots, parse_devices
from asr_service.serving.sockets import host_and_port, local_host, run_directory, socket_path
from asr_service.settings import Settings, load_settings

_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    socket: str | None
    url: str


def health_command() -> None:
    r"""Print the state of each slot of the running service.

    Exits with 0 if at least one slot accepts requests, else with 1. It is made for a container's health check. The
    settings must be those that the service was started with.

    \b
    Examples:
      asr-service health
      ASR_PORT=9000 asr-service health && echo ready
    """
    states = [_query(slot) for slot in _slots(load_settings())]
    for line, _ in states:
        typer.echo(line)
    if not any(is_ready for _, is_ready in states):
        raise typer.Exit(1)


def _slots(settings: Settings) -> Iterator[_Slot]:
    """Yield where `serve` listens with these settings: one slot on its TCP address, several on sockets.

    With ASR_DEVICES=auto a GPU may have failed since the start, so slots whose sockets exist are queried too.
    """
    directory = run_directory(settings)
    n_named = count_named_slots(settings.devices)
    n_slots = _count_devices(settings.devices) if n_named is None else n_named
    sockets = {socket_path(directory, index) for index in range(n_slots)} if n_slots > 1 else set()
    if n_named is None:
        sockets |= set(directory.glob("slot-*.sock"))
    if n_slots <= 1:
        url = f"http://{host_and_port(local_host(settings.host), settings.port)}"
        yield _Slot(url, None, url)
    for path in map(str, sorted(sockets, key=lambda path: (len(path.name), path.name))):
        yield _Slot(path, path, "http://slot")


def _count_devices(devices: str) -> int:
    try:
        return len(parse_devices(devices))
    except DeviceUnavailable:
        return 0


def _query(slot: _Slot) -> tuple[str, bool]:
    """Return a line to print, and whether the slot accepts requests."""
    transport = httpx.HTTPTransport(uds=slot.socket)  # ignores the proxies of the environment
    try:
        with httpx.Client(transport=transport, base_url=slot.url, timeout=_TIMEOUT_S) as client:
            response = client.get("/health/ready")
    except httpx.HTTPError as error:
        return f"{slot.name}: no answer ({error or type(error).__name__})", False
    if response.is_success:
        return f"{slot.name}: ready", True
    return f"{slot.name}: {response.status_code} {response.text.strip()}", False
