"""The page as people use it: in Chromium, on a service with Whisper base."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.live import Live, serving, tone
from api.middleware.test_authentication import ALICE, ENTRIES
from api.page.conftest import INSECURE, MAX_OPEN, MAX_UPLOAD_BYTES, NOTE, Held
from api.page.pages import add_files, assert_accessible, clip, expect_state, fits, opened_page, row
from fakes import FakeModel
from speech import DATA
from waiting import until

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]
WIZARD = DATA / "en-wizard.flac"
SPOKEN = re.compile("representatives|assisting|telemarketers")
"""Words that the browser's microphone hears again and again. On a busy machine it may lose some."""


@pytest.fixture
def page(browser: Browser, real: Live) -> Iterator[Page]:
    with opened_page(browser, real.url) as opened:
        yield opened


# ---- a recording from a file


@pytest.mark.speech
def test_a_file_becomes_text_that_can_be_downloaded(page: Page) -> None:
    add_files(page, WIZARD)
    expect_state(page, WIZARD.name, "done")
    expect(row(page, WIZARD.name)).to_contain_text("He began a confused complaint")
    expect(row(page, WIZARD.name)).to_contain_text("0:04 · English")
    row(page, WIZARD.name).get_by_role("link").click()
    expect(page.locator(".recording-body")).to_contain_text("behind the curtain on the left.")
    assert_accessible(page)
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as begun:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert "He began a confused complaint" in Path(begun.value.path()).read_text()


def test_several_files_of_a_folder_are_queued(browser: Browser, held: Held, tmp_path: Path) -> None:
    """Files that are no recordings are skipped, and their number is said."""
    for name in ("one.wav", "two.wav"):
        (tmp_path / name).write_bytes(tone())
    (tmp_path / "notes.docx").write_bytes(b"no recording")
    with opened_page(browser, held.live.url) as page:
        page.locator(".intake input[type=file]").nth(1).set_input_files(tmp_path)
        expect(page.locator("#intake-message")).to_have_text(
            "2 recordings added. 1 file is not a recording and was skipped."
        )
        expect_state(page, "one.wav", "done")
        expect_state(page, "two.wav", "done")


def test_the_list_stays_in_its_place_when_an_acknowledgement_disappears(browser: Browser, held: Held) -> None:
    """Otherwise a tap at that moment meets another recording."""
    with opened_page(browser, held.live.url, phone=True) as page:
        page.clock.install()
        add_files(page, TONE)
        expect_state(page, "tone.wav", "done")
        message = page.get_by_text("1 recording added.")
        expect(message).to_be_visible()
        before = row(page, "tone.wav").bounding_box()
        page.clock.fast_forward(10_000)
        expect(message).to_be_hidden()
        assert row(page, "tone.wav").bounding_box() == before


def test_files_can_be_dropped_and_pasted_anywhere(browser: Browser, held: Held) -> None:
    """Also while a recording is shown; the list is then shown again."""
    event = """([type, name]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(100)], name, { type: "audio/wav" }));
        const options = { dataTransfer: transfer, clipboardData: transfer, bubbles: true, cancelable: true };
        document.body.dispatchEvent(new (type === "paste" ? ClipboardEvent : DragEvent)(type, options));
    }"""
    with opened_page(browser, held.live.url, may_fail=True) as page:
        page.evaluate(event, ["dragover", "dropped.wav"])
        expect(page.locator(".intake")).to_have_class(re.compile("dropping"))
        page.evaluate(event, ["drop", "dropped.wav"])
        expect_state(page, "dropped.wav", "failed")
        row(page, "dropped.wav").get_by_role("link").click()
        page.evaluate(event, ["paste", "pasted.wav"])
        expect_state(page, "pasted.wav", "failed")


def test_another_tab_shows_the_same_recordings(browser: Browser, held: Held) -> None:
    """They are sent once, and every change appears in both."""
    held.hold()
    with opened_page(browser, held.live.url) as page, page.context.new_page() as other:
        other.goto(held.live.url)
        expect(other.locator(".intake")).to_be_visible()
        before = held.live.metric('asr_requests_total{code="202",endpoint="/jobs"}')
        add_files(page, TONE)
        expect_state(page, "tone.wav", "running")
        expect_state(other, "tone.wav", "running")
        held.release()
        expect_state(page, "tone.wav", "done")
        expect_state(other, "tone.wav", "done")
        assert held.live.metric('asr_requests_total{code="202",endpoint="/jobs"}') == before + 1


@pytest.mark.speech
def test_a_recording_shows_its_text_while_it_is_spoken_and_survives_a_reload(page: Page) -> None:
    """Text that may still change ends with an ellipsis. The next visit offers what was recorded until then."""
    page.get_by_role("button", name="Record", exact=True).click()
    text = page.get_by_role("log", name="Text so far")
    expect(text).to_contain_text(SPOKEN, timeout=60_000)
    expect(text.locator(".open")).to_contain_text("…")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    page.get_by_role("button", name="Transcribe it").click()
    expect_state(page, "Recording, ", "done")
    expect(row(page, "Recording, ")).to_contain_text(SPOKEN)
    page.reload()
    expect(row(page, "Recording, ")).to_contain_text(SPOKEN)
    assert page.get_by_role("button", name="Transcribe it").count() == 0


