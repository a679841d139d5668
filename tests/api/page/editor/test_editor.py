"""The player and editor of the page, in Chromium."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pysubs2
import pytest
import webvtt
from playwright.sync_api import Browser, Locator, Page, expect

from api.live import Live
from api.page.editor.opened import WORD_S, opened_editor, saved_edits, transcript_of
from api.page.pages import assert_accessible, fits
from waiting import until

pytestmark = [pytest.mark.timeout(120), pytest.mark.needs_program("chromium-headless-shell")]

TEXTS = ("We begin with the wizzard.", "He was behind the curtain.", "Nobody saw the wizzard leave.", "Good night.")
TRANSCRIPT = transcript_of(*TEXTS, doubtful="wizzard. curtain.")


@pytest.fixture
def page(browser: Browser, live: Live) -> Iterator[Page]:
    """The transcript with a silent recording."""
    with opened_editor(browser, live.url, TRANSCRIPT) as opened:
        yield opened


def word(page: Page, text: str, number: int = 0) -> Locator:
    return page.locator(".word", has_text=text).nth(number)


def texts(page: Page) -> list[str]:
    return page.locator(".segment .text").all_inner_texts()


def player_time(page: Page) -> float:
    return float(page.evaluate("player.currentTime"))


def edit(page: Page, text: str, typed: str) -> None:
    """Double-click a word and type after it."""
    word(page, text).dblclick()
    field = page.locator(".text-field")
    field.evaluate("(field, at) => field.setSelectionRange(at, at)", field.input_value().index(text) + len(text))
    page.keyboard.type(typed)


def test_the_word_under_the_players_time_is_lit(page: Page) -> None:
    """Within 100 ms, while it plays, and after a click on a word."""
    word(page, "behind").click()
    assert player_time(page) == 5.0
    expect(page.locator(".word.now")).to_have_text("behind")
    samples = page.evaluate("""() => new Promise((resolve) => {
      const samples = [];
      const look = () => {
        samples.push([player.currentTime, document.querySelector(".word.now")?.textContent ?? ""]);
        if (player.currentTime > 6.4) resolve(samples);
        else requestAnimationFrame(look);
      };
      document.querySelector(".play").click();
      requestAnimationFrame(look);
    })""")
    words = {5.0: "behind", 5.5: "the", 6.0: "curtain."}
    late = [
        (time, lit)
        for time, lit in samples
        for start, expected in words.items()
        if start + 0.1 <= time < start + WORD_S and lit != expected
    ]
    assert late == []
    assert {lit for _, lit in samples} == set(words.values())


def test_the_keys_move_through_the_words_and_the_recording(page: Page) -> None:
    """With the focus nowhere, as after opening."""
    keys = page.keyboard
    keys.press("ArrowRight")
    assert (player_time(page), page.locator(".now").inner_text()) == (0.5, "begin")
    keys.press("ArrowDown")
    keys.press("ArrowLeft")
    assert (player_time(page), page.locator(".now").inner_text()) == (2.0, "wizzard.")
    keys.press("u")
    assert page.locator(".now").inner_text() == "curtain."
    keys.press("l")
    assert player_time(page) == 11.0
    for key, speed in (("+", 1.25), ("-", 1), ("-", 0.75), ("-", 0.5), ("-", 0.5)):
        keys.press(key)
        assert page.evaluate("player.playbackRate") == speed
    keys.press(" ")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    keys.press(" ")
    keys.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Join with the next segment")


def test_doubtful_words_are_marked_without_colour_alone(page: Page) -> None:
    """By a dotted line. Words of a person are not marked."""
    doubtful = page.locator(".doubtful")
    assert doubtful.all_inner_texts() == ["wizzard.", "curtain."]
    assert doubtful.first.evaluate("(word) => getComputedStyle(word).textDecorationStyle") == "dotted"
    edit(page, "curtain", "s")
    page.keyboard.press("Escape")
    assert doubtful.all_inner_texts() == ["wizzard."]


def test_a_double_click_selects_the_word_so_that_typing_replaces_it(page: Page) -> None:
    """Not the mark after it."""
    word(page, "wizzard").dblclick()
    page.keyboard.type("wizard")
    page.keyboard.press("Escape")
    assert texts(page)[0] == "We begin with the wizard."


def test_a_double_click_selects_a_word_with_the_marks_in_it(browser: Browser, live: Live) -> None:
    """Not the ones around it."""
    with opened_editor(browser, live.url, transcript_of("She said “don't.” Well-known.")) as page:
        for text, selected in (("don't", "don't"), ("Well-known", "Well-known")):
            word(page, text).dblclick()
            chosen = "(field) => field.value.slice(field.selectionStart, field.selectionEnd)"
            assert page.locator(".text-field").evaluate(chosen) == selected
            page.keyboard.press("Escape")


def test_a_double_click_opens_its_own_word_everywhere_on_the_screen(browser: Browser, live: Live) -> None:
    """The first click does not move the text under the pointer."""
    numbered = transcript_of(*(f"Line {number} is here." for number in range(60)))
    with opened_editor(browser, live.url, numbered) as page:
        lowest = page.evaluate("""() => {
            const words = [...document.querySelectorAll(".word")].map((word) => [word, word.getBoundingClientRect()]);
            const [word, { x, y }] = words.findLast(([, { bottom }]) => bottom < innerHeight - 10);
            return { x: x + 5, y: y + 5, text: word.closest(".text").textContent, word: word.textContent };
        }""")
        page.mouse.dblclick(lowest["x"], lowest["y"])
        field = page.locator(".text-field")
        expect(field).to_have_value(lowest["text"])
        assert (
            f"{field.evaluate('(field) => field.value.slice(field.selectionStart, field.selectionEnd)')}."
            == lowest["word"]
        )


def test_text_is_edited_split_joined_and_undone_by_keyboard(page: Page) -> None:
    """As in a text editor: Enter splits, Backspace at the start joins, Ctrl+Z takes back."""
    keys = page.keyboard
    edit(page, "begin", " today")
    keys.press("Enter")
    keys.press("Escape")
    assert texts(page)[:2] == ["We begin today", "with the wizzard."]
    assert page.locator(".segment .time").nth(1).inner_text() == "0:01"
    keys.press("e")
    keys.press("Home")
    keys.press("Backspace")
    keys.press("Escape")
    assert texts(page)[0] == "We begin today with the wizzard."
    keys.press("ArrowDown")
    keys.press("m")
    assert texts(page)[1] == f"{TEXTS[1]} {TEXTS[2]}"
    word(page, "Nobody").click()
    keys.press("s")
    keys.press("Delete")
    assert texts(page)[1:] == [TEXTS[1], TEXTS[3]]
    for _ in range(6):
        keys.press("Control+z")
    assert texts(page) == list(TEXTS)
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    for _ in range(6):
        keys.press("Control+y")
    assert texts(page)[1:] == [TEXTS[1], TEXTS[3]]


def test_find_and_replace_counts_and_knows_case_words_and_expressions(page: Page) -> None:
    page.keyboard.press("Control+f")
    count = page.locator(".find .count")
    page.get_by_label("Find", exact=True).fill("wizzard")
    expect(count).to_have_text("1 of 2")
    page.keyboard.press("Enter")
    expect(count).to_have_text("2 of 2")
    page.get_by_label("Replace with").fill("wizard")
    page.get_by_role("button", name="Replace", exact=True).click()
    assert texts(page)[2] == "Nobody saw the wizard leave."
    page.get_by_role("button", name="Replace all").click()
    expect(count).to_have_text("1 replaced")
    assert texts(page)[0] == "We begin with the wizard."
    page.get_by_label("Find", exact=True).fill("HE")
    expect(count).to_have_text("1 of 4")
    page.get_by_label("Whole words").check()
    expect(count).to_have_text("1 of 1")
    page.get_by_label("Match case").check()
    expect(count).to_have_text("Not found")
    page.get_by_label("Whole words").uncheck()
    page.get_by_label("Regular expression").check()
    page.get_by_label("Find", exact=True).fill("(")
    expect(count).to_have_text("Not a valid expression")
    page.get_by_label("Find", exact=True).fill("(Good) (night)")
    page.get_by_label("Replace with").fill("$2, $1")
    expect(count).to_have_text("1 of 1")
    page.get_by_role("button", name="Replace all").click()
    assert texts(page)[3] == "night, Good."


def download(page: Page, *suffixes: str) -> tuple[str, bytes]:
    """Download in these formats. Returns the name and the bytes."""
    page.keyboard.press("Control+s")
    dialog = page.get_by_role("dialog")
    for box in dialog.get_by_role("checkbox").all():
        box.set_checked(box.get_attribute("value") in suffixes)
    with page.expect_download() as begun:
        dialog.get_by_role("button", name="Download").click()
    return begun.value.suggested_filename, Path(begun.value.path()).read_bytes()


def test_the_edited_text_is_downloaded_in_every_format_and_copied(page: Page) -> None:
    """One format as a file, several as an archive. Subtitles keep the layout of the service."""
    edit(page, "wizzard", "ry")
    page.keyboard.press("Escape")
    name_speaker(page, 0, "Ann")
    name_speaker(page, 1, "Ben")
    name, srt = download(page, "srt")
    assert name == "interview.srt"
    cues = pysubs2.SSAFile.from_string(srt.decode())
    assert [cue.plaintext for cue in cues][:2] == [
        "Ann: We begin with the wizzardry.",
        "Ben: He was behind the curtain.",
    ]
    assert (cues[1].start, cues[3].start) == (4000, 12_000)

    name, archive = download(page, "txt", "srt", "vtt", "docx", "tsv", "json")
    assert name == "interview.zip"
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        files = {Path(each).suffix: opened.read(each) for each in opened.namelist()}
    assert set(files) == {".txt", ".srt", ".vtt", ".docx", ".tsv", ".json"}
    assert files[".srt"] == srt
    assert files[".txt"].decode().startswith("Ann: We begin with the wizzardry.\n\nBen: He was")
    assert "wizzardry" in webvtt.from_string(files[".vtt"].decode()).captions[0].text
    assert files[".tsv"].decode().splitlines()[1] == "0\t2500\tAnn: We begin with the wizzardry."
    segments: list[dict[str, Any]] = json.loads(files[".json"])["segments"]
    assert [each["speaker"] for each in segments] == ["Ann", "Ben", "Ben", "Ben"]
    assert segments[0]["words"][-1] == {"word": " wizzardry.", "start": 2.0, "end": 2.5, "probability": None}
    assert segments[1]["words"] == TRANSCRIPT["segments"][1]["words"]
    with zipfile.ZipFile(io.BytesIO(files[".docx"])) as document:
        body = ET.fromstring(document.read("word/document.xml"))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy text").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == files[".txt"].decode()
    paragraphs = ["".join(each.itertext()) for each in body.iter() if each.tag.endswith("}p")]
    assert paragraphs[:2] == ["interview", "Ann: We begin with the wizzardry."]


def test_the_layout_of_subtitles_is_chosen_and_remembered(page: Page) -> None:
    """Characters on a line, and lines. The service's rules decide where a line ends."""
    page.keyboard.press("Control+s")
    page.get_by_label("Characters on a line").fill("12")
    page.get_by_label("Lines").fill("1")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+s")
    with page.expect_download() as begun:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    cues = pysubs2.SSAFile.from_string(Path(begun.value.path()).read_text())
    assert all(len(cue.plaintext) <= 12 for cue in cues)
    assert " ".join(cue.plaintext for cue in cues) == " ".join(TEXTS)
    page.reload()
    page.locator(".segment").first.wait_for()
    page.keyboard.press("Control+s")
    expect(page.get_by_label("Characters on a line")).to_have_value("12")
    page.get_by_label(".srt").uncheck()
    expect(page.get_by_label("Lines")).to_be_hidden()


