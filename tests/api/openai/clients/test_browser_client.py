"""OpenAI's SDK in Chromium, with a microphone that plays a recording: `pytest -m clients`."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from api.live import Live, serving
from api.openai.clients.live_programs import write_speech
from api.openai.clients.programs import HERE, NODE_MODULES
from asr_service.access.keys import entry, new_secret
from asr_service.settings import load_settings
from http_servers import serving_http
from nginx.proxy import Certificate, proxying
from programs import find_program

KEY = new_secret()


class _Handler(SimpleHTTPRequestHandler):
    """Serves the page, and the SDK below /openai."""

    def translate_path(self, path: str) -> str:
        name = path.partition("?")[0].lstrip("/")
        inside = NODE_MODULES / "openai7" if name.startswith("openai/") else HERE / "browser"
        return str(inside / name.removeprefix("openai/"))

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def page_url() -> Iterator[str]:
    with serving_http(partial(_Handler, directory=str(HERE)), host="localhost") as url:
        yield f"{url}/microphone.html"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a browser whose microphone hears a recording once."""
    speech = write_speech(tmp_path / "speech.wav")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech}%noloop",
    ]
    with sync_playwright() as playwright:
        program = find_program("chromium-headless-shell")
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium.new_page(ignore_https_errors=True)
        chromium.close()


@pytest.fixture
def keyed() -> Iterator[Live]:
    with serving(api_keys=entry("server", KEY)) as live:
        yield live


@pytest.mark.clients
@pytest.mark.needs_program("nginx")
@pytest.mark.needs_program("chromium-headless-shell")
def test_a_browser_transcribes_its_microphone(keyed: Live, page: Page, page_url: str, tmp_path: Path) -> None:
    """Its page has a key of a few minutes, which it offers as a sub-protocol, and connects through Nginx with TLS."""
    if not NODE_MODULES.exists():
        pytest.fail(f"{NODE_MODULES} does not exist: make clients")
    made = httpx.post(f"{keyed.url}/v1/realtime/client_secrets", headers={"authorization": f"Bearer {KEY}"})
    upstreams = (f"127.0.0.1:{keyed.port}",)
    with proxying(tmp_path / "nginx", load_settings({}), Certificate(tmp_path / "tls"), upstreams=upstreams) as nginx:
        page.goto(f"{page_url}?service={nginx.url}&key={made.json()['value']}")
        expect(page.locator("#text")).to_have_text("hello", timeout=20_000)
        assert page.locator("#error").text_content() == ""