@pytest.mark.speech
def test_the_microphone_can_be_paused_and_its_recording_discarded(page: Page) -> None:
    """Nothing of it is kept once the recorder is gone. Another tab does not take it for an interrupted one."""
    page.evaluate(
        "() => { const { stop } = MediaRecorder.prototype;"
        " MediaRecorder.prototype.stop = function () { setTimeout(() => stop.call(this), 500); } }"
    )
    page.keyboard.press("r")
    expect(page.get_by_role("timer")).to_have_text("0:01")
    assert_accessible(page)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".recorder-state")).to_have_text("Paused")
    with page.context.new_page() as other:
        other.goto(page.url)
        expect(other.locator(".intake")).to_be_visible()
        expect(other.locator(".found")).to_be_empty()
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(page.locator(".recorder")).to_have_count(0)
    page.reload()
    expect(page.locator(".intake")).to_be_visible()
    assert page.locator(".found").inner_text() == ""


def test_without_https_the_page_says_why_there_is_no_microphone(browser: Browser, held: Held) -> None:
    """Files work all the same."""
    with opened_page(browser, f"http://{INSECURE}:{held.live.port}") as page:
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.locator("#intake-message")).to_contain_text("https://")
        add_files(page, TONE)
        expect_state(page, "tone.wav", "done")


# ---- while it runs


TONE = clip("tone.wav")


def test_a_job_goes_on_while_the_page_is_closed(browser: Browser, held: Held) -> None:
    """The next visit finds it, with the text."""
    held.hold()
    with opened_page(browser, held.live.url) as page:
        add_files(page, TONE)
        expect_state(page, "tone.wav", "running")
        page.goto("about:blank")
        held.release()
        page.goto(held.live.url)
        expect_state(page, "tone.wav", "done")
        expect(row(page, "tone.wav")).to_contain_text("hello")


def test_a_job_can_be_cancelled_and_tried_again(browser: Browser, held: Held) -> None:
    """The service stops the work, and *Remove* deletes the job."""
    held.hold()
    earlier = held.live.get("/jobs").json()["data"]
    with opened_page(browser, held.live.url) as page:
        add_files(page, TONE)
        expect_state(page, "tone.wav", "running")
        page.get_by_role("button", name="Cancel tone.wav").click()
        expect(row(page, "tone.wav")).to_contain_text("Cancelled")
        held.release()
        page.get_by_role("button", name="Try tone.wav again").click()
        expect_state(page, "tone.wav", "done")
        page.get_by_role("button", name="Remove tone.wav").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator(".row")).to_have_count(0)
        until(lambda: held.live.get("/jobs").json()["data"] == earlier, what="the end of the jobs")


def test_a_lost_connection_comes_back_by_itself(browser: Browser, real: Live) -> None:
    """What was added meanwhile is then sent."""
    with opened_page(browser, real.url, may_fail=True) as page:
        page.context.set_offline(True)
        add_files(page, WIZARD)
        expect(page.locator(".banner")).to_contain_text("cannot be reached")
        expect(row(page, WIZARD.name)).to_contain_text("Waiting for the connection")
        assert_accessible(page)
        page.context.set_offline(False)
        expect_state(page, WIZARD.name, "done")
        expect(page.locator(".banner")).to_have_count(0)


def test_without_jobs_the_text_arrives_on_the_connection(browser: Browser, jobless: Held) -> None:
    """A reload in the middle begins the recording again."""
    jobless.hold()
    with opened_page(browser, jobless.live.url) as page:
        page.on("dialog", lambda dialog: dialog.accept())
        add_files(page, TONE)
        expect_state(page, "tone.wav", "running")
        page.reload()
        expect_state(page, "tone.wav", "running")
        jobless.release()
        expect_state(page, "tone.wav", "done")
        expect(row(page, "tone.wav")).to_contain_text("hello")


# ---- refusals


def test_a_file_that_is_no_recording_is_explained(browser: Browser, real: Live) -> None:
    with opened_page(browser, real.url, may_fail=True) as page:
        add_files(page, {"name": "letter.mp3", "mimeType": "audio/mpeg", "buffer": b"Dear Sir or Madam, " * 100})
        expect_state(page, "letter.mp3", "failed")
        expect(row(page, "letter.mp3")).to_contain_text("has no audio in a format that the service knows")
        assert_accessible(page)


