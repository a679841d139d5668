"""What the page keeps in the browser, and what it does where a browser keeps nothing, in Chromium."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.page.conftest import Held
from api.page.pages import add_files, clip, delete_stored, expect_state, opened_page, row

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

UNSAVED = "kept only until this page is closed"
_COUNT_CHANGES = """(area) => {
  window.changes = 0;
  new MutationObserver((all) => (window.changes += all.length)).observe(area, { childList: true });
}"""
_WEBM = b"\x1a\x45\xdf\xa3"
"""The first bytes of each WebM file."""


def limit_storage(page: Page, size_bytes: int | None) -> None:
    """Let the browser store so much for the page; None is its own limit."""
    size = {} if size_bytes is None else {"quotaSize": size_bytes}
    page.context.new_cdp_session(page).send("Storage.overrideQuotaForOrigin", {"origin": page.url.rstrip("/")} | size)


def test_without_room_everything_works_until_the_page_is_closed(browser: Browser, held: Held) -> None:
    """The page says so. When there is room again, what it kept in memory is stored."""
    with opened_page(browser, held.live.url) as page:
        limit_storage(page, 1)
        add_files(page, clip("new.wav"))
        expect_state(page, "new.wav", "done")
        expect(row(page, "new.wav")).to_contain_text(UNSAVED)
        expect(page.locator(".banner")).to_contain_text("no room for more")
        page.locator(".banners").evaluate(_COUNT_CHANGES)
        add_files(page, clip("second.wav"))
        expect(row(page, "second.wav")).to_contain_text(UNSAVED)
        assert page.evaluate("window.changes") == 0  # a screen reader does not repeat the banner
        row(page, "new.wav").get_by_role("link").click()
        page.locator(".word").dblclick()
        page.keyboard.type("goodbye")
        page.keyboard.press("Escape")
        page.get_by_role("link", name="All recordings").click()
        limit_storage(page, None)
        add_files(page, clip("other.wav"))
        expect_state(page, "other.wav", "done")
        page.get_by_role("button", name="Remove other.wav").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.locator(".banner")).to_have_count(0)
        page.reload()
        row(page, "new.wav").get_by_role("link").click()
        expect(page.locator(".segment .text")).to_have_text("goodbye")


def test_without_a_database_everything_works_until_the_page_is_closed(browser: Browser, held: Held) -> None:
    """As in some private windows."""
    with opened_page(browser, held.live.url) as page:
        page.add_init_script("indexedDB.open = () => { throw new DOMException('refused', 'InvalidStateError'); };")
        page.reload()
        add_files(page, clip("private.wav"))
        expect_state(page, "private.wav", "done")
        expect(row(page, "private.wav")).to_contain_text(UNSAVED)
        row(page, "private.wav").get_by_role("link").click()
        expect(page.locator(".segment .text")).to_have_text("hello")


def test_a_text_that_the_browser_has_deleted_can_be_made_again(browser: Browser, held: Held) -> None:
    """The view says what is missing."""
    with opened_page(browser, held.live.url) as page:
        add_files(page, clip("kept.wav"))
        expect_state(page, "kept.wav", "done")
        delete_stored(page, "transcripts")
        row(page, "kept.wav").get_by_role("link").click()
        expect(page.locator(".recording-body")).to_contain_text("no longer has the text")
        page.locator(".recording-body").get_by_role("button", name="Try again").click()
        expect(page.locator(".segment .text")).to_have_text("hello")


def test_the_sound_of_a_recording_from_the_microphone_can_be_saved(browser: Browser, held: Held) -> None:
    """It is nowhere else. A file that was added is on the disk already."""
    with opened_page(browser, held.live.url) as page:
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")
        row(page, "tone.wav").get_by_role("link").click()
        expect(page.get_by_role("button", name="Remove", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Save the sound")).to_have_count(0)
        page.get_by_role("link", name="All recordings").click()
        page.get_by_role("button", name="Record", exact=True).click()
        expect(page.get_by_role("timer")).to_have_text("0:01")
        page.get_by_role("button", name="Finish and transcribe").click()
        expect_state(page, "Recording, ", "done")
        row(page, "Recording, ").get_by_role("link").click()
        with page.expect_download() as begun:
            page.get_by_role("button", name="Save the sound").click()
        assert begun.value.suggested_filename.startswith("Recording, ")
        assert begun.value.suggested_filename.endswith(".webm")
        assert Path(begun.value.path()).read_bytes().startswith(_WEBM)