def name_speaker(page: Page, segment: int, name: str) -> None:
    row = page.locator(".segment").nth(segment)
    row.hover()
    row.locator(".speaker").click()
    page.get_by_label("Name of the speaker").fill(name)
    page.keyboard.press("Enter")


def test_edits_and_names_are_kept_in_the_browser(page: Page) -> None:
    """A reload loses nothing, not even what is being typed. A name reaches to the next speaker."""
    name_speaker(page, 0, "Ann")
    name_speaker(page, 2, "Ben")
    edit(page, "curtain", "s")
    until(lambda: "curtains." in saved_edits(page), what="the edit in the store")
    page.reload()
    page.locator(".segment").first.wait_for()
    assert texts(page)[1] == "He was behind the curtains."
    assert page.locator(".segment .speaker").all_text_contents() == ["Ann", "Ann", "Ben", "Ben"]
    page.locator(".segment").nth(3).hover()
    page.locator(".segment .speaker").nth(3).click()
    assert page.locator("datalist option").evaluate_all("(all) => all.map((each) => each.value)") == ["Ann", "Ben"]


def test_a_refused_download_is_explained_and_can_be_tried_again(browser: Browser, live: Live) -> None:
    """The dialog stays open with the reason, and nothing is lost. A busy service is asked again by itself."""
    busy = {"status": 503, "headers": {"retry-after": "0"}, "json": {"error": {"message": "Later."}}}
    refused = {"status": 422, "json": {"error": {"message": "Too wide."}}}
    answers = [busy, refused, busy]
    with opened_editor(browser, live.url, TRANSCRIPT, may_fail=True) as page:
        page.route("**/format?*", lambda route: route.fulfill(**answers.pop(0)) if answers else route.continue_())
        page.keyboard.press("Control+s")
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Download").click()
        expect(dialog.get_by_role("alert")).to_have_text("Too wide.")
        with page.expect_download():
            dialog.get_by_role("button", name="Download").click()
    assert answers == []


