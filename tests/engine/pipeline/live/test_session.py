"""A live session as its caller sees it, with a fake model and sound whose speech is known."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from asr_service.access.caller import Caller
from asr_service.audio import SAMPLE_RATE
from asr_service.audio.features import LogMel
from asr_service.audio.silero import FRAME
from asr_service.engine.decode.window import WindowDecoder
from asr_service.engine.model.calls import run_calls
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.model.stages import Stage
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.engine.pipeline.live import places
from asr_service.engine.pipeline.live import session as session_module
from asr_service.engine.pipeline.live.events import (
    Cleared,
    EndReason,
    LiveEvent,
    SessionEnded,
    TextDelta,
    TurnCommitted,
    TurnCompleted,
    TurnFailed,
    TurnStarted,
    TurnStopped,
)
from asr_service.engine.pipeline.live.finisher import MAX_ATTEMPTS
from asr_service.engine.pipeline.live.options import Delay, LiveOptions
from asr_service.engine.pipeline.live.partial import PartialDecoder
from asr_service.engine.pipeline.live.session import LiveSession
from asr_service.engine.pipeline.live.sessions import LiveSessions
from asr_service.engine.pipeline.window_memory import WindowMemory
from asr_service.engine.schedule.batch import BatchLimit, LiveWork
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.errors import EmptyBuffer, Overloaded
from fakes import Call, FakeModel, writing
from waiting import until_async

ENGLISH = LiveOptions(DecodingOptions(language="en"))
MANUAL = replace(ENGLISH, turn_detection=None)


def speech(seconds: float) -> np.ndarray:
    n_samples = int(seconds * SAMPLE_RATE) // FRAME * FRAME
    return np.random.default_rng(1).uniform(-0.9, 0.9, n_samples).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * SAMPLE_RATE) // FRAME * FRAME, np.float32)


class Loudness:
    """Stands for Silero: sound is speech. Frames must be fed whole."""

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        peaks: np.ndarray = np.abs(samples.reshape(-1, FRAME)).max(axis=1)
        return peaks


def writing_words(model: FakeModel, encoding: Encoding, prompt, options: GenerateOptions) -> Generation:
    """Write one word for each half second of sound, after the text that the prompt forces."""
    n_words = int((encoding > encoding.max() - 0.5).sum() / 25)
    text = "".join(f" w{number}" for number in range(n_words))
    if options.beam_size == 1:
        return Generation(tuple(model.tokens(text)), -0.2, 0.01)
    return Generation((model.at(0.0), *model.tokens(text), model.at(1.0)), -0.2, 0.01)


@asynccontextmanager
async def sessions_around(model: FakeModel, n_threads: int = 2) -> AsyncIterator[LiveSessions]:
    scheduler = Scheduler(
        lambda batch: run_calls(model, batch.stage, [entry.payload for entry in batch.entries]),
        {Stage.ENCODE: BatchLimit(1), Stage.GENERATE: BatchLimit(4), Stage.ALIGN: BatchLimit(4)},
        n_threads=n_threads,
        on_failure=lambda _: None,
        probe=lambda: None,
    )
    scheduler.start()
    vocabulary, log_mel = Vocabulary(model.tokenizer, multilingual=True), LogMel(80)
    with ThreadPoolExecutor(2) as pool:
        windows = WindowDecoder(
            vocabulary,
            log_mel,
            pool,
            multilingual=True,
            margin_s=6.0,
            chunk_length_s=None,
            max_attempts=MAX_ATTEMPTS,
        )
        partials = PartialDecoder(vocabulary, log_mel, pool, multilingual=True, margin_s=2.0)
        memory = WindowMemory(limit_bytes=1000, window_bytes=1)
        try:
            yield LiveSessions(windows, partials, scheduler, memory, pool, count(), "fake", n_threads)
        finally:
            scheduler.stop()
            scheduler.join(5)


@pytest.fixture(autouse=True)
def _speech_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "SpeechStream", Loudness)


async def rest_of(session: LiveSession) -> list[LiveEvent]:
    async with asyncio.timeout(60), aclosing(session.events()) as events:
        return [event async for event in events]


async def heard(session: LiveSession, *sounds: np.ndarray) -> list[LiveEvent]:
    """Feed sounds, finish, and return all events."""
    for sound in sounds:
        await session.feed(sound)
    await session.finish()
    return await rest_of(session)


def kinds(events: list[LiveEvent]) -> list[type]:
    return [type(event) for event in events if not isinstance(event, TextDelta)]


async def test_a_turn_from_its_start_to_its_text():
    """The events of one turn come in the order of the protocol, with times in the session's sound."""
    async with sessions_around(FakeModel(writing(" hello"))) as sessions, sessions.open(ENGLISH) as session:
        events = await heard(session, silence(1), speech(2), silence(1))
    assert kinds(events) == [TurnStarted, TurnStopped, TurnCommitted, TurnCompleted, SessionEnded]
    completed = next(event for event in events if isinstance(event, TurnCompleted))
    assert completed.transcript.text == "hello"
    assert completed.transcript.language == "en"
    assert completed.transcript.segments[0].start == pytest.approx(0.7, abs=0.05)
    assert completed.audio_s == pytest.approx(2.8, abs=0.05)
    assert events[-1] == SessionEnded(EndReason.FINISHED)


