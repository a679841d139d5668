"""Live sessions with the real base model and real recordings, fed faster than they were spoken."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.audio import decode_audio

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.telephony import LiveAudioDecoder
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.engine.build import Engine, build_engine
from asr_service.engine.model.loading import load_slot_model
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live.agreement import plain
from asr_service.engine.pipeline.live.events import LiveEvent, TextDelta, TurnCompleted, TurnStarted
from asr_service.engine.pipeline.live.options import Delay, LiveOptions, ServerVad
from asr_service.engine.pipeline.live.session import LiveSession
from asr_service.hardware.devices import Device, Slot
from asr_service.settings import load_settings
from speech import RECORDINGS, WORDLESS
from waiting import until_async

pytestmark = pytest.mark.speech

SLACK = 0.06
"""As in tests/test_speech.py."""
FINAL_ONLY = LiveOptions(DecodingOptions(), delay=Delay.XHIGH)


@pytest.fixture(scope="module")
async def engine(base_model_dir: Path) -> AsyncIterator[Engine]:
    settings = load_settings({}, model=str(base_model_dir), devices="cpu")
    model = load_slot_model(settings, Slot(0, Device("cpu")), lambda: None)
    with ThreadPoolExecutor(2) as pool:
        found = build_engine(settings, model, DecoderPool(DecodeLimits(max_audio_s=60)), pool, lambda _: None)
        found.scheduler.start()
        yield found
        found.scheduler.stop()
        found.scheduler.join(5)


def recording(name: str) -> np.ndarray:
    """Return a recording with a second of silence before and after it."""
    samples: np.ndarray = decode_audio(str(RECORDINGS[name].path))
    return np.concatenate([quiet(1), samples, quiet(1)])


def quiet(seconds: float) -> np.ndarray:
    """Return the noise of a quiet room, at -70 dB."""
    noise = np.random.default_rng(1).standard_normal(int(seconds * SAMPLE_RATE)) * 3e-4
    return noise.astype(np.float32)


async def events_of(session: LiveSession, samples: np.ndarray) -> list[LiveEvent]:
    feeding = asyncio.create_task(feed(session, samples))
    async with aclosing(session.events()) as events:
        found = [event async for event in events]
    await feeding
    return found


async def feed(session: LiveSession, samples: np.ndarray) -> None:
    for start in range(0, len(samples), 800):
        await session.feed(samples[start : start + 800])
    await session.finish()


def completed(events: list[LiveEvent]) -> list[TurnCompleted]:
    return [event for event in events if isinstance(event, TurnCompleted)]


def plain_words(text: str) -> list[str]:
    return [plain(word) for word in text.split()]


@pytest.mark.parametrize("name", ["en-telemarketers", "fr-operators", "ru-operators"])
async def test_final_texts_are_as_good_as_those_of_a_file(engine: Engine, name: str):
    """The language is detected, and the word error rate is that of the whole recording."""
    async with engine.live.open(FINAL_ONLY) as session:
        turns = completed(await events_of(session, recording(name)))
    spoken = RECORDINGS[name]
    assert spoken.wer(" ".join(turn.transcript.text for turn in turns)) <= spoken.base_wer + SLACK
    assert {turn.transcript.language for turn in turns} == {spoken.language}


async def test_words_are_sent_while_they_are_spoken_and_the_final_text_has_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """Each half second is fed when the text of the one before was decoded, as with a machine that keeps up."""
    monkeypatch.setattr(engine.live._load, "interval_s", lambda caution: caution.interval_s)
    spoken = RECORDINGS["en-wizard"]
    sound = recording("en-wizard")
    async with engine.live.open(LiveOptions(DecodingOptions(language="en"))) as session:
        for start in range(0, len(sound), SAMPLE_RATE // 2):
            await session.feed(sound[start : start + SAMPLE_RATE // 2])
            await _settled(session, min(start + SAMPLE_RATE // 2, len(sound)))
        await session.finish()
        events = [event async for event in session.events()]
    (turn,) = completed(events)
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    sent_before_end = "".join(deltas[:-1])
    assert len(deltas) >= 3
    assert len(sent_before_end.split()) >= len(spoken.text.split()) // 2
    sent, final = [plain_words(text) for text in (sent_before_end, turn.transcript.text)]
    n_kept = sum(block.size for block in SequenceMatcher(None, sent, final, autojunk=False).get_matching_blocks())
    assert n_kept >= 0.85 * len(sent)


async def test_a_telephone_line_is_understood(engine: Engine):
    """8 kHz, in packets of 20 ms; the client commits by itself. One word of 17 may be misheard."""
    spoken = RECORDINGS["en-wizard"]
    decode = LiveAudioDecoder("pcm16", 8000)
    narrow = decode_audio(str(spoken.path), sampling_rate=8000)
    data = (narrow * 32767).astype("<i2").tobytes()
    sound = np.concatenate([decode(data[at : at + 320]) for at in range(0, len(data), 320)])
    async with engine.live.open(replace(FINAL_ONLY, turn_detection=None)) as session:
        await session.feed(sound)
        await session.commit()
        (turn,) = completed(await events_of(session, quiet(0.1)))
    assert spoken.wer(turn.transcript.text) <= 2 * SLACK


async def test_words_have_the_times_of_the_session(engine: Engine):
    """The second turn's words lie in the second turn."""
    words = LiveOptions(DecodingOptions(language="en", word_timestamps=True), delay=Delay.XHIGH)
    sound = recording("en-wizard")
    async with engine.live.open(words) as session:
        events = await events_of(session, np.concatenate([sound, sound]))
    second = completed(events)[-1].transcript
    starts = [word.start for segment in second.segments for word in segment.words or ()]
    length_s = len(sound) / SAMPLE_RATE
    assert starts
    assert starts == sorted(starts)
    assert all(length_s + 0.5 < start < 2 * length_s for start in starts)


@pytest.mark.parametrize("name", WORDLESS)
async def test_noise_and_music_have_no_text(engine: Engine, name: str):
    """Nothing is sent, neither before the end of a turn nor after it."""
    async with engine.live.open(LiveOptions()) as session:
        events = await events_of(session, recording(name))
    assert [event.text for event in events if isinstance(event, TextDelta)] == []
    assert [turn.transcript.text for turn in completed(events) if turn.transcript.text] == []


async def test_silence_opens_no_turn(engine: Engine):
    """A minute of the noise of a quiet room, and one of digital silence."""
    async with engine.live.open(LiveOptions(turn_detection=ServerVad(threshold=0.3))) as session:
        events = await events_of(session, np.concatenate([quiet(60), np.zeros(60 * SAMPLE_RATE, np.float32)]))
    assert not any(isinstance(event, TurnStarted) for event in events)


async def _settled(session: LiveSession, fed: int) -> None:
    """Wait until all sound was heard, and its text is decoded if there is any to decode."""
    await until_async(lambda: session._listener.end >= fed)
    await asyncio.sleep(0.005)
    await until_async(lambda: not session._partial_sender._decoding)
