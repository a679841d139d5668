"""A transcript of two hours opens at once, and scrolls and plays without a hitch.

Times are those of the processor, for each task of the page's main thread: they hold on a busy machine too. A task that
is longer than a frame delays that frame.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from api.live import Live
from api.page.editor.opened import opened_editor, silence, transcript_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

N_WORDS, N_SEGMENTS = 20_000, 1_800
FIRST_PAINT_MS = 1000
FRAME_MS = 50


def long_transcript() -> dict[str, Any]:
    """Return 20,000 words in two hours, of which the model was unsure of some."""
    words = random.Random(1)
    vocabulary = [letters * size for letters in ("an", "the", "you") for size in (1, 2, 3)]
    lengths = [N_WORDS // N_SEGMENTS + (at < N_WORDS % N_SEGMENTS) for at in range(N_SEGMENTS)]
    texts = [" ".join(words.choices(vocabulary, k=length)) for length in lengths]
    return transcript_of(*texts, doubtful="ananan")


class Tasks:
    """Records the tasks of the page's main thread."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._events: list[dict[str, Any]] = []
        self._is_complete = False
        self._session.on("Tracing.dataCollected", lambda data: self._events.extend(data["value"]))
        self._session.on("Tracing.tracingComplete", lambda _: self._complete())

    def during(self, action: Callable[[], object]) -> list[float]:
        """Return the processor time of each task during the action, in ms, the longest first."""
        self._events.clear()
        self._is_complete = False
        config = {"includedCategories": ["toplevel"], "excludedCategories": ["*"]}
        self._session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
        action()
        self._session.send("Tracing.end")
        while not self._is_complete:
            self._page.wait_for_timeout(10)
        names = [each for each in self._events if each.get("name") == "thread_name"]
        main = {(each["pid"], each["tid"]) for each in names if each["args"]["name"] == "CrRendererMain"}
        tasks = [each for each in self._events if (each.get("pid"), each.get("tid")) in main and "tdur" in each]
        return sorted((each["tdur"] / 1000 for each in tasks if each["name"].endswith("RunTask")), reverse=True)

    def _complete(self) -> None:
        self._is_complete = True


def test_two_hours_open_scroll_and_play_without_a_long_frame(browser: Browser, live: Live) -> None:
    transcript = long_transcript()
    assert sum(len(each["words"]) for each in transcript["segments"]) == N_WORDS
    with opened_editor(browser, live.url, transcript, recording=silence(60)) as page:
        tasks = Tasks(page)
        page.get_by_role("link", name="All recordings").click()

        def open_again() -> None:
            page.go_back()
            page.locator(".segment .word").first.wait_for()

        assert sum(tasks.during(open_again)) < FIRST_PAINT_MS
        assert page.locator(".segment").count() == N_SEGMENTS
        assert page.locator(".word").count() < N_WORDS / 10  # the rest get their elements when they come near

        def scroll_and_play() -> None:
            page.locator(".play").click()  # a search by role would itself take a long task
            page.locator(".segment").nth(5).hover()
            for _ in range(30):
                page.mouse.wheel(0, 500)
                page.wait_for_timeout(10)
            page.locator(".follow").click()

        longest = tasks.during(scroll_and_play)
        assert longest[0] < FRAME_MS, longest[:5]
        assert len(longest) > 100
        expect(page.locator(".word.now")).to_be_in_viewport()
