"""Opens the page in Chromium, and fails a test that causes an error in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from api.live import tone

_WATCH_POLICY = """
window.policyReports = [];
addEventListener("securitypolicyviolation", (event) => {
  window.policyReports.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""
PHONE = {"width": 360, "height": 740}
_FAILED_REQUEST = "Failed to load resource"


@contextmanager
def opened_page(
    browser: Browser, address: str, *, may_fail: bool = False, phone: bool = False, **context: Any
) -> Iterator[Page]:
    """Open the page with an empty store.

    At the end, no script may have failed, nothing may have been asked of another host, and the content security policy
    may not have been violated. `may_fail` allows answers that are errors.
    """
    viewport = PHONE if phone else {"width": 1280, "height": 900}
    with browser.new_context(**({"viewport": viewport, "locale": "en-GB"} | context)) as opened:
        opened.add_init_script(_WATCH_POLICY)
        page = opened.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.extend([line.text] if line.type == "error" else []))
        page.on("request", lambda sent: errors.extend([] if is_own(sent.url, address) else [sent.url]))
        page.goto(address)
        page.locator("main .intake").wait_for()
        yield page
        assert page.evaluate("window.policyReports") == []
        assert [error for error in errors if not (may_fail and error.startswith(_FAILED_REQUEST))] == []


def is_own(url: str, address: str) -> bool:
    """Return whether a request goes to the service, or to the page's own memory."""
    return url.startswith((address, "blob:", "data:"))


def row(page: Page, name: str) -> Locator:
    """Return the recording of that name in the list."""
    return page.locator(".row", has_text=name)


def add_files(page: Page, *files: Any) -> None:
    """Choose files, as the button does: paths, or Playwright's `{name, mimeType, buffer}`."""
    page.locator(".intake input[type=file]").first.set_input_files(list(files))


def clip(name: str, seconds: float = 1.0) -> dict[str, object]:
    """Return a recording with a tone, for `add_files`."""
    return {"name": name, "mimeType": "audio/wav", "buffer": tone(seconds)}


def expect_state(page: Page, name: str, state: str) -> None:
    expect(row(page, name)).to_have_attribute("data-state", state, timeout=20_000)


def fits(page: Page) -> bool:
    """Return whether the page has no horizontal scroll bar."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def assert_accessible(page: Page) -> None:
    """Let axe-core look for violations of WCAG 2.2 at level AA and of its own best practices."""
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def delete_stored(page: Page, store: str) -> None:
    """Delete what a store of the page's database has for its first recording, as a browser without space does."""
    page.evaluate(
        """async (store) => {
          const app = document.querySelector("[type=module]").src;
          const { openDatabase } = await import(new URL("store/database.js", app));
          const database = await openDatabase();
          const [{ id }] = await database.all("items");
          await database.remove(store, id);
        }""",
        store,
    )