def test_a_transcript_without_a_recording_is_edited_too(browser: Browser, live: Live) -> None:
    """It has no player, and its words are found by the keys."""
    with opened_editor(browser, live.url, TRANSCRIPT, recording=b"") as page:
        assert page.locator(".player").count() == 0
        page.keyboard.press("ArrowDown")
        expect(page.locator(".word.now")).to_have_text("He")
        edit(page, "curtain", "s")
        page.keyboard.press("Escape")
        assert texts(page)[1] == "He was behind the curtains."


def test_a_recording_that_the_browser_cannot_play_has_its_text(browser: Browser, live: Live) -> None:
    """The player says so."""
    with opened_editor(browser, live.url, TRANSCRIPT, recording=b"#!AMR\n" + bytes(1000)) as page:
        expect(page.locator(".player")).to_contain_text("This browser cannot play the recording.")
        expect(page.get_by_role("button", name="Play", exact=True)).to_be_disabled()
        edit(page, "curtain", "s")
        page.keyboard.press("Escape")
        assert texts(page)[1] == "He was behind the curtains."


def test_a_recording_without_speech_and_its_warnings_are_explained(browser: Browser, live: Live) -> None:
    """No key causes an error where there is no text."""
    silent = {**TRANSCRIPT, "segments": [], "text": "", "warnings": ["1.20 s of audio could not be decoded."]}
    with opened_editor(browser, live.url, silent) as page:
        expect(page.locator(".editor-hint")).to_have_text("No speech was found in this recording.")
        expect(page.locator(".warnings")).to_have_text("1.20 s of audio could not be decoded.")
        for key in ("ArrowRight", "ArrowDown", "Home", "End", "Enter", "u", "s", "m", "n", "Control+z", "Control+f"):
            page.keyboard.press(key)
        page.get_by_label("Find", exact=True).fill("any")
        expect(page.locator(".find .count")).to_have_text("Not found")