def test_a_file_that_is_too_large_is_refused_with_the_limit_and_not_sent(browser: Browser, jobless: Held) -> None:
    refusals = 'asr_requests_total{code="413",endpoint="/transcribe"}'
    before = jobless.live.metric(refusals)  # other tests of this process have some
    with opened_page(browser, jobless.live.url) as page:
        add_files(page, TONE | {"buffer": bytes(MAX_UPLOAD_BYTES + 1)})
        expect(row(page, "tone.wav")).to_contain_text("The service accepts up to 90 kB.")
        assert jobless.live.metric(refusals) == before


def test_a_busy_service_is_tried_again_when_it_asked_for_that(browser: Browser, jobless: Held) -> None:
    """The page says when; the recording then starts by itself."""
    jobless.hold()
    with ThreadPoolExecutor() as pool, opened_page(browser, jobless.live.url, may_fail=True) as page:
        others = [pool.submit(jobless.live.post) for _ in range(MAX_OPEN)]
        until(lambda: jobless.live.admission.open_requests == MAX_OPEN, what="other callers")
        add_files(page, TONE)
        expect(row(page, "tone.wav")).to_contain_text(re.compile(r"The service is busy\. Starts in \d+ second"))
        jobless.release()
        expect_state(page, "tone.wav", "done")
        assert {other.result().status_code for other in others} == {200}


def test_a_key_is_asked_for_once_and_kept_for_the_session(browser: Browser) -> None:
    """A wrong key is refused with words. A reload does not ask again, and another window does."""
    with serving(FakeModel(), vad_filter=False, api_keys=ENTRIES) as live:
        with opened_page(browser, live.url, may_fail=True) as page:
            asked = page.get_by_role("dialog", name="API key")
            assert_accessible(page)
            asked.get_by_label("Key", exact=True).fill("wrong")
            page.keyboard.press("Enter")
            expect(asked).to_contain_text("does not accept this key")
            asked.get_by_label("Key", exact=True).fill(ALICE)
            page.keyboard.press("Enter")
            expect(asked).to_have_count(0)
            add_files(page, TONE)
            expect_state(page, "tone.wav", "done")
            page.reload()
            expect(row(page, "tone.wav")).to_contain_text("hello")
            assert page.get_by_role("dialog").count() == 0
            assert page.evaluate("Object.values(localStorage).join()").find(ALICE) < 0
        with opened_page(browser, live.url) as page:
            expect(page.get_by_role("dialog", name="API key")).to_be_visible()


# ---- for whom


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_axe_finds_nothing(browser: Browser, held: Held, scheme: str) -> None:
    """At 360 pixels, in both colour schemes, with the options open and with the keys shown."""
    with opened_page(browser, held.live.url, phone=True, color_scheme=scheme) as page:
        assert fits(page)
        assert_accessible(page)
        page.get_by_text("More options").click()
        add_files(page, clip(f"{'a-very-long-name-' * 8}.wav"))
        expect_state(page, "a-very-long-name", "done")
        assert fits(page)
        assert_accessible(page)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        assert fits(page)
        assert_accessible(page)
        page.keyboard.press("Escape")
        row(page, "a-very-long-name").get_by_role("link").click()
        expect(page.get_by_role("heading", name="a-very-long-name")).to_be_visible()
        assert fits(page)


def test_the_language_is_the_browsers_and_can_be_changed(browser: Browser, real: Live) -> None:
    """The choice is remembered."""
    with opened_page(browser, real.url, locale="zh-CN") as page:
        expect(page.get_by_role("button", name="录音", exact=True)).to_be_visible()
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        expect(page.get_by_label("录音语言")).to_contain_text("法语")
        page.locator("#locale").select_option("en")
        expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()
        page.reload()
        expect(page.get_by_role("button", name="Record", exact=True)).to_be_visible()


def test_everything_can_be_done_with_the_keyboard(browser: Browser, held: Held) -> None:
    """The focus follows the views, and single keys can be turned off."""
    with opened_page(browser, held.live.url) as page:
        page.keyboard.press("?")
        page.get_by_role("dialog").get_by_label("Use single keys").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_have_count(0)
        add_files(page, TONE)
        expect_state(page, "tone.wav", "done")
        row(page, "tone.wav").get_by_role("link").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="tone.wav")).to_be_focused()
        page.get_by_role("link", name="All recordings").focus()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_the_options_are_remembered_and_sent(browser: Browser, held: Held) -> None:
    """Language, task, terms and style."""
    with opened_page(browser, held.live.url) as page:
        page.get_by_label("Spoken language").select_option("pt")
        page.get_by_text("More options").click()
        page.get_by_label("Names and terms").fill("Wentworth")
        page.reload()
        expect(page.get_by_label("Spoken language")).to_have_value("pt")
        add_files(page, TONE)
        expect(row(page, "tone.wav")).to_contain_text("Portuguese")
        assert "Wentworth" in held.live.model.last_prompt()


def test_the_operators_name_and_note_are_shown(browser: Browser, jobless: Held) -> None:
    """As plain text."""
    with opened_page(browser, jobless.live.url) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("Ward 9")
        expect(page.get_by_text(NOTE)).to_be_visible()
        expect(page).to_have_title("Ward 9")