async def test_text_is_sent_while_somebody_speaks_and_only_appended():
    """The deltas of a turn, joined, are its final text, since it begins with what was sent."""
    async with sessions_around(FakeModel(writing_words)) as sessions, sessions.open(ENGLISH) as session:
        reading = asyncio.create_task(rest_of(session))
        for _ in range(40):  # 5 s, faster than real time
            await session.feed(speech(0.128))
            await asyncio.sleep(0.02)
        n_before_end = session._partial_sender.n_sent
        await session.feed(silence(1))
        await session.finish()
        events = await reading
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    completed = next(event for event in events if isinstance(event, TurnCompleted))
    assert n_before_end >= 1
    assert "".join(deltas) == completed.transcript.text
    assert completed.transcript.text.startswith("w0 w1 w2")


async def test_turns_are_completed_in_order_although_later_text_may_come_first():
    """The final text of the first turn is held, until the second one has its partial and final text."""
    go_on = threading.Event()
    finals: list[Generation] = []

    def write(model: FakeModel, encoding: Encoding, prompt, options: GenerateOptions) -> Generation:
        text = writing_words(model, encoding, prompt, options)
        if options.beam_size != 1:
            finals.append(text)
            if len(finals) == 1:
                go_on.wait(30)
        return text

    async with sessions_around(FakeModel(write)) as sessions, sessions.open(ENGLISH) as session:
        reading = asyncio.create_task(rest_of(session))
        await session.feed(np.concatenate([speech(0.4), silence(1)]))
        for _ in range(150):  # 19 s, faster than real time
            await session.feed(speech(0.128))
            await asyncio.sleep(0.02)
            if session._partial_sender.n_sent:
                break
        await session.feed(silence(1))
        await session.finish()
        await until_async(lambda: len(finals) >= 2)
        go_on.set()
        events = await reading
    first, second = [event.turn_id for event in events if isinstance(event, TurnStarted)]
    assert next(event.turn_id for event in events if isinstance(event, TextDelta)) == second
    assert [event.turn_id for event in events if isinstance(event, TurnCompleted)] == [first, second]


async def test_text_of_a_manual_turn_is_sent_in_order():
    """A long silence ends a window within the turn. Its whole text comes before that of the next window."""
    async with sessions_around(FakeModel(writing_words)) as sessions, sessions.open(MANUAL) as session:
        reading = asyncio.create_task(rest_of(session))
        for sound in (speech(3), silence(2), speech(3)):
            for start in range(0, len(sound), 4 * FRAME):
                await session.feed(sound[start : start + 4 * FRAME])
                await asyncio.sleep(0.01)
        await session.commit()
        await session.finish()
        events = await reading
    (completed,) = [event for event in events if isinstance(event, TurnCompleted)]
    assert completed.transcript.text.count("w0") == 2
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == completed.transcript.text


async def test_the_longest_delay_sends_only_final_text():
    """One delta, after the commit."""
    options = replace(ENGLISH, delay=Delay.XHIGH)
    async with sessions_around(FakeModel(writing_words)) as sessions, sessions.open(options) as session:
        events = await heard(session, speech(5), silence(1))
    assert [type(event) for event in events[-4:]] == [TurnCommitted, TextDelta, TurnCompleted, SessionEnded]