def test_a_document_in_arabic_is_written_from_right_to_left(browser: Browser, live: Live) -> None:
    """A word processor does not find the direction by itself. A paragraph in Latin script keeps its own."""
    spoken = transcript_of("هذا تسجيل للمقابلة.", "We begin.")
    spoken["segments"][1]["start"] += 60  # a pause begins a paragraph
    with opened_editor(browser, live.url, spoken) as page:
        _, archive = download(page, "docx")
    with zipfile.ZipFile(io.BytesIO(archive)) as document:
        content = ET.fromstring(document.read("word/document.xml"))
    word = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
    directions = {
        "".join(paragraph.itertext()): (len([*paragraph.iter(f"{word}bidi")]), len([*paragraph.iter(f"{word}rtl")]))
        for paragraph in content.iter(f"{word}p")
    }
    assert directions == {"interview": (0, 0), "هذا تسجيل للمقابلة.": (1, 1), "We begin.": (0, 0)}


def test_warnings_are_in_the_language_of_the_page(browser: Browser, live: Live) -> None:
    """One that the page does not know is shown in the service's words."""
    sentences = ["0.13 s of audio could not be decoded (damaged at 75.0 s).", "It is odd.", "No speech was found."]
    damaged = {"code": "audio_damaged", "values": {"lost_s": 0.13, "count": 1, "at_s": 75.0}}
    details = [damaged, {"code": "odd", "values": {}}, {"code": "no_speech", "values": {}}]
    transcript = TRANSCRIPT | {"warnings": sentences, "warning_details": details}
    with opened_editor(browser, live.url, transcript) as page:
        english = "The file is damaged at 1:15. 0.13 secs of audio could not be decoded."
        expect(page.locator(".warnings li")).to_have_text([english, "It is odd."])
        page.locator("#locale").select_option("zh-CN")
        expect(page.locator(".warnings li")).to_have_text(
            ["文件有 1 处损坏，第一处在 1:15。有 0.13秒的声音无法解码。", "It is odd."]
        )


def test_the_buttons_of_a_search_stay_together_on_a_phone(browser: Browser, live: Live) -> None:
    """The number of matches takes more room in some languages than in others."""
    many = transcript_of(*(f"Line {number} is here." for number in range(120)))
    with opened_editor(browser, live.url, many, phone=True, locale="zh-CN") as page:
        page.keyboard.press("Control+f")
        page.keyboard.type("line")
        expect(page.locator(".find .count")).to_contain_text("120")
        tops = [box["y"] for each in page.locator(".find .icon-button").all() if (box := each.bounding_box())]
        assert len(tops) == 2
        assert tops[0] == tops[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_editor_fits_a_phone_and_axe_finds_nothing(browser: Browser, live: Live, scheme: str) -> None:
    """With the text being edited, a speaker being named, and the panel for finding."""
    with opened_editor(browser, live.url, TRANSCRIPT, phone=True, color_scheme=scheme) as page:
        name_speaker(page, 0, "A name that is rather long for a column")
        page.keyboard.press("Control+f")
        page.get_by_label("Find", exact=True).fill("the")
        expect(page.locator(".find .count")).to_have_text("1 of 3")
        assert_accessible(page)
        word(page, "curtain").dblclick()
        assert_accessible(page)
        page.keyboard.press("Control+s")
        assert_accessible(page)
        assert fits(page)
