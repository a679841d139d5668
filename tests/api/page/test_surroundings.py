"""The page where its surroundings are odd: languages, clipboards, folders, keys and answers that come late."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from api.live import serving
from api.middleware.test_authentication import ALICE, ENTRIES
from api.page.conftest import Held
from api.page.pages import add_files, clip, expect_state, opened_page, row
from fakes import FakeModel

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

_STORED = """() => new Promise((resolve) => {
  const opening = indexedDB.open("asr-service");
  opening.onsuccess = () => {
    const { result: database } = opening;
    const counts = [...database.objectStoreNames].map((name) => new Promise((done) => {
      const keys = database.transaction(name).objectStore(name).getAllKeys();
      keys.onsuccess = () => done(keys.result.length);
    }));
    Promise.all(counts).then((all) => (database.close(), resolve(all.reduce((sum, count) => sum + count))));
  };
})"""
"""Returns the number of values in the browser's database."""


def remove(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Remove {name}").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()


def test_a_language_of_the_browser_may_have_an_odd_name(browser: Browser, held: Held) -> None:
    """It is passed over."""
    with opened_page(browser, held.live.url) as page:
        page.add_init_script(
            "Object.defineProperty(navigator, 'languages', { get: () => ['en-US@posix', 'zh-Hans'] });"
        )
        page.reload()
        expect(page.get_by_role("heading", level=2).first).to_have_text("把录音变成文字")


@pytest.mark.parametrize(
    ("locale", "language", "shown"),
    [("en-GB", "", "14:05"), ("en-US", "", "2:05 PM"), ("de-CH", "", "2:05 PM"), ("en-GB", "zh-CN", "14:05")],
)
def test_times_are_in_the_form_of_the_browsers_region(
    browser: Browser, held: Held, locale: str, language: str, shown: str
) -> None:
    """If it is one of the page's language. Elsewhere the language decides."""
    time = """async () => {
      const { when } = await import(new URL("core/format.js", document.querySelector("[type=module]").src));
      return when(new Date().setHours(14, 5));
    }"""
    with opened_page(browser, held.live.url, locale=locale) as page:
        if language:
            page.locator("#locale").select_option(language)
            expect(page.locator("html")).to_have_attribute("lang", language)
        assert page.evaluate(time) == shown


def test_a_preview_that_is_interrupted_is_named_and_continues(browser: Browser, held: Held) -> None:
    """The recording is not interrupted."""
    sockets: list[WebSocketRoute] = []

    def take(socket: WebSocketRoute) -> None:
        sockets.append(socket)

    with opened_page(browser, held.live.url) as page:
        page.route_web_socket(re.compile("/v1/realtime"), take)
        page.get_by_role("button", name="Record", exact=True).click()
        while not sockets:
            page.wait_for_timeout(20)
        hint = page.locator(".live .hint")
        expect(hint).to_contain_text("A preview.")
        sockets[0].close(code=1001)
        expect(hint).to_contain_text("The preview of the text is interrupted")
        expect(hint).to_contain_text("A preview.")
        expect(page.locator(".take-place")).to_contain_text("Recording")
        assert len(sockets) == 2


def test_turns_of_a_preview_are_in_the_order_of_the_speech(browser: Browser, held: Held) -> None:
    """Text of a turn may come before that of the turn before. What a lost session leaves is not marked as open."""
    sockets: list[WebSocketRoute] = []

    def take(socket: WebSocketRoute) -> None:
        sockets.append(socket)

    def send(kind: str, turn: str, **fields: str) -> None:
        sockets[0].send(json.dumps({"type": kind, "item_id": turn, **fields}))

    transcription = "conversation.item.input_audio_transcription"
    with opened_page(browser, held.live.url) as page:
        page.route_web_socket(re.compile("/v1/realtime"), take)
        page.get_by_role("button", name="Record", exact=True).click()
        while not sockets:
            page.wait_for_timeout(20)
        send("input_audio_buffer.speech_started", "first")
        send("input_audio_buffer.speech_started", "second")
        send(f"{transcription}.delta", "second", delta="Then rain")
        send(f"{transcription}.delta", "first", delta="Wind")
        turns = page.locator(".live-text span")
        expect(turns).to_have_text(["Wind…", "Then rain…"])
        send(f"{transcription}.completed", "first", transcript="Wind.")
        expect(turns).to_have_text(["Wind.", "Then rain…"])
        sockets[0].close(code=1011)
        expect(turns).to_have_text(["Wind.", "Then rain"])


def test_a_key_with_characters_that_no_key_has_is_refused_with_words(browser: Browser) -> None:
    """It could not be sent, which is no lost connection. A reload asks again."""
    with (
        serving(FakeModel(), vad_filter=False, api_keys=ENTRIES) as live,
        opened_page(browser, live.url, may_fail=True) as page,
    ):
        asked = page.get_by_role("dialog", name="API key")
        asked.get_by_label("Key", exact=True).fill("key–with-a-dash")
        page.keyboard.press("Enter")
        expect(asked).to_contain_text("does not accept this key")
        page.reload()
        asked.get_by_label("Key", exact=True).fill(ALICE)
        page.keyboard.press("Enter")
        expect(asked).to_have_count(0)
        expect(page.locator(".banner")).to_have_count(0)


def test_a_text_is_pasted_into_a_field_although_a_picture_is_pasted_with_it(browser: Browser, held: Held) -> None:
    """Spreadsheets put both on the clipboard."""
    paste = """(field) => {
        const transfer = new DataTransfer();
        transfer.items.add("Budget", "text/plain");
        transfer.items.add(new File([new Uint8Array(100)], "image.png", { type: "image/png" }));
        const event = new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
        return field.dispatchEvent(event);
    }"""
    with opened_page(browser, held.live.url) as page:
        page.get_by_text("More options").click()
        assert page.get_by_label("Names and terms").evaluate(paste), "the browser does not paste the text"
        assert page.locator(".row").count() == 0


def test_a_file_of_a_folder_that_cannot_be_read_is_left_out(browser: Browser, held: Held) -> None:
    """The others are added. A folder that cannot be read is empty."""
    names = """async () => {
        const module = new URL("views/intake/files.js", document.querySelector("[type=module]").src);
        const { droppedFiles, looksLikeRecording } = await import(module);
        const fail = (_, reject) => reject(new DOMException("gone", "NotFoundError"));
        const file = (name) => ({ isFile: true, file: (resolve) => resolve(new File(["sound"], name)) });
        const folder = (...content) => ({
            isDirectory: true,
            createReader: () => ({ readEntries: (resolve) => resolve(content.splice(0)) }),
        });
        const locked = { isDirectory: true, createReader: () => ({ readEntries: fail }) };
        const gone = { isFile: true, file: fail };
        const entries = [folder(file("one.wav"), gone, locked), file("two.wav"), gone];
        const items = entries.map((entry) => ({ webkitGetAsEntry: () => entry }));
        const { files: single, inFolders } = await droppedFiles({ items });
        return [single, inFolders.filter(looksLikeRecording)].map((some) => some.map(({ name }) => name));
    }"""
    with opened_page(browser, held.live.url) as page:
        assert page.evaluate(names) == [["two.wav"], ["one.wav"]]


def test_nothing_is_left_of_a_recording_that_was_removed_while_its_text_arrived(browser: Browser, held: Held) -> None:
    waiting: list[Route] = []

    def keep(route: Route) -> None:
        waiting.append(route)

    with opened_page(browser, held.live.url, may_fail=True) as page:
        page.route(re.compile("/transcript"), keep)
        with page.expect_request(re.compile("/transcript")):
            add_files(page, clip("tone.wav"))
        page.get_by_role("button", name="Cancel tone.wav").click()
        remove(page, "tone.wav")
        expect(page.locator(".row")).to_have_count(0)
        with page.expect_response(re.compile("/transcript")):
            waiting[0].fulfill(json={"text": "hello", "duration": 1, "language": "en", "segments": []})
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
        assert page.evaluate(_STORED) == 0


def test_a_text_that_the_service_cannot_deliver_holds_up_no_other(browser: Browser, held: Held) -> None:
    """It is asked for again."""
    broken = True

    def answer(route: Route) -> None:
        if broken:
            route.fulfill(status=503, json={"error": {"code": "unavailable", "message": "The store does not answer."}})
        else:
            route.continue_()

    held.hold()
    with opened_page(browser, held.live.url, may_fail=True) as page:
        add_files(page, clip("one.wav"))
        expect_state(page, "one.wav", "running")
        add_files(page, clip("two.wav"))
        expect_state(page, "two.wav", "queued")
        (newest, *_) = held.live.get("/jobs").json()["data"]
        page.route(re.compile(f"{newest['id']}/transcript"), answer)
        held.release()
        expect_state(page, "one.wav", "done")
        broken = False
        expect_state(page, "two.wav", "done")


def test_a_choice_that_the_model_does_not_have_is_given_up(browser: Browser) -> None:
    """A model for English does not translate, and the page does not offer it."""
    with serving(FakeModel().english_only(), vad_filter=False) as live, opened_page(browser, live.url) as page:
        page.evaluate("""localStorage.setItem("asr.options", '{"task": "translate"}')""")
        page.reload()
        expect(page.get_by_label("Text in")).to_be_hidden()
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "done")


