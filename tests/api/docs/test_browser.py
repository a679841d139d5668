"""The page at /docs in a real browser: each operation with a recording works from a file alone."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from api.live import Live, serving, tone
from http_servers import Handler, serving_http
from programs import find_program, require_program

pytestmark = pytest.mark.timeout(120)
OPERATIONS = ("transcribe", "translate", "detect_language", "create_transcription", "create_translation")
USUAL_OPERATIONS = ("transcribe", "create_transcription")
NEEDS_NO_SANDBOX = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_program("chromium-headless-shell")
    with sync_playwright() as playwright:
        program = find_program("chromium-headless-shell")
        chromium = playwright.chromium.launch(executable_path=program, args=NEEDS_NO_SANDBOX)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose requests to other hosts fail, and whose errors fail the test."""
    opened = browser.new_page(viewport={"width": 1200, "height": 4000})
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda line: errors.extend([line.text] if line.type == "error" else []))
    opened.on("request", lambda sent: errors.extend([] if sent.url.startswith("http://127.0.0.1:") else [sent.url]))
    yield opened
    opened.close()
    assert errors == []


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    path.write_bytes(tone())
    return path


def opened_operation(page: Page, address: str, operation: str) -> Locator:
    page.goto(address)
    block = page.locator(f'[id$="-{operation}"]').first
    block.locator(".opblock-summary").first.click()
    block.get_by_role("button", name="Try it out").click()
    return block


def execute(page: Page, block: Locator, recording: Path) -> tuple[int, str, str]:
    """Choose the file and nothing else. Returns status, body and path of the request."""
    block.locator("input[type=file]").set_input_files(recording)
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        block.get_by_role("button", name="Execute").click()
    answer = answered.value
    block.locator(".live-responses-table").wait_for()
    return answer.status, answer.text(), urlsplit(answer.url).path


@pytest.mark.parametrize(
    "operation",
    [pytest.param(each, marks=() if each in USUAL_OPERATIONS else pytest.mark.slow) for each in OPERATIONS],
)
def test_a_file_alone_is_enough(named: Live, page: Page, recording: Path, operation: str) -> None:
    """No option has an invented value, and each option is there once, with a description."""
    block = opened_operation(page, f"{named.url}/docs", operation)
    names = [name.split("\n")[0].strip("\xa0 *") for name in block.locator(".parameter__name").all_inner_texts()]
    assert sorted(set(names)) == sorted(names)
    assert all(text.strip() for text in block.locator(".renderedMarkdown").all_inner_texts())
    status, body, _ = execute(page, block, recording)
    assert status == 200, body
    assert '"hello"' in body or '"language":"en"' in body


def test_an_option_is_sent_as_chosen(named: Live, page: Page, recording: Path) -> None:
    """A text, a choice and a list."""
    block = opened_operation(page, f"{named.url}/docs", "create_transcription")
    block.get_by_placeholder("language", exact=True).fill("pt")
    block.locator("tr", has_text="timestamp_granularities").locator("select").select_option("word")
    block.locator("tr", has_text="response_format").locator("select").first.select_option("verbose_json")
    status, body, _ = execute(page, block, recording)
    assert status == 200, body
    assert '"portuguese"' in body
    assert '"words":[' in body


class Proxy(Handler):
    """Forwards requests below /speech/asr, without that prefix and without any header about it."""

    target = ""

    def do_GET(self) -> None:
        assert self.path.startswith("/speech/asr/")
        headers = {name: self.headers[name] for name in ("content-type", "accept") if name in self.headers}
        path = self.path.removeprefix("/speech/asr")
        answer = httpx.request(self.command, self.target + path, content=self.body(), headers=headers)
        kept = {name: answer.headers[name] for name in ("content-type", "content-security-policy")}
        self.answer(answer.status_code, answer.content, kept)

    do_POST = do_GET


@pytest.fixture
def proxy(named: Live) -> Iterator[str]:
    handler = type("Handler", (Proxy,), {"target": named.url})
    with serving_http(handler) as url:
        yield f"{url}/speech/asr"


@pytest.mark.parametrize("path", ["/docs", pytest.param("/docs/", marks=pytest.mark.slow)])
def test_the_page_works_under_a_path_that_a_proxy_removes(proxy: str, page: Page, recording: Path, path: str) -> None:
    """The page's links and the document's server are relative, so nobody has to name the path."""
    block = opened_operation(page, proxy + path, "transcribe")
    status, body, sent_to = execute(page, block, recording)
    assert (status, sent_to) == (200, "/speech/asr/transcribe"), body


def test_the_page_works_under_a_path_that_the_service_removes(page: Page, recording: Path) -> None:
    """ASR_ROOT_PATH names it."""
    with serving(vad_filter=False, root_path="/speech/asr") as live:
        block = opened_operation(page, f"{live.url}/speech/asr/docs", "transcribe")
        status, body, sent_to = execute(page, block, recording)
        assert (status, sent_to) == (200, "/speech/asr/transcribe"), body