async def test_speech_without_a_pause_is_not_lost_if_the_text_before_ends_a_text_early():
    """The model ends the text of the second window after 4 of 12 s. Without the first one's text it does not."""

    def write(model: FakeModel, _: Encoding, prompt, __: GenerateOptions) -> Generation:
        has_text_before = prompt[0] == model.tokenizer.token_to_id("<|startofprev|>")
        text, end_s = (" early", 4.0) if has_text_before else (" whole", 11.0)
        return Generation((model.at(0.0), *model.tokens(text), model.at(end_s)), -0.2, 0.01)

    options = replace(ENGLISH, delay=Delay.XHIGH)
    async with sessions_around(FakeModel(write)) as sessions, sessions.open(options) as session:
        events = await heard(session, speech(40), silence(1))
    texts = [event.transcript.text for event in events if isinstance(event, TurnCompleted)]
    assert texts == ["whole", "whole"]


async def test_the_final_text_is_begun_in_the_pause_and_not_decoded_twice():
    """A turn costs one decode with the full beam, which begins before the silence is long enough."""
    model = FakeModel(writing(" hello"))
    async with sessions_around(model) as sessions, sessions.open(replace(ENGLISH, delay=Delay.XHIGH)) as session:
        await session.feed(np.concatenate([speech(2), silence(0.3)]))
        await until_async(lambda: len(model.calls_of("generate")) == 1)
        events = await heard(session, silence(0.5))
    assert kinds(events)[-2:] == [TurnCompleted, SessionEnded]
    assert len(model.calls_of("generate")) == 1


async def test_speech_that_goes_on_after_a_pause_is_part_of_the_text():
    """What was decoded in the pause is not the final text then."""
    model = FakeModel(writing_words)
    async with sessions_around(model) as sessions, sessions.open(replace(ENGLISH, delay=Delay.XHIGH)) as session:
        await session.feed(np.concatenate([speech(2), silence(0.3)]))
        await until_async(lambda: len(model.calls_of("generate")) == 1)
        events = await heard(session, speech(2), silence(1))
    (completed,) = [event for event in events if isinstance(event, TurnCompleted)]
    assert completed.transcript.text.endswith("w7")


async def test_a_hopeless_window_has_few_attempts():
    """A recording would have eight. The turn has the best text of four."""
    model = FakeModel(writing(" mumble", avg_logprob=-1.5))
    async with sessions_around(model) as sessions, sessions.open(replace(MANUAL, delay=Delay.XHIGH)) as session:
        await session.feed(speech(2))
        await session.commit()
        events = await heard(session)
    assert len(model.calls_of("generate")) == MAX_ATTEMPTS
    assert [event.transcript.text for event in events if isinstance(event, TurnCompleted)] == ["mumble"]


async def test_manual_commits():
    """Two turns, each with its text; a commit without sound is an error."""
    async with sessions_around(FakeModel(writing(" hello"))) as sessions, sessions.open(MANUAL) as session:
        reading = asyncio.create_task(rest_of(session))
        with pytest.raises(EmptyBuffer):
            await session.commit()
        for _ in range(2):
            await session.feed(speech(1))
            await session.commit()
        with pytest.raises(EmptyBuffer):
            await session.commit()
        await session.finish()
        events = await reading
    first, second = [event for event in events if isinstance(event, TurnCommitted)]
    assert second.previous_turn_id == first.turn_id
    assert sum(isinstance(event, TurnCompleted) for event in events) == 2


async def test_silence_that_is_committed_has_no_text():
    """The model is not asked: it would make words up."""
    model = FakeModel(writing(" Thank you."))
    async with sessions_around(model) as sessions, sessions.open(MANUAL) as session:
        await session.feed(silence(3))
        await session.commit()
        events = await heard(session)
    (completed,) = [event for event in events if isinstance(event, TurnCompleted)]
    assert completed.transcript.text == ""
    assert model.calls == []


async def test_cleared_sound_has_no_text():
    """Only Cleared follows the start of the turn."""
    async with sessions_around(FakeModel()) as sessions, sessions.open(ENGLISH) as session:
        await session.feed(speech(2))
        await session.clear()
        events = await heard(session, silence(1))
    assert kinds(events) == [TurnStarted, Cleared, SessionEnded]


async def test_nothing_is_cleared_after_the_end():
    """A client that has its sound cleared could take that for the end of all its sound, part of which was ignored."""
    async with sessions_around(FakeModel()) as sessions, sessions.open(ENGLISH) as session:
        await session.feed(speech(2))
        session.begin_to_finish(EndReason.DRAINING)
        await session.feed(speech(1))
        await session.clear()
        events = await rest_of(session)
    assert kinds(events) == [TurnStarted, TurnStopped, TurnCommitted, TurnCompleted, SessionEnded]


