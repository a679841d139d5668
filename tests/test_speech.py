"""Real speech, transcribed by the real service: Gunicorn, decoder processes, Whisper base."""

import asyncio
import base64
import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pysubs2
import pytest
from faster_whisper import decode_audio
from openai import AsyncOpenAI, OpenAI
from openai.resources.audio import Audio

from engines import RATE, wav
from speech import RECORDINGS, SPEECH, WORDLESS, Recording, word_error_rate

pytestmark = pytest.mark.speech

MIXED = (
    "en-wizard", "en-telemarketers", "es-surprise", "es-telemarketers",
    "fr-operators", "it-voicemail", "ru-operators", "sv-grandchildren",
)  # fmt: skip

SLACK = 0.06
"""How much higher than faster-whisper's own a word error rate may be: other windows change a word here and there."""


@pytest.fixture(scope="module")
def url(base_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `asr-service serve` as an operator does, and return its URL."""
    folder = tmp_path_factory.mktemp("serve")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = {"ASR_MODEL": str(base_model_dir), "ASR_PORT": str(port), "ASR_SOCKET_DIR": str(folder / "run")}
    with (folder / "log").open("wb") as log:
        command = [str(Path(sys.executable).with_name("asr-service")), "serve"]
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **settings}, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process)
            yield url
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service did not become ready")


def transcribe(url: str, recording: Recording, path: str = "/transcribe", **fields: str) -> dict[str, Any]:
    return transcribe_bytes(url, recording.path.read_bytes(), path, **fields)


def transcribe_bytes(url: str, audio: bytes, path: str = "/transcribe", **fields: str) -> dict[str, Any]:
    answer = httpx.post(url + path, files={"file": audio}, data=fields, timeout=110)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture(scope="module")
def alone(url: str) -> Callable[[str], dict[str, Any]]:
    """Give the answer to a recording that was sent by itself, with no options."""
    return functools.cache(lambda name: transcribe(url, RECORDINGS[name]))


@pytest.mark.parametrize("name", SPEECH)
def test_speech_is_transcribed(alone: Callable[[str], dict[str, Any]], name: str) -> None:
    """In seven languages and as many containers, with detected language, and as accurately as by faster-whisper."""
    recording = SPEECH[name]
    answer = alone(name)
    assert answer["language"] == recording.language
    assert recording.wer(answer["text"]) <= recording.base_wer + SLACK + 1 / len(recording.text.split())
    assert answer["duration"] == pytest.approx(recording.seconds, abs=0.1)
    assert answer["warnings"] == []


@pytest.mark.parametrize("name", [name for name, recording in SPEECH.items() if recording.english])
def test_speech_is_translated_into_english(url: str, name: str) -> None:
    """/translate writes English, whatever language is spoken."""
    recording = SPEECH[name]
    answer = transcribe(url, recording, "/translate")
    assert answer["task"] == "translate"
    assert recording.english is not None
    assert recording.base_english_wer is not None
    assert word_error_rate(recording.english, answer["text"], "en") <= recording.base_english_wer + 2 * SLACK


@pytest.mark.parametrize("name", WORDLESS)
def test_sounds_without_words_have_no_text(url: str, name: str) -> None:
    """Music and animals give an empty transcript, without invented text."""
    answer = transcribe(url, WORDLESS[name])
    assert (answer["text"], answer["segments"]) == ("", [])


def test_words_have_the_times_at_which_they_are_spoken(url: str) -> None:
    """Words are ordered and lie within the recording. Together they are the text."""
    recording = RECORDINGS["en-wizard"]
    answer = transcribe(url, recording, word_timestamps="true")
    words = [word for segment in answer["segments"] for word in segment["words"]]
    assert "".join(word["word"] for word in words).strip() == answer["text"]
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= recording.seconds
    assert all(word["end"] - word["start"] < 1.5 for word in words)


def test_parallel_requests_do_not_change_transcripts(url: str, alone: Callable[[str], dict[str, Any]]) -> None:
    """Eight requests of several languages and lengths share calls of the model, and get the text they get alone.

    Sampled text is left out, since sampling is random.
    """
    recordings = [RECORDINGS[name] for name in MIXED]
    with ThreadPoolExecutor(len(recordings)) as pool:
        together = list(pool.map(lambda recording: transcribe(url, recording), recordings))
    by_themselves = map(alone, MIXED)
    pairs = [
        (recording.language or "", one["text"], other["text"])
        for recording, one, other in zip(recordings, by_themselves, together, strict=True)
        if not any(segment["temperature"] for answer in (one, other) for segment in answer["segments"])
    ]
    assert len(pairs) >= 5
    assert all(word_error_rate(one, other, language) <= SLACK for language, one, other in pairs), pairs


def test_a_truncated_recording_is_transcribed_with_a_warning(url: str) -> None:
    """The part that exists is transcribed. A warning says that the recording ends early."""
    recording = RECORDINGS["en-wizard"]
    whole = recording.path.read_bytes()
    answer = transcribe_bytes(url, whole[: len(whole) * 2 // 3])
    assert answer["text"].lower().startswith("he began a confused complaint")
    assert any("ends early" in warning for warning in answer["warnings"]), answer["warnings"]


def test_a_prompt_sets_the_spelling(url: str) -> None:
    """The initial prompt reaches the model: the name is spelt as in the prompt."""
    recording = RECORDINGS["en-congratulations"]
    answer = transcribe(url, recording, initial_prompt="ASTERISK is what it is called. ASTERISK PBX.")
    assert "ASTERISK" in answer["text"]


def test_ndjson_streams_the_segments(url: str) -> None:
    """A line for each segment, then a line with the whole text."""
    recording = RECORDINGS["en-sonnet"]
    with httpx.stream(
        "POST",
        f"{url}/transcribe",
        files={"file": recording.path.read_bytes()},
        data={"response_format": "ndjson"},
        timeout=110,
    ) as answer:
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert [line["type"] for line in lines] == ["segment"] * (len(lines) - 1) + ["transcript"]
    assert "".join(line["text"] for line in lines[:-1]).strip() == lines[-1]["text"]
    assert recording.wer(lines[-1]["text"]) <= recording.base_wer + SLACK


@pytest.fixture
def audio(url: str) -> Iterator[Audio]:
    """Return the audio API of OpenAI's own client."""
    with OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client.audio


def test_openais_client_gets_text_words_and_segments(audio: Audio) -> None:
    """With verbose_json the words are the text, in order, within the times of the segments."""
    recording = RECORDINGS["en-wizard"]
    answer = audio.transcriptions.create(
        model="base",
        file=recording.path,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        temperature=0,
    )
    assert answer.language == "english"
    assert answer.duration == pytest.approx(recording.seconds, abs=0.1)
    assert recording.wer(answer.text) <= recording.base_wer + SLACK
    assert answer.words
    assert answer.segments
    assert " ".join(word.word for word in answer.words) == answer.text
    assert answer.segments[0].start <= answer.words[0].start < answer.words[-1].end <= answer.segments[-1].end


def test_openais_client_streams_the_text(audio: Audio) -> None:
    """The deltas together are the text. A recording without speech has no deltas, only the final event."""
    recording = RECORDINGS["en-sonnet"]
    *deltas, done = audio.transcriptions.create(model="whisper-1", file=recording.path, stream=True)
    assert done.type == "transcript.text.done"
    assert len(deltas) > 1
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == done.text
    assert recording.wer(done.text) <= recording.base_wer + SLACK
    (silence,) = audio.transcriptions.create(model="whisper-1", file=next(iter(WORDLESS.values())).path, stream=True)
    assert silence.type == "transcript.text.done"
    assert silence.text == ""


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK deprecates it, like the hosted service
def test_openais_client_translates(audio: Audio) -> None:
    """The text is English, and so is the language of the answer."""
    recording = RECORDINGS["es-telemarketers"]
    answer = audio.translations.create(model="base", file=recording.path, response_format="verbose_json")
    assert recording.english
    assert recording.base_english_wer is not None
    assert word_error_rate(recording.english, answer.text, "en") <= recording.base_english_wer + 2 * SLACK
    assert answer.language == "english"


@pytest.mark.parametrize("name", ["en-wizard", "fr-operators", "it-voicemail", "ja-campsite", "ru-voicemail"])
def test_the_language_is_detected(url: str, name: str) -> None:
    """/detect-language gives the probabilities of all languages of the model. They add up to one."""
    answer = transcribe(url, RECORDINGS[name], "/detect-language")
    assert answer["language"] == RECORDINGS[name].language
    assert len(answer["probabilities"]) == 99
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=0.01)
    assert answer["probability"] == max(answer["probabilities"].values()) > 0.5


