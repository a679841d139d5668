"""One transcript in the editors of two tabs, in Chromium."""

import pytest
from playwright.sync_api import Browser, Page, expect

from api.live import Live
from api.page.conftest import INSECURE
from api.page.editor.opened import opened_editor, transcript_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

TRANSCRIPT = transcript_of("We begin with the wizzard.", "He was behind the curtain.", "Good night.")


def expect_texts(page: Page, *texts: str) -> None:
    expect(page.locator(".segment .text")).to_have_text(list(texts), timeout=20_000)


def type_at_the_end(page: Page, segment: int, typed: str) -> None:
    page.locator(".segment .text").nth(segment).click()
    page.keyboard.press("e")
    page.keyboard.press("End")
    page.keyboard.type(typed)


def test_two_tabs_show_each_others_edits_and_lose_none(browser: Browser, live: Live) -> None:
    """Also without https, where a browser has no locks. What is being typed in one tab stays open beside the other."""
    with (
        opened_editor(browser, f"http://{INSECURE}:{live.port}", TRANSCRIPT) as one,
        one.context.new_page() as other,
    ):
        other.goto(one.url)
        type_at_the_end(one, 0, " Today.")
        expect_texts(other, "We begin with the wizzard. Today.", "He was behind the curtain.", "Good night.")
        type_at_the_end(other, 2, " Sleep")
        one.bring_to_front()
        expect_texts(one, "We begin with the wizzard. Today.", "He was behind the curtain.", "Good night. Sleep")
        one.keyboard.type(" Now.")
        other.keyboard.type(" well.")
        both = ["We begin with the wizzard. Today. Now.", "He was behind the curtain.", "Good night. Sleep well."]
        for page in (one, other):
            expect_texts(page, *both)
        one.reload()
        expect_texts(one, *both)
        other.keyboard.press("Escape")
        type_at_the_end(other, 0, " Or later.")
        expect_texts(one, "We begin with the wizzard. Today. Now. Or later.", *both[1:])
        one.keyboard.press("Control+z")
        expect_texts(other, *both)