async def test_one_turn_fails_and_the_session_goes_on():
    """The model fails on the first turn three times; the second one has its text."""
    is_broken = True

    def before(call: Call) -> None:
        if call.stage == "generate" and is_broken:
            raise RuntimeError("bad window")

    options = replace(ENGLISH, delay=Delay.XHIGH)
    async with sessions_around(FakeModel(before=before)) as sessions, sessions.open(options) as session:
        await session.feed(speech(1))
        await session.feed(silence(1))
        first = [await anext(session.events()) for _ in range(4)]
        is_broken = False
        events = await heard(session, speech(1), silence(1))
    assert isinstance(first[-1], TurnFailed)
    assert kinds(events) == [TurnStarted, TurnStopped, TurnCommitted, TurnCompleted, SessionEnded]


async def test_the_language_is_detected_in_each_turn():
    """Unless the options set it."""
    spoken = "fr"
    model = FakeModel(writing(" oui"), detects=lambda _: spoken)
    options = LiveOptions(delay=Delay.XHIGH)
    async with sessions_around(model) as sessions, sessions.open(options) as session:
        await session.feed(speech(3))
        await session.feed(silence(1))
        events = [await anext(session.events()) for _ in range(4)]
        spoken = "de"
        events += await heard(session, speech(3), silence(1))
    assert [event.transcript.language for event in events if isinstance(event, TurnCompleted)] == ["fr", "de"]


async def test_a_short_turn_has_the_language_of_the_turn_before():
    """Of a word or two, the detection is not reliable. The first turn has no other choice."""
    languages = iter(["fr", "de", "es"])
    model = FakeModel(writing(" oui"), detects=lambda _: next(languages))
    options = LiveOptions(delay=Delay.XHIGH)
    async with sessions_around(model) as sessions, sessions.open(options) as session:
        found = []
        for seconds in (3, 0.5, 3):
            await session.feed(np.concatenate([speech(seconds), silence(1)]))
            async for event in session.events():
                if isinstance(event, TurnCompleted):
                    found.append(event.transcript.language)
                    break
    assert found == ["fr", "fr", "de"]


async def test_a_drain_completes_the_open_turn():
    """The last event has the reason, by which the client knows that it may go on elsewhere."""
    async with sessions_around(FakeModel(writing(" hello"))) as sessions, sessions.open(ENGLISH) as session:
        await session.feed(speech(2))
        sessions.drain()
        await session.feed(speech(2))  # is ignored
        events = await rest_of(session)
    assert kinds(events)[-2:] == [TurnCompleted, SessionEnded]
    assert events[-1] == SessionEnded(EndReason.DRAINING)


async def test_a_session_ends_with_the_engine():
    """The client learns that the engine failed, and does not wait for ever."""
    model = FakeModel()
    async with sessions_around(model) as sessions:
        scheduler = sessions._scheduler
        async with sessions.open(replace(ENGLISH, delay=Delay.XHIGH)) as session:
            scheduler.stop()
            await session.feed(np.concatenate([speech(1), silence(1)]))
            events = await rest_of(session)
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason is EndReason.FAILED


async def test_a_client_that_is_too_fast_waits():
    """While the model does nothing, a session holds a minute of sound and one window; then all is transcribed."""
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def before(call: Call) -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(60)

    options = replace(ENGLISH, delay=Delay.XHIGH)
    model = FakeModel(writing(" hello"), before=before)
    async with sessions_around(model) as sessions, sessions.open(options) as session:
        reading = asyncio.create_task(rest_of(session))
        turn = np.concatenate([speech(4), silence(1)])
        feeding = asyncio.create_task(_feed_all(session, [turn] * 30))
        await asyncio.sleep(0.3)
        assert not feeding.done()
        assert session._n_waiting < 90 * SAMPLE_RATE
        released.set()
        await feeding
        events = await reading
    assert sum(isinstance(event, TurnCompleted) for event in events) == 30


async def test_a_caller_that_reads_no_events_stops_the_session():
    """Neither the events nor the sound grow without end."""
    async with sessions_around(FakeModel()) as sessions, sessions.open(ENGLISH) as session:
        turn = np.concatenate([speech(0.3), silence(0.6)])
        feeding = asyncio.create_task(_feed_all(session, [turn] * 1000))
        await until_async(lambda: session._events.qsize() > 256)
        await asyncio.sleep(0.1)
        assert not feeding.done()
        assert session._events.qsize() < 1000  # all turns would have 5000
        feeding.cancel()


