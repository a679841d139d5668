"""Opens a transcript in the editor of the page, as if it had been made before."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page

from api.live import wav
from api.page.pages import opened_page

WORD_S = 0.5
SEGMENT_S = 4.0
"""Segments begin so far apart."""

# The player's element is not in the document, so the page keeps it for the test.
_KEEP_PLAYER = """
const RealAudio = Audio;
window.Audio = function () { return (window.player = new RealAudio()); };
"""
_STORE = """
async ({ json, audio, name }) => {
  const transcript = JSON.parse(json);
  const app = document.querySelector("script[type=module]").src;
  const { openDatabase } = await import(new URL("store/database.js", app));
  const { Library } = await import(new URL("store/library.js", app));
  const { newItem } = await import(new URL("queue/item.js", app));
  const library = new Library(await openDatabase());
  const bytes = Uint8Array.from(atob(audio), (each) => each.charCodeAt(0));
  const blob = new Blob([bytes], { type: "audio/wav" });
  const durationS = transcript.duration;
  const item = { ...newItem(blob, { name, source: "file", options: {}, durationS }), state: "done" };
  await library.saveTranscript(item.id, transcript);
  if (blob.size) await library.saveAudio(item.id, blob);
  await library.save(item);
  location.hash = `#/recording/${item.id}`;
  setTimeout(() => location.reload(), 0); // after the answer to the test
}
"""


def transcript_of(*texts: str, doubtful: str = "") -> dict[str, Any]:
    """Return the JSON of a transcript with these segments. The model was unsure of the words in `doubtful`."""
    segments = []
    for number, text in enumerate(texts):
        start = number * SEGMENT_S
        words = [
            {
                "word": f" {word}",
                "start": start + at * WORD_S,
                "end": start + (at + 1) * WORD_S,
                "probability": 0.2 if word in doubtful.split() else 0.95,
            }
            for at, word in enumerate(text.split())
        ]
        scores = {"avg_logprob": -0.2, "no_speech_prob": 0.0, "compression_ratio": 1.0, "temperature": 0.0}
        span = {"start": start, "end": words[-1]["end"]}
        segments.append({"id": number, **span, "text": f" {text}", **scores, "language": "en", "words": words})
    return {
        "text": " ".join(texts),
        "task": "transcribe",
        "language": "en",
        "duration": len(texts) * SEGMENT_S,
        "model": "base",
        "warnings": [],
        "segments": segments,
    }


def silence(seconds: float) -> bytes:
    """Return a WAV file."""
    return wav(bytes(2 * int(seconds * 8000)), 8000)


_SAVED = """
async () => {
  const app = document.querySelector("script[type=module]").src;
  const { openDatabase } = await import(new URL("store/database.js", app));
  return JSON.stringify(await (await openDatabase()).all("edits"));
}
"""


def saved_edits(page: Page) -> str:
    """Return what the browser has stored of edits, as JSON."""
    return str(page.evaluate(_SAVED))


@contextmanager
def opened_editor(
    browser: Browser, address: str, transcript: dict[str, Any], *, recording: bytes | None = None, **options: Any
) -> Iterator[Page]:
    """Open the transcript. Its recording is silence of its length, or `recording`; empty bytes are none.

    `options` are those of `opened_page`.
    """
    stored = silence(transcript["duration"]) if recording is None else recording
    with opened_page(browser, address, **options) as page:
        page.add_init_script(_KEEP_PLAYER)
        audio = base64.b64encode(stored).decode()
        with page.expect_navigation():
            page.evaluate(_STORE, {"json": json.dumps(transcript), "audio": audio, "name": "interview.mp3"})
        page.locator(".editor").wait_for()
        yield page
