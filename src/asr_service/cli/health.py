"""`asr-service health`: asks the service of this machine, with the settings it was started with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx
import typer

from asr_service.errors import DeviceUnavailable
from asr_service.hardware.spec import n_named_slots, parse_devices
from asr_service.serving.sockets import run_directory, socket_path
from asr_service.settings import Settings, load_settings

_PATIENCE_S: Final = 3.0
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere is asked here


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    socket: str | None
    url: str


def health_command() -> None:
    r"""Say how each slot of the running service is. Ends with 0 where at least one takes requests, else with 1.

    For a container's health check and for people; the settings must be those of the service.

    \b
    Examples:
      asr-service health
      ASR_PORT=9000 asr-service health && echo ready
    """
    answers = [_ask(slot) for slot in _slots(load_settings())]
    for line, _ in answers:
        typer.echo(line)
    if not any(is_ready for _, is_ready in answers):
        raise typer.Exit(1)


def _slots(settings: Settings) -> Iterator[_Slot]:
    """Where `serve` puts its slots under these settings: one on its TCP address, several on sockets.

    Where the GPUs decide how many, some may have fallen away since: slots whose sockets are there are asked, too.
    """
    directory = run_directory(settings)
    n_named = n_named_slots(settings.devices)
    n_slots = _n_now(settings.devices) if n_named is None else n_named
    sockets = {socket_path(directory, index) for index in range(n_slots)} if n_slots > 1 else set()
    if n_named is None:
        sockets |= set(directory.glob("slot-*.sock"))
    if n_slots <= 1:
        host = _WILDCARDS.get(settings.host, settings.host)
        url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
        yield _Slot(url, None, url)
    for path in map(str, sorted(sockets, key=lambda path: (len(path.name), path.name))):
        yield _Slot(path, path, "http://slot")


def _n_now(devices: str) -> int:
    try:
        return len(parse_devices(devices))
    except DeviceUnavailable:
        return 0


def _ask(slot: _Slot) -> tuple[str, bool]:
    """Give a line for people, and whether the slot takes requests."""
    transport = httpx.HTTPTransport(uds=slot.socket)  # no proxy of the environment stands between
    try:
        with httpx.Client(transport=transport, base_url=slot.url, timeout=_PATIENCE_S) as client:
            answer = client.get("/health/ready")
    except httpx.HTTPError as error:
        return f"{slot.name}: no answer ({error or type(error).__name__})", False
    if answer.is_success:
        return f"{slot.name}: ready", True
    return f"{slot.name}: {answer.status_code} {answer.text.strip()}", False