async def test_sessions_are_refused_when_the_model_cannot_follow():
    """At first two sessions for each thread are open; then the measured speed decides."""
    async with sessions_around(FakeModel(), n_threads=1) as sessions:
        async with sessions.open(ENGLISH), sessions.open(ENGLISH):
            with pytest.raises(Overloaded):
                async with sessions.open(ENGLISH):
                    pass
        async with sessions.open(ENGLISH):
            pass


async def test_a_session_faster_than_real_time_waits_like_a_recording():
    """Its windows do not go before those of other requests, have more time, and do not count as measured speed."""
    asked: list[tuple[LiveWork | None, float]] = []
    async with sessions_around(FakeModel(writing(" hello"))) as sessions:
        new_request = sessions._new_request

        def noting(decoding: DecodingOptions, live: LiveWork | None, max_wait_s: float, caller: Caller):
            asked.append((live, max_wait_s))
            return new_request(decoding, live, max_wait_s, caller)

        sessions._new_request = noting  # type: ignore[method-assign]
        async with sessions.open(replace(ENGLISH, delay=Delay.XHIGH)) as session:
            reading = asyncio.create_task(rest_of(session))
            await session.feed(np.concatenate([speech(2), silence(1)]))
            await until_async(lambda: len(asked) == 1)
            await _feed_all(session, [np.concatenate([speech(4), silence(1)])] * 12)
            events = await reading
    assert sum(isinstance(event, TurnCompleted) for event in events) == 13
    assert asked[0][0] is LiveWork.FINAL
    assert {live for live, _ in asked[-3:]} == {None}
    assert asked[-1][1] > asked[0][1]


async def test_committed_silence_does_not_count_as_measured_speed():
    """It takes no time of the model, and more sessions would be admitted than it can follow."""
    async with sessions_around(FakeModel()) as sessions, sessions.open(MANUAL) as session:
        before = sessions._load.capacity
        await session.feed(silence(10))
        await session.commit()
        await heard(session)
        assert sessions._load.capacity == before


async def test_a_silent_session_gives_its_place_to_another_one(monkeypatch):
    """Its open turn is completed. A session with audio, and one whose audio waits for the model, keep their places."""
    async with (
        sessions_around(FakeModel(writing(" hello")), n_threads=1) as sessions,
        sessions.open(ENGLISH) as silent,
        sessions.open(ENGLISH) as speaking,
    ):
        await silent.feed(speech(2))
        await until_async(lambda: not silent._n_waiting)
        monkeypatch.setattr(places, "SILENT_S", 0.2)
        await until_async(lambda: silent.silent_s > 0.2)
        await speaking.feed(speech(1))
        async with sessions.open(ENGLISH):
            events = await rest_of(silent)
    assert kinds(events)[-2:] == [TurnCompleted, SessionEnded]
    assert events[-1] == SessionEnded(EndReason.SILENT)
    assert speaking._end_reason is not EndReason.SILENT


async def test_a_caller_with_several_sessions_yields_one_to_another_caller():
    """The newest one, and not again within ten seconds: one client could end all sessions of another."""
    many, other, third = Caller("many"), Caller("other"), Caller("third")
    async with sessions_around(FakeModel(), n_threads=2) as sessions, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(sessions.open(ENGLISH, caller=many)) for _ in range(4)]
        with pytest.raises(Overloaded):
            await stack.enter_async_context(sessions.open(ENGLISH, caller=many))
        await stack.enter_async_context(sessions.open(ENGLISH, caller=other))
        assert (await rest_of(held[3]))[-1] == SessionEnded(EndReason.YIELDED)
        with pytest.raises(Overloaded):
            await stack.enter_async_context(sessions.open(ENGLISH, caller=third))
        sessions._yielded_at -= 10
        await stack.enter_async_context(sessions.open(ENGLISH, caller=third))
        assert [each._end_reason for each in held] == [None, None, EndReason.YIELDED, EndReason.YIELDED]


async def test_a_session_without_audio_ends_although_nobody_needs_its_place(monkeypatch):
    """A client that only answers pings would hold it for an hour."""
    monkeypatch.setattr(session_module, "_MAX_SILENT_S", 0.1)
    async with sessions_around(FakeModel()) as sessions, sessions.open(ENGLISH) as session:
        assert await rest_of(session) == [SessionEnded(EndReason.SILENT)]


async def _feed_all(session: LiveSession, sounds: list[np.ndarray]) -> None:
    for sound in sounds:
        await session.feed(sound)
    await session.finish()
