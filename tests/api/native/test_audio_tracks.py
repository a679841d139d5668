"""Recordings with several audio tracks, at every endpoint."""

from pathlib import Path

import pytest

from api.live import Live, serving
from decoder import media
from decoder.ffmpeg import ffmpeg

pytestmark = pytest.mark.needs_program("ffmpeg")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    """Return a film whose English track has 2 s and whose German track, the default one, has 4 s."""
    folder: Path = tmp_path_factory.mktemp("film")
    (folder / "a.wav").write_bytes(media.wav(media.warble(2)))
    (folder / "b.wav").write_bytes(media.wav(media.warble(4)))
    tracks = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger")
    marks = ("-disposition:a:0", "comment", "-disposition:a:1", "default")
    return ffmpeg(folder, "-i", "a.wav", "-i", "b.wav", "-map", "0", "-map", "1", *tracks, *marks, name="film.mkv")


@pytest.fixture(scope="module")
def service():
    with serving() as live:
        yield live


@pytest.mark.parametrize("path", ["/transcribe", "/translate", "/v1/audio/transcriptions", "/v1/audio/translations"])
@pytest.mark.parametrize(
    ("track", "seconds"), [(None, 4), ("1", 2), ("2", 4), ("en", 2), ("English", 2), ("deu", 4), ("de", 4)]
)
def test_the_default_track_or_the_chosen_one_is_transcribed(service: Live, film, path, track, seconds):
    """Every endpoint takes `audio_track`: a number or any code or name of the language."""
    fields = {"response_format": "verbose_json"} | ({"model": "whisper-1"} if "v1" in path else {})
    fields |= {"audio_track": track} if track else {}
    answer = service.post(path, audio=film, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration"] == pytest.approx(seconds, abs=0.2)


def test_a_warning_lists_the_tracks(service: Live, film):
    (warning,) = service.post(audio=film).json()["warnings"]
    assert warning.startswith("The file has 2 audio tracks: 1 (eng, ")
    assert "Track 2 was used; audio_track chooses another." in warning


@pytest.mark.parametrize(("path", "status"), [("/transcribe", 422), ("/v1/audio/transcriptions", 400)])
@pytest.mark.parametrize("track", ["3", "fr", "\u0661"])
def test_a_track_that_is_not_there_is_refused(service: Live, film, path, status, track):
    """The error names the field and lists the tracks."""
    fields = {"audio_track": track} | ({"model": "whisper-1"} if "v1" in path else {})
    answer = service.post(path, audio=film, **fields)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["param"] == "audio_track"
    assert f"no audio track {track!r}. It has 2: 1 (eng, " in error["message"]


def test_the_language_of_a_chosen_track_is_detected(service: Live, film):
    answer = service.post("/detect-language", audio=film, audio_track="en")
    assert answer.json()["end"] == pytest.approx(2, abs=0.2)
