"""A recording of the list that is transcribed in another language, in Chromium."""

import pytest
from playwright.sync_api import Browser, Page, expect

from api.live import serving
from api.page.conftest import Held
from api.page.pages import add_files, assert_accessible, clip, delete_stored, expect_state, opened_page, row
from fakes import FakeModel

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

OTHER = "Other language"


def open_recording(page: Page) -> None:
    row(page, "tone.wav").get_by_role("link").click()
    expect(page.get_by_role("heading", name="tone.wav")).to_be_visible()


def choose(page: Page, language: str, *, task: str = "transcribe") -> None:
    page.get_by_role("button", name=OTHER).click()
    dialog = page.get_by_role("dialog", name="Transcribe in another language")
    dialog.get_by_label("Spoken language").select_option(language)
    dialog.get_by_label("Text in").select_option(task)
    dialog.get_by_role("button", name="Transcribe").click()


def test_a_wrong_language_is_corrected_without_the_file(browser: Browser, held: Held) -> None:
    """The recording is in the list once more, with its other options, and the first text keeps its corrections."""
    with opened_page(browser, held.live.url) as page:
        page.get_by_text("More options").click()
        page.get_by_label("Names and terms").fill("Wentworth")
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")
        page.get_by_label("Names and terms").fill("")
        open_recording(page)
        page.locator(".word").dblclick()
        page.keyboard.type("corrected")
        page.keyboard.press("Escape")
        choose(page, "fr")
        expect(page.locator(".row-facts")).to_contain_text("French")
        expect(page.locator(".segment .text")).to_have_text("hello")
        assert "<|fr|>" in held.live.model.last_prompt()
        assert "Wentworth" in held.live.model.last_prompt()
        page.get_by_role("link", name="All recordings").click()
        expect(page.locator(".row")).to_have_count(2)
        row(page, "tone.wav").nth(1).get_by_role("link").click()
        expect(page.locator(".segment .text")).to_have_text("corrected")


def test_a_translation_of_a_recording_needs_no_file(browser: Browser, held: Held) -> None:
    """Its text is English, also for screen readers. Its words have no times; another transcription has them again."""
    versions = (("translate", False, "en", "French, in English"), ("transcribe", True, "fr", "French"))
    with opened_page(browser, held.live.url) as page:
        page.get_by_label("Spoken language").select_option("fr")
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")
        open_recording(page)
        for task, has_times, written, facts in versions:
            aligned = len(held.live.model.calls_of("align"))
            before = page.url
            choose(page, "fr", task=task)
            expect(page).not_to_have_url(before)
            expect(page.locator(".segment .text")).to_have_text("hello")
            expect(page.locator(".segment .text")).to_have_attribute("lang", written)
            expect(page.locator(".row-facts")).to_contain_text(facts)
            assert f"<|{task}|>" in held.live.model.last_prompt()
            assert (len(held.live.model.calls_of("align")) > aligned) == has_times
        page.get_by_role("link", name="All recordings").click()
        languages = [row(page, "tone.wav").nth(at).locator(".row-preview").get_attribute("lang") for at in range(3)]
        assert languages == ["fr", "en", "fr"]


def test_a_translation_is_english_while_its_text_arrives(browser: Browser, held: Held) -> None:
    """Screen readers read it as English."""
    shown = """async ([task, language]) => {
      const app = document.querySelector("[type=module]").src;
      const { growingText } = await import(new URL("views/growing_text.js", app));
      const segments = () => [{ start: 0, text: " hello", language }];
      const queue = Object.assign(new EventTarget(), { segments, follow: () => () => {} });
      const place = document.createElement("div");
      growingText({ id: "1", options: { task } }, queue, place);
      return place.querySelector("li span:last-child").lang;
    }"""
    with opened_page(browser, held.live.url) as page:
        assert page.evaluate(shown, ["translate", "fr"]) == "en"
        assert page.evaluate(shown, ["transcribe", "fr"]) == "fr"


def test_a_recording_without_a_text_begins_again_in_its_place(browser: Browser, held: Held) -> None:
    """One that was cancelled because its text was in the wrong language is not added once more."""
    held.hold()
    with opened_page(browser, held.live.url) as page:
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "running")
        open_recording(page)
        expect(page.get_by_role("button", name=OTHER)).to_have_count(0)
        page.get_by_role("button", name="Cancel").click()
        held.release()
        page.get_by_role("button", name=OTHER).click()
        expect(page.get_by_role("dialog").get_by_label("Spoken language")).to_be_focused()
        assert_accessible(page)
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name=OTHER)).to_be_focused()
        choose(page, "de")
        expect(page.locator(".segment .text")).to_have_text("hello")
        page.get_by_role("link", name="All recordings").click()
        expect(row(page, "tone.wav")).to_have_count(1)
        expect(row(page, "tone.wav")).to_contain_text("German")


def test_a_recording_that_the_service_refuses_has_no_other_language(browser: Browser, held: Held) -> None:
    """A language that the model does not have can be changed."""
    refused = {"error": {"code": "invalid_parameter", "message": ""}}
    with opened_page(browser, held.live.url, may_fail=True) as page:
        page.route("**/jobs", lambda route: route.fulfill(status=422, json=refused))
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "failed")
        page.unroute("**/jobs")
        open_recording(page)
        expect(page.get_by_role("button", name="Try again")).to_have_count(0)
        choose(page, "de")
        expect(page.locator(".segment .text")).to_have_text("hello")
        page.get_by_role("link", name="All recordings").click()
        add_files(page, {"name": "letter.mp3", "mimeType": "audio/mpeg", "buffer": b"Dear Sir or Madam, " * 100})
        expect_state(page, "letter.mp3", "failed")
        row(page, "letter.mp3").get_by_role("link").click()
        expect(page.get_by_role("button", name="Remove", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name=OTHER)).to_have_count(0)


def test_a_recording_that_the_browser_has_deleted_is_explained(browser: Browser, held: Held) -> None:
    """The text stays, and the page asks for the file."""
    with opened_page(browser, held.live.url) as page:
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")
        delete_stored(page, "blobs")
        open_recording(page)
        choose(page, "fr")
        expect(page.locator(".recording-status")).to_contain_text("This browser no longer has the recording.")


def test_a_model_for_english_offers_no_translation(browser: Browser) -> None:
    with serving(FakeModel().english_only(), vad_filter=False) as live, opened_page(browser, live.url) as page:
        expect(page.get_by_label("Text in")).to_be_hidden()
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")
        open_recording(page)
        page.get_by_role("button", name=OTHER).click()
        expect(page.get_by_role("dialog").get_by_label("Spoken language")).to_be_visible()
        expect(page.get_by_role("dialog").get_by_label("Text in")).to_be_hidden()
