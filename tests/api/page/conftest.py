"""The page in a real browser, on a real service with the real base model and on one with a fake model."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from api.live import Live, serving
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.model.protocol import SpeechModel
from asr_service.hardware.devices import Slot
from asr_service.settings import Settings
from fakes import FakeModel
from programs import find_program, require_program
from speech import DATA

INSECURE = "insecure.test"
"""A name of this machine that the browser does not trust as it trusts localhost."""
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--mute-audio",
    f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={DATA / 'en-telemarketers.wav'}",
)


MAX_OPEN = 2
MAX_UPLOAD_BYTES = 90_000
NOTE = "<b>Nothing</b> leaves the house."
"""Limits and texts of the service without jobs."""


class Held:
    """A service whose fake model waits while it is held."""

    def __init__(self, **settings: Any) -> None:
        self._open = threading.Event()
        self._open.set()
        model = FakeModel(before=lambda _: self._open.wait(30))
        self._context = serving(model, vad_filter=False, **settings)
        self.live = self._context.__enter__()
        self.hold, self.release = self._open.clear, self._open.set

    def close(self) -> None:
        self.release()
        self._context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium with a microphone that plays a recording again and again."""
    require_program("chromium-headless-shell")
    with sync_playwright() as playwright:
        program = find_program("chromium-headless-shell")
        chromium = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def real(base_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with Whisper base and jobs."""
    state = tmp_path_factory.mktemp("state")

    def load(settings: Settings, slot: Slot, beat: Callable[[], None]) -> SpeechModel:
        return load_slot_model(settings.model_copy(update={"model": str(base_model_dir)}), slot, beat)

    with serving(load=load, chunk_length_s=None, state_dir=state) as live:
        yield live


@pytest.fixture(scope="module")
def _held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    held = Held(state_dir=tmp_path_factory.mktemp("held"))
    yield held
    held.close()


@pytest.fixture(scope="module")
def _jobless() -> Iterator[Held]:
    jobless = Held(max_open_requests=MAX_OPEN, max_upload_bytes=MAX_UPLOAD_BYTES, page_name="Ward 9", page_note=NOTE)
    yield jobless
    jobless.close()


@pytest.fixture
def held(_held: Held) -> Iterator[Held]:
    """A service with jobs and a fake model."""
    yield _held
    _held.release()


@pytest.fixture
def jobless(_jobless: Held) -> Iterator[Held]:
    """A service without jobs, with a fake model."""
    yield _jobless
    _jobless.release()
