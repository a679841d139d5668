"""Brings pages of Chromium before the camera and stores pictures."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, Self

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from scripts.page_pictures.services import DATA, INSECURE, Services

_ARGUMENTS: Final = (
    "--no-sandbox",
    "--mute-audio",
    "--hide-scrollbars",
    f"--host-resolver-rules=MAP {INSECURE} 127.0.0.1",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={DATA / 'en-telemarketers.wav'}",
    "--autoplay-policy=no-user-gesture-required",
)
_CHROMIUM: Final = "/usr/bin/chromium"
_QUALITY: Final = 80
TIMEOUT_MS: Final = 240_000
"""How long a state may take: the model works meanwhile."""


@dataclass(frozen=True, slots=True)
class View:
    """How large a window is, in which theme, and whether its screen is touched."""

    width: int
    height: int
    is_dark: bool = False
    is_phone: bool = False

    def dark(self) -> "View":
        """Return this view in the dark theme."""
        return replace(self, is_dark=True)

    def tall(self, height: int) -> "View":
        """Return this view with another height."""
        return replace(self, height=height)


_WINDOW: Final = View(1280, 860)


class Album(Protocol):
    """What is taken of each state."""

    def pictures(self, state: str) -> Iterator[tuple[View, Path]]:
        """Yield the views of a state, and the file of each."""
        ...


@dataclass(frozen=True, slots=True)
class Chosen:
    """One view of each state that has one."""

    folder: Path
    views: dict[str, View]

    def pictures(self, state: str) -> Iterator[tuple[View, Path]]:
        """Yield the view of a state; states without one are not taken."""
        if view := self.views.get(state):
            yield view, self.folder / f"{state}.webp"


@dataclass(frozen=True, slots=True)
class Review:
    """Every state at three widths, in both themes."""

    folder: Path
    locale: str

    def pictures(self, state: str) -> Iterator[tuple[View, Path]]:
        """Yield six views."""
        for view in (View(360, 740), View(820, 1000), View(1280, 860)):
            yield view, self._path(state, view)
            yield view.dark(), self._path(state, view.dark())

    def _path(self, state: str, view: View) -> Path:
        theme = "dark" if view.is_dark else "light"
        return self.folder / f"{state}-{self.locale}-{view.width}-{theme}.webp"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a story is played: its pages, and the pictures that are taken."""

    browser: Browser
    services: Services
    album: Album
    locale: str

    @contextmanager
    def page(self, address: str, *states: str) -> Iterator[Page]:
        """Open the page with an empty store, in the window of the first of the states that has a picture."""
        views = (view for state in states for view, _ in self.album.pictures(state))
        view = next(views, _WINDOW)
        with self.browser.new_context(
            viewport={"width": view.width, "height": view.height},
            has_touch=view.is_phone,
            is_mobile=view.is_phone,
            locale=self.locale,
        ) as context:
            context.set_default_timeout(TIMEOUT_MS)
            page = context.new_page()
            page.on("dialog", lambda dialog: dialog.accept())
            page.goto(address)
            page.locator("main .intake").wait_for()
            yield page

    def take(self, page: Page, *states: str) -> None:
        """Take pictures of a page as it is now, under the names of one or more states."""
        window = page.viewport_size
        for state in states:
            for view, path in self.album.pictures(state):
                self._take(page, view, path)
        if window:
            page.set_viewport_size(window)

    def _take(self, page: Page, view: View, path: Path) -> None:
        page.set_viewport_size({"width": view.width, "height": view.height})
        page.emulate_media(color_scheme="dark" if view.is_dark else "light", reduced_motion="reduce")
        page.wait_for_timeout(400)  # what moves comes to rest, and fonts arrive
        session = page.context.new_cdp_session(page)
        shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": _QUALITY})
        session.detach()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))


class Camera:
    """Chromium with a microphone that plays a recording."""

    def __init__(self) -> None:
        self._context = sync_playwright()

    def __enter__(self) -> Self:
        """Start Chromium."""
        playwright: Playwright = self._context.__enter__()
        self._browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=list(_ARGUMENTS))
        return self

    def __exit__(self, *_: object) -> None:
        """End Chromium."""
        self._browser.close()
        self._context.__exit__(None, None, None)

    def stage(self, services: Services, album: Album, locale: str) -> Stage:
        """Return a stage for one story."""
        return Stage(self._browser, services, album, locale)
