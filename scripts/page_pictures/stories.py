"""What people do on the page, and which states they see on their way. Elements are found in any language."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
from playwright.sync_api import FilePayload, Page, expect

from scripts.page_pictures.camera import TIMEOUT_MS, Stage
from scripts.page_pictures.services import DATA, KEY, MAX_UPLOAD_BYTES

_SLOW_UPLOAD: Final = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 60_000}
_LONG: Final = 12
"""So many sonnets are a lecture."""
_DROPPING: Final = """() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([""], "lecture.mp3", { type: "audio/mpeg" }));
  document.body.dispatchEvent(new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true }));
}"""


def _home(stage: Stage) -> None:
    with stage.page(stage.services.open, "empty", "empty-zh") as page:
        stage.take(page, "empty", "empty-zh")
        page.evaluate(_DROPPING)
        stage.take(page, "dropping")
    with stage.page(stage.services.open, "options") as page:
        page.locator(".fold summary").click()
        page.locator("#option-hotwords").fill("Wentworth, Aisling, Nguyễn")
        page.locator("#option-initial_prompt").fill("Dr. Wentworth examined the patient on 4 May.")
        stage.take(page, "options")


def _microphone(stage: Stage) -> None:
    with stage.page(stage.services.open, "recording") as page:
        page.locator("button.record").click()
        page.locator(".live-text .final ~ .open").first.wait_for()
        stage.take(page, "recording")


def _insecure(stage: Stage) -> None:
    with stage.page(stage.services.insecure, "no-microphone") as page:
        page.locator("button.record").click()
        page.locator("#intake-message:not(:empty)").wait_for()
        stage.take(page, "no-microphone")


def _queue(stage: Stage) -> None:
    with stage.page(stage.services.open) as page:
        for name in ("ja-campsite.mp3", "es-surprise.opus", "en-wizard.flac"):
            _add(page, _recording(name))
            _expect_state(page, name, "done")
        _add(page, FilePayload(name="letter.docx", mimeType="", buffer=b"Dear Sir or Madam, " * 100))
        _expect_state(page, "letter.docx", "failed")
        _add(page, _recording("en-sonnet.mp3", name="Vorlesung 3.mp3", times=_LONG - 1))
        page.locator(".row", has_text="Vorlesung 3.mp3").locator(".row-actions button").click()
        _expect_state(page, "Vorlesung 3.mp3", "cancelled")
        _add(page, _recording("en-sonnet.mp3", name="Lecture 1.mp3", times=_LONG))
        expect(page.locator(".row[data-state=running] .row-status")).to_contain_text("%", timeout=TIMEOUT_MS)
        network = page.context.new_cdp_session(page)
        network.send("Network.emulateNetworkConditions", _SLOW_UPLOAD)
        for name in ("Meeting, part 3.mp3", "Meeting, part 2.mp3", "Meeting, part 1.mp3"):
            _add(page, _recording("en-sonnet.mp3", name=name, times=_LONG))
        expect(page.locator(".row[data-state=uploading]")).to_have_count(2, timeout=TIMEOUT_MS)
        expect(page.locator(".row[data-state=uploading] .row-status").first).to_contain_text("1", timeout=TIMEOUT_MS)
        stage.take(page, "queue")
        page.locator(".row", has_text="Lecture 1.mp3").locator(".row-name").click()
        page.locator(".lines li").nth(2).wait_for()
        stage.take(page, "running")
    _remove_jobs(stage)


def _lost(stage: Stage) -> None:
    with stage.page(stage.services.open, "lost") as page:
        page.context.set_offline(offline=True)
        _add(page, _recording("en-wizard.flac"))
        page.locator(".banner").wait_for()
        page.evaluate("scrollTo(0, 0)")
        stage.take(page, "lost")


def _strict(stage: Stage) -> None:
    with stage.page(stage.services.strict) as page:
        page.locator("#key").fill("a wrong key")
        page.keyboard.press("Enter")
        page.locator("#key-error:not(:empty)").wait_for()
        stage.take(page, "key")
        page.locator("#key").fill(KEY)
        page.keyboard.press("Enter")
        page.locator("dialog").wait_for(state="detached")
        _add(page, FilePayload(name="Interview.wav", mimeType="audio/wav", buffer=bytes(MAX_UPLOAD_BYTES + 1)))
        _expect_state(page, "Interview.wav", "failed")
        stage.take(page, "too-large")
        with ThreadPoolExecutor() as pool:
            pool.submit(_occupy, stage.services.strict)
            _wait_until_busy(stage.services.strict)
            _add(page, _recording("en-wizard.flac"))
            page.locator(".row[data-state=waiting]").wait_for()
            stage.take(page, "busy")


def _editor(stage: Stage) -> None:
    with stage.page(stage.services.open, "editor", "editor-zh") as page:
        _open_transcript(page)
        page.locator(".segment").nth(4).locator(".word").nth(1).click()
        page.keyboard.press(" ")
        page.locator(".word.now").wait_for()
        stage.take(page, "editor", "editor-zh")
        page.keyboard.press(" ")
        page.locator(".word.doubtful").first.dblclick()
        stage.take(page, "editing")
        page.keyboard.press("Escape")
        for segment, name in ((0, "Librarian"), (3, "Reader")):
            _name_speaker(page, segment, name)
        page.locator(".segment").nth(3).hover()
        page.locator(".segment .speaker").nth(3).click()
        stage.take(page, "speakers")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+f")
        page.locator(".find input").first.fill("thy")
        page.locator(".find input").nth(1).fill("your")
        stage.take(page, "find")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+s")
        page.locator("dialog input[value=docx]").check()
        stage.take(page, "download")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        stage.take(page, "keys")
        page.keyboard.press("Escape")
        page.locator(".recording-buttons button").first.click()
        page.locator("#other-task").select_option("translate")
        stage.take(page, "other-language")
    with stage.page(stage.services.open, "editor-phone") as page:
        _open_transcript(page)
        stage.take(page, "editor-phone")


STORIES: Final[dict[str, Callable[[Stage], None]]] = {
    "home": _home,
    "microphone": _microphone,
    "insecure": _insecure,
    "editor": _editor,
    "lost": _lost,
    "strict": _strict,
    "queue": _queue,
}

_AUTHORISED: Final = {"Authorization": f"Bearer {KEY}"}


def _recording(file: str, *, name: str | None = None, times: int = 1) -> FilePayload:
    """Return a recording of the tests, under another name or several times in a row."""
    return FilePayload(name=name or file, mimeType="", buffer=(DATA / file).read_bytes() * times)


def _open_transcript(page: Page) -> None:
    _add(page, _recording("en-sonnet.mp3", name="Sonnet 1.mp3"))
    _expect_state(page, "Sonnet 1.mp3", "done")
    page.locator(".row-name").click()
    page.locator(".word").first.wait_for()


def _add(page: Page, file: FilePayload) -> None:
    page.locator(".intake input[type=file]").first.set_input_files([file])


def _expect_state(page: Page, name: str, state: str) -> None:
    expect(page.locator(".row", has_text=name)).to_have_attribute("data-state", state, timeout=TIMEOUT_MS)


def _name_speaker(page: Page, segment: int, name: str) -> None:
    page.locator(".segment").nth(segment).hover()
    page.locator(".segment .speaker").nth(segment).click()
    page.locator(".speaker-form input").fill(name)
    page.keyboard.press("Enter")


def _occupy(address: str) -> httpx.Response:
    """Send a recording that keeps the service busy."""
    files = {"file": ("lecture.mp3", (DATA / "en-sonnet.mp3").read_bytes() * 9)}
    return httpx.post(f"{address}/transcribe", files=files, headers=_AUTHORISED, timeout=TIMEOUT_MS / 1000)


def _wait_until_busy(address: str) -> None:
    while httpx.post(f"{address}/transcribe", headers=_AUTHORISED).status_code != httpx.codes.SERVICE_UNAVAILABLE:
        continue


def _remove_jobs(stage: Stage) -> None:
    for job in httpx.get(f"{stage.services.open}/jobs?limit=100").json()["data"]:
        while httpx.delete(f"{stage.services.open}/jobs/{job['id']}").status_code == httpx.codes.OK:
            continue
