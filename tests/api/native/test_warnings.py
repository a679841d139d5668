"""Warnings about the recording: in JSON, and in a header for the formats without a field for them."""

import httpx
import pytest
from starlette.responses import Response

from api.live import Live, tone
from asr_service.api.warning_header import add_warnings

NO_SPEECH = "No speech was found."


@pytest.mark.parametrize("response_format", ["json", "ndjson"])
def test_a_recording_without_speech_says_so(live: Live, response_format: str) -> None:
    """A tone has no text and one warning, with its code for programs. With text there is none."""
    quiet = live.post(response_format=response_format, vad_filter="true")
    assert f'"warnings":["{NO_SPEECH}"],"warning_details":[{{"code":"no_speech","values":{{}}}}]' in quiet.text
    assert '"warnings":[],"warning_details":[]' in live.post(response_format=response_format).text


@pytest.mark.parametrize("path", ["/transcribe", "/v1/audio/transcriptions"])
@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt", "verbose_json"])
def test_every_whole_answer_has_its_warnings_in_a_header(named: Live, path: str, response_format: str) -> None:
    """For clients that read subtitles, text or OpenAI's JSON, and together with the warnings about fields."""
    if path == "/transcribe":
        answer = named.post(path, response_format=response_format, vad_filter="true")
        assert answer.headers["x-asr-warning"] == NO_SPEECH
        assert "x-asr-warning" not in named.post(path, response_format=response_format).headers
    else:
        answer = named.post(path, model="whisper-1", seed="1", response_format=response_format, vad_filter="true")
        assert answer.headers["x-asr-warning"].startswith(NO_SPEECH)
        assert "seed has no effect" in answer.headers["x-asr-warning"]


def test_a_repeated_answer_has_the_same_warnings(live: Live) -> None:
    """A retry with its Idempotency-Key gets the header of the first answer."""
    for replayed in (None, "true"):
        answer = httpx.post(
            f"{live.url}/transcribe",
            files={"file": tone()},
            data={"vad_filter": "true", "response_format": "srt"},
            headers={"idempotency-key": "no-speech"},
        )
        assert answer.headers["x-asr-warning"] == NO_SPEECH
        assert answer.headers.get("idempotent-replayed") == replayed


def test_the_header_is_short_and_plain() -> None:
    """Text of the recording, such as the title of a track, cannot end the header or make it too long for a proxy."""
    response = Response()
    add_warnings(response, ("Track 1 (кот\r\nSet-Cookie: a=b).", "x" * 5000))
    value = response.headers["x-asr-warning"]
    assert value.startswith("Track 1 (?????Set-Cookie: a=b). xxx")
    assert len(value) == 1000
