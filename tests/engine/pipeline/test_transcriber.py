"""One request, from its file to its transcript, with real decoder processes and a fake model."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.options import DecodingOptions
from asr_service.errors import DeadlineExceeded, EngineStopped, InferenceFailed, UnsupportedAudio
from asr_service.transcript import Segment, Transcript
from engines import RATE, engine_around, loud
from fakes import Call, FakeModel, writing
from waiting import until_async

ALL_AUDIO = DecodingOptions(vad_filter=False)
"""Options under which a recording without speech is transcribed too."""
ENGLISH = DecodingOptions(vad_filter=False, language="en")


async def test_a_long_recording_is_transcribed_whole_and_in_order():
    """A recording of 150 s in windows of at most 30 s: segments are numbered, ordered, and cover all of it."""
    async with engine_around(FakeModel(writing(" and", until_s=20.0))) as engine:
        transcript = await engine.transcript(engine.recording(loud(150)), ALL_AUDIO)
    assert transcript.duration == 150
    assert transcript.duration_after_vad == 150
    assert [segment.id for segment in transcript.segments] == list(range(len(transcript.segments)))
    starts = [segment.start for segment in transcript.segments]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert 150 - starts[-1] <= 30
    assert transcript.text == " ".join(["and"] * len(starts))


@pytest.mark.parametrize(
    ("language", "task", "text"),
    [("en", "transcribe", "hello hello"), ("ja", "transcribe", "hellohello"), ("ja", "translate", "hello hello")],
)
async def test_a_space_that_the_model_left_out_between_windows_is_added(language, task, text):
    """If the written language has spaces, the words of two windows are not joined."""
    options = replace(ALL_AUDIO, language=language, task=task)
    async with engine_around(FakeModel(writing("hello"))) as engine:
        transcript = await engine.transcript(engine.recording(loud(40)), options)
    assert transcript.text == text


async def test_the_language_is_detected_once_for_the_request():
    """The first window detects it. The other windows use it, and no window is encoded twice."""
    async with engine_around(FakeModel(language="fr")) as engine:
        transcript = await engine.transcript(engine.recording(loud(100)), ALL_AUDIO)
        french = engine.model.tokenizer.token_to_id("<|fr|>")
    assert (transcript.language, transcript.language_probability) == ("fr", 0.9)
    assert {segment.language for segment in transcript.segments} == {"fr"}
    assert len(engine.model.calls_of("detect")) == 1
    assert all(french in prompt for call in engine.model.calls_of("generate") for prompt in call.prompts)
    assert len(engine.model.calls_of("encode")) == sum(call.n_windows for call in engine.model.calls_of("generate"))


async def test_a_window_is_split_where_its_language_changes():
    """With `auto-per-chunk` each part is decoded in its own language, and its times are right."""

    def detects(encoding: Encoding) -> str:
        """Detect French in noise, and English in a tone, in whose spectrum most bands are quiet."""
        return "fr" if encoding.max() > 0.5 else "en"

    tone = (0.3 * np.sin(np.arange(8 * RATE) / 10)).astype(np.float32)
    pause = np.zeros(RATE // 2, np.float32)
    model = FakeModel(writing(" hello", until_s=2.0), detects=detects)
    sound = np.concatenate([tone, pause, loud(8), pause, tone])
    options = replace(ALL_AUDIO, language_per_chunk=True)
    async with engine_around(model) as engine:
        transcript = await engine.transcript(engine.recording(sound), options)
    assert [segment.language for segment in transcript.segments] == ["en", "fr", "en"]
    assert [segment.start for segment in transcript.segments] == pytest.approx([0.0, 8.25, 16.75], abs=0.3)
    assert (transcript.language, transcript.language_probability) == ("en", 0.9)


async def test_a_window_with_one_language_is_not_split():
    """Pieces of at most 6 s serve detection only. If the language does not change, windows stay whole."""
    model = FakeModel(writing(" hello", until_s=2.0))
    async with engine_around(model) as engine:
        transcript = await engine.transcript(engine.recording(loud(60)), replace(ALL_AUDIO, language_per_chunk=True))
    assert len(model.calls_of("generate")) == len(transcript.segments) == 3
    assert len(model.calls_of("detect")) > 6


@pytest.mark.parametrize(
    ("until_s", "per_chunk"),
    [(20.0, False), (4.0, True)],
    ids=["one segment a window, one language", "windows for the rest, auto-per-chunk"],
)
async def test_an_interrupted_recording_goes_on_from_its_last_segment(until_s, per_chunk):
    """The rest gives the same transcript as a whole run, and finished chunks are not decoded again."""
    pause = np.zeros(RATE, np.float32)
    sound = np.concatenate([loud(13), pause, loud(9), pause, loud(70), pause, loud(20)])
    options = replace(ALL_AUDIO, language_per_chunk=per_chunk)
    async with engine_around(FakeModel(writing(" and", until_s=until_s)), chunk_s=15.0) as engine:
        file = engine.recording(sound)
        whole = await engine.transcript(file, options)
        n_calls = len(engine.model.calls_of("generate"))
        assert len(whole.segments) >= 8
        for n_known in range(0, len(whole.segments), 3):
            engine.model.calls.clear()
            earlier = whole.segments[:n_known]
            events = [event async for event in engine.transcriber.transcribe(file, options, earlier=earlier)]
            new, transcript = events[:-1], events[-1]
            assert isinstance(transcript, Transcript)
            assert replace(transcript, timing=whole.timing) == whole
            assert tuple(new) == whole.segments[len(whole.segments) - len(new) :]
            if n_known > len(whole.segments) // 2:
                assert len(engine.model.calls_of("generate")) < n_calls


async def test_language_detection_encodes_one_window():
    """Nothing is decoded into text, and only the first block of a long recording is read."""
    model = FakeModel(language="fi")
    decoded_s: list[float] = []
    async with engine_around(model) as engine:
        file = engine.recording(np.concatenate([np.zeros(16_000, np.float32), loud(200)]))
        found = await engine.transcriber.detect_language(
            file, ALL_AUDIO, deadline=time.monotonic() + 20, on_audio=decoded_s.append
        )
        silence = engine.recording(np.zeros(32_000, np.float32))
        nothing = await engine.transcriber.detect_language(silence, DecodingOptions(), deadline=time.monotonic() + 20)
    assert (found.probabilities, found.start) == ((("fi", 0.9), ("la", 0.1)), 0.0)
    assert sum(decoded_s) == 60
    assert [call.stage for call in model.calls] == ["encode", "detect"]
    assert (nothing.probabilities, nothing.start, nothing.end) == ((), None, None)


async def test_silence_does_not_reach_the_model():
    """The transcript is empty and has no language."""
    async with engine_around(FakeModel()) as engine:
        transcript = await engine.transcript(engine.recording(np.zeros(100 * 16_000)), DecodingOptions())
    assert (transcript.text, transcript.segments, transcript.language) == ("", (), None)
    assert transcript.duration == 100
    assert engine.model.calls == []


async def test_segments_are_yielded_while_later_windows_are_decoded():
    """The first segment does not wait for the last window. Here the third window and all later ones are blocked."""
    gate = threading.Event()
    done = 0

    def before(call: Call) -> None:
        nonlocal done
        if call.stage == "generate":
            assert done < 2 or gate.wait(60)
            done += call.n_windows

    async with engine_around(FakeModel(before=before), max_inflight_windows=2) as engine:
        events = engine.events(engine.recording(loud(100)), ENGLISH)
        assert isinstance(await anext(events), Segment)
        gate.set()
        assert isinstance([event async for event in events][-1], Transcript)


async def test_a_reader_that_stops_reading_stops_the_work():
    """Only the allowed number of windows is decoded ahead of the reader, so that memory stays bounded."""
    async with engine_around(FakeModel(), max_inflight_windows=2) as engine:
        events = engine.events(engine.recording(loud(300)), ENGLISH)
        await anext(events)
        await until_async(lambda: not engine.scheduler.busy)
        await asyncio.sleep(0.05)
        assert sum(call.n_windows for call in engine.model.calls_of("generate")) <= 4
        await events.aclose()


async def test_closing_the_generator_ends_the_work():
    """Queued windows are dropped, and no more calls are made."""
    async with engine_around(FakeModel(before=lambda _: time.sleep(0.02))) as engine:
        events = engine.events(engine.recording(loud(300)), ENGLISH)
        await anext(events)
        await events.aclose()
        await until_async(lambda: not engine.scheduler.busy)
        done = len(engine.model.calls)
        await asyncio.sleep(0.1)
        assert len(engine.model.calls) == done
        assert engine.scheduler.depth == 0


async def test_a_cancelled_request_leaves_nothing_in_the_queue():
    """This happens when a client disconnects before its first result."""
    gate = threading.Event()
    async with engine_around(FakeModel(before=lambda _: gate.wait(60))) as engine:
        tasks = [asyncio.create_task(engine.transcript(engine.recording(loud(5)), ENGLISH)) for _ in range(3)]
        await until_async(lambda: len(engine.model.calls) == 1 and engine.scheduler.depth == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert engine.scheduler.depth == 0
        gate.set()
        await until_async(lambda: not engine.scheduler.busy)
        assert len(engine.model.calls) == 1


async def test_a_short_clip_does_not_wait_for_a_long_recording():
    """The scheduler takes windows of both requests in turn."""
    async with engine_around(FakeModel(before=lambda _: time.sleep(0.01))) as engine:
        long = asyncio.create_task(engine.transcript(engine.recording(loud(600)), ENGLISH))
        await until_async(lambda: len(engine.model.calls) > 3)
        await engine.transcript(engine.recording(loud(3)), ENGLISH)
        assert not long.done()
        await long


async def test_a_file_that_is_not_audio_is_refused():
    """The decoder refuses it before any call of the model."""
    async with engine_around(FakeModel()) as engine:
        with pytest.raises(UnsupportedAudio):
            await engine.transcript(engine.file(b"no audio at all"), ENGLISH)
    assert engine.model.calls == []


async def test_a_window_that_always_fails_fails_only_its_request():
    """The other request in the batch succeeds."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if model.tokens(" poison")[1] in prompt:
            raise ValueError("cannot")
        return writing(" fine")(model, encoding, prompt, options)

    poison = DecodingOptions(vad_filter=False, language="en", hotwords="poison")
    neighbour = DecodingOptions(vad_filter=False, language="en", hotwords="medium")
    async with engine_around(FakeModel(script)) as engine:
        bad, good = await asyncio.gather(
            engine.transcript(engine.recording(loud(5)), poison),
            engine.transcript(engine.recording(loud(5)), neighbour),
            return_exceptions=True,
        )
    assert isinstance(bad, InferenceFailed)
    assert isinstance(good, Transcript)


async def test_a_deadline_ends_a_waiting_request():
    """The request fails with DeadlineExceeded."""
    gate = threading.Event()
    async with engine_around(FakeModel(before=lambda _: gate.wait(60))) as engine:
        running = asyncio.create_task(engine.transcript(engine.recording(loud(5)), ENGLISH))
        await until_async(lambda: bool(engine.model.calls))
        events = engine.events(engine.recording(loud(5)), ENGLISH, time.monotonic() - 1)
        waiting = asyncio.ensure_future(anext(events))
        await until_async(lambda: engine.scheduler.depth == 1)
        gate.set()
        with pytest.raises(DeadlineExceeded):
            await waiting
        await running


async def test_requests_fail_when_the_engine_ends():
    """Running and waiting requests fail with EngineStopped."""
    gate = threading.Event()
    async with engine_around(FakeModel(before=lambda _: gate.wait(60))) as engine:
        tasks = [asyncio.create_task(engine.transcript(engine.recording(loud(5)), ENGLISH)) for _ in range(2)]
        await until_async(lambda: len(engine.model.calls) == 1 and engine.scheduler.depth == 1)
        engine.scheduler.stop()
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, EngineStopped) for result in results)