@pytest.mark.parametrize("name", WORDLESS)
def test_sounds_without_words_have_no_language(url: str, name: str) -> None:
    """No language is detected in music and animals."""
    assert transcribe(url, WORDLESS[name], "/detect-language")["language"] is None


def test_several_languages_in_one_recording_are_separated(url: str) -> None:
    """English, French and Russian follow each other. Each is written in its language, about as accurately as alone."""
    parts = [RECORDINGS[name] for name in ("en-telemarketers", "fr-operators", "ru-operators")]
    pause = np.zeros(RATE, np.float32)
    samples = [sound for part in parts for sound in (decode_audio(str(part.path)), pause)]
    answer = transcribe_bytes(url, wav(np.concatenate(samples)), language="auto-per-chunk")
    texts = {
        language: " ".join(segment["text"] for segment in group)
        for language, group in groupby(answer["segments"], key=lambda segment: segment["language"])
    }
    assert list(texts) == ["en", "fr", "ru"]
    for part in parts:
        assert part.wer(texts[part.language or ""]) <= part.base_wer + 2 * SLACK


def test_speech_is_written_as_subtitles(url: str) -> None:
    """Cues have at most two lines of 42 characters, last 1 to 7 s, do not overlap, and hold the whole text."""
    recording = RECORDINGS["en-congratulations"]
    answer = httpx.post(
        f"{url}/transcribe", files={"file": recording.path.read_bytes()}, data={"response_format": "srt"}, timeout=110
    )
    cues = list(pysubs2.SSAFile.from_string(answer.text, format_="srt"))
    lines = [line for cue in cues for line in cue.plaintext.split("\n")]
    assert recording.wer(" ".join(lines)) <= recording.base_wer + SLACK
    assert max(map(len, lines)) <= 42
    assert max(len(cue.plaintext.split("\n")) for cue in cues) <= 2
    assert all(1000 <= cue.end - cue.start <= 7000 for cue in cues)
    assert all(cue.end < after.start for cue, after in pairwise(cues))
    assert cues[-1].end <= recording.seconds * 1000 + 1


async def test_live_speech_is_transcribed(url: str) -> None:
    """Two recordings with a pause between them are two turns, with the texts that are spoken in them."""
    recordings = [RECORDINGS["en-wizard"], RECORDINGS["en-telemarketers"]]
    silence = np.zeros(24_000, np.float32)
    sounds = [sound for each in recordings for sound in (decode_audio(str(each.path), sampling_rate=24_000), silence)]
    pcm = (np.concatenate(sounds) * 32_767).astype("<i2").tobytes()
    texts: list[str] = []
    deltas = ""
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="any")
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        for start in range(0, len(pcm), 4800):
            await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[start : start + 4800]).decode())
        while word_count(texts) < sum(len(each.text.split()) for each in recordings) - 3:
            event = await asyncio.wait_for(connection.recv(), 60)
            assert event.type != "error", event
            if event.type == "conversation.item.input_audio_transcription.delta":
                deltas += event.delta or ""
            if event.type == "conversation.item.input_audio_transcription.completed":
                texts.append(event.transcript)
    assert len(texts) >= len(recordings)
    assert word_error_rate(" ".join(each.text for each in recordings), " ".join(texts), "en") <= 0.15
    assert deltas


def word_count(texts: list[str]) -> int:
    return len(" ".join(texts).split())
