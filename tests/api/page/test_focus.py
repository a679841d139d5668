"""Where the focus of the page goes when the element that had it disappears, in Chromium."""

import pytest
from playwright.sync_api import Browser, Page, expect

from api.page.conftest import Held
from api.page.pages import add_files, clip, expect_state, opened_page, row

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_after_a_recording_is_removed_the_next_one_has_the_focus(browser: Browser, held: Held) -> None:
    """After the last one in the list it is the one above, and without recordings the content of the page."""
    with opened_page(browser, held.live.url) as page:
        for name in ("third.wav", "second.wav", "first.wav"):
            add_files(page, clip(name))
            expect_state(page, name, "done")
        for name, next_name in (("second.wav", "third.wav"), ("third.wav", "first.wav")):
            page.get_by_role("button", name=f"Remove {name}").focus()
            press(page, "Enter", "Tab", "Enter")
            expect(row(page, next_name).get_by_role("link")).to_be_focused()
        press(page, "Tab", "Enter", "Tab", "Enter")
        expect(page.locator("main")).to_be_focused()


def test_a_button_gives_the_focus_to_the_one_that_takes_its_place(browser: Browser, held: Held) -> None:
    held.hold()
    with opened_page(browser, held.live.url) as page:
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "running")
        row(page, "tone.wav").get_by_role("link").click()
        page.get_by_role("button", name="Cancel").focus()
        press(page, "Enter")
        expect(page.get_by_role("button", name="Try again")).to_be_focused()


def test_the_keyboard_begins_at_the_top_of_the_page(browser: Browser, held: Held) -> None:
    """Its first stop is the link that skips the header, also if the page opens with a recording."""
    with opened_page(browser, held.live.url) as page:
        press(page, "Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")
        row(page, "tone.wav").get_by_role("link").click()
        expect(page.get_by_role("heading", name="tone.wav")).to_be_focused()
        page.reload()
        expect(page.locator(".word")).to_be_visible()
        press(page, "Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        press(page, "Enter", "Tab")
        expect(page.get_by_role("link", name="All recordings")).to_be_focused()
