"""Two slots behind Nginx, shared by the tests of a module."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asr_service.settings import Settings, load_settings
from nginx.proxy import Certificate, Nginx, proxying
from serving.fake_speech import Note, notes
from serving.harness import Service, running
from waiting import until

SETTINGS: dict[str, str] = {
    "ASR_DEVICES": "cpu,cpu",
    "ASR_MAX_UPLOAD_BYTES": str(8 * 1024 * 1024),
    "ASR_UPLOAD_TIMEOUT_S": "1",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """Nginx in front of two slots of the fake application."""

    nginx: Nginx
    service: Service
    settings: Settings
    certificate: Certificate

    def notes(self, request_id: str | None = None) -> list[Note]:
        """Return the steps that all requests, or one, have reached, in order."""
        return [note for note in notes(self.service.faults) if request_id in (None, note.request)]

    def at(self, request_id: str, step: str) -> Note:
        """Wait until the request has reached the step."""
        return until(
            lambda: next((note for note in self.notes(request_id) if note.step == step), None),
            what=f"{request_id} {step}",
        )

    @contextmanager
    def fault(self, name: str, text: str = "") -> Iterator[None]:
        """Set a fault of the fake application until the block ends."""
        path = self.service.faults / name
        path.write_text(text)
        try:
            yield
        finally:
            path.unlink()

    def another(self, folder: Path, **options: Any) -> Any:
        """Start another Nginx in front of the same slots."""
        return proxying(folder, self.settings, self.certificate, **options)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with running(folder / "service", {"heartbeat_s": 6}, **SETTINGS) as service:
        fields = {name.removeprefix("ASR_").lower(): value for name, value in SETTINGS.items()}
        settings = load_settings({}, socket_dir=service.directory / "run", **fields)
        certificate = Certificate(folder / "tls")
        with proxying(folder / "nginx", settings, certificate) as nginx:
            service.ready(0, 1)
            yield Stack(nginx, service, settings, certificate)