def test_a_text_that_is_gone_is_explained(browser: Browser, held: Held) -> None:
    with opened_page(browser, held.live.url, may_fail=True) as page:
        gone = {"error": {"code": "job_expired", "message": "The transcript was deleted."}}
        page.route(re.compile("/transcript"), lambda route: route.fulfill(status=410, json=gone))
        add_files(page, clip("tone.wav"))
        expect_state(page, "tone.wav", "failed")
        expect(row(page, "tone.wav")).to_contain_text("The service no longer has this recording.")


def test_the_longest_recording_is_named_exactly(browser: Browser) -> None:
    """A limit of 90 minutes is not about two hours."""
    text = """async () => {
        const module = new URL("views/problems.js", document.querySelector("[type=module]").src);
        return (await import(module)).problemText({ code: "audio_too_long", message: "" });
    }"""
    with serving(FakeModel(), max_audio_s=5400) as live, opened_page(browser, live.url) as page:
        assert page.evaluate(text) == "This recording is too long. The service accepts up to 1:30:00. Split it."


def test_a_sentence_that_may_change_ends_with_an_ellipsis_alone(browser: Browser, held: Held) -> None:
    """Not with a full stop and an ellipsis, which look like four dots."""
    shown = """async (texts) => {
        const module = new URL("views/intake/live_text.js", document.querySelector("[type=module]").src);
        return texts.map((await import(module)).unfinished);
    }"""
    with opened_page(browser, held.live.url) as page:
        texts = page.evaluate(shown, [" Please hold. ", "Please", "请稍候。", "Please hold...", "Hold?"])
        assert texts == ["Please hold…", "Please…", "请稍候…", "Please hold…", "Hold?…"]
