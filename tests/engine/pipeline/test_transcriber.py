"""One request from its file to its transcript, through real decoder children and a fake model."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest

from asr_service.audio.chunking import Chunk
from asr_service.audio.vad import SpeechSpan
from asr_service.engine.decode.context import context_frames
from asr_service.engine.decode.window import place_words
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.options import DecodingOptions
from asr_service.engine.schedule.request import RequestContext
from asr_service.engine.schedule.scheduler import Scheduler
from asr_service.errors import DeadlineExceeded, EngineStopped, InferenceFailed, UnsupportedAudio
from asr_service.transcript import Segment, Transcript, Word
from engines import RATE, engine_around, loud, until
from fakes import Call, FakeModel, Script, writing

EVERYTHING = DecodingOptions(vad_filter=False)
ENGLISH = DecodingOptions(vad_filter=False, language="en")


async def test_a_long_recording_comes_out_whole_and_in_order():
    """150 s in windows of at most 30 s: segments are numbered, in order, and reach from the start to the end."""
    async with engine_around(FakeModel(writing(" and", until_s=20.0))) as engine:
        transcript = await engine.transcript(engine.recording(loud(150)), EVERYTHING)
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
async def test_a_space_that_the_model_left_out_between_windows_is_put_in(language, task, text):
    """Where the language that is written has one: two windows' words do not run together."""
    options = replace(EVERYTHING, language=language, task=task)
    async with engine_around(FakeModel(writing("hello"))) as engine:
        transcript = await engine.transcript(engine.recording(loud(40)), options)
    assert transcript.text == text


async def test_a_requests_time_with_the_model_is_counted_once():
    """Windows that are with the model side by side cost their request one second each second."""
    nobody = cast("Scheduler", None)
    calls = [(5.0, 6.0), (1.0, 3.0), (2.0, 4.0), (2.5, 3.5)]
    language = asyncio.get_running_loop().create_future()
    work = RequestContext(nobody, 0, ENGLISH, next_deadline=time.monotonic, language=language, _calls=calls)
    assert work.inference_s == 4.0


async def test_the_language_is_detected_once_and_holds_for_the_request():
    """The first window's sound tells it; the other windows are told, and encoded no second time."""
    async with engine_around(FakeModel(language="fr")) as engine:
        transcript = await engine.transcript(engine.recording(loud(100)), EVERYTHING)
        french = engine.model.tokenizer.token_to_id("<|fr|>")
    assert (transcript.language, transcript.language_probability) == ("fr", 0.9)
    assert {segment.language for segment in transcript.segments} == {"fr"}
    assert len(engine.model.calls_of("detect")) == 1
    assert all(french in prompt for call in engine.model.calls_of("generate") for prompt in call.prompts)
    assert len(engine.model.calls_of("encode")) == sum(call.n_windows for call in engine.model.calls_of("generate"))


async def test_a_window_is_cut_where_its_language_changes():
    """With a language a stretch, no window holds two; each part is decoded in its own, and its times are right."""

    def detects(encoding: Encoding) -> str:
        """French is noise, English a tone, which leaves most of a spectrum dark."""
        return "fr" if encoding.max() > 0.5 else "en"

    tone = (0.3 * np.sin(np.arange(8 * RATE) / 10)).astype(np.float32)
    pause = np.zeros(RATE // 2, np.float32)
    model = FakeModel(writing(" hello", until_s=2.0), detects=detects)
    sound = np.concatenate([tone, pause, loud(8), pause, tone])
    options = replace(EVERYTHING, language_per_chunk=True)
    async with engine_around(model) as engine:
        transcript = await engine.transcript(engine.recording(sound), options)
    assert [segment.language for segment in transcript.segments] == ["en", "fr", "en"]
    assert [segment.start for segment in transcript.segments] == pytest.approx([0.0, 8.25, 16.75], abs=0.3)
    assert (transcript.language, transcript.language_probability) == ("en", 0.9)


async def test_one_language_throughout_is_decoded_in_whole_windows():
    """Stretches are for telling the language alone: where it does not change, nothing is cut."""
    model = FakeModel(writing(" hello", until_s=2.0))
    async with engine_around(model) as engine:
        transcript = await engine.transcript(engine.recording(loud(60)), replace(EVERYTHING, language_per_chunk=True))
    assert len(model.calls_of("generate")) == len(transcript.segments) == 3
    assert len(model.calls_of("detect")) > 6


async def test_the_language_alone_costs_one_window():
    """Of the first speech: nothing is decoded into text, and of a long recording no more than its first minute."""
    model = FakeModel(language="fi")
    heard: list[float] = []
    async with engine_around(model) as engine:
        file = engine.recording(np.concatenate([np.zeros(16_000, np.float32), loud(200)]))
        found = await engine.transcriber.detect_language(
            file, EVERYTHING, deadline=time.monotonic() + 20, on_audio=heard.append
        )
        silence = engine.recording(np.zeros(32_000, np.float32))
        nothing = await engine.transcriber.detect_language(silence, DecodingOptions(), deadline=time.monotonic() + 20)
    assert (found.probabilities, found.start) == ((("fi", 0.9), ("la", 0.1)), 0.0)
    assert sum(heard) == 60
    assert [call.stage for call in model.calls] == ["encode", "detect"]
    assert (nothing.probabilities, nothing.start, nothing.end) == ((), None, None)


async def test_silence_never_reaches_the_model():
    """An empty transcript, without a language."""
    async with engine_around(FakeModel()) as engine:
        transcript = await engine.transcript(engine.recording(np.zeros(100 * 16_000)), DecodingOptions())
    assert (transcript.text, transcript.segments, transcript.language) == ("", (), None)
    assert transcript.duration == 100
    assert engine.model.calls == []


async def test_segments_leave_while_later_windows_are_under_way():
    """The first segment does not wait for the last window: here the third and all after it are held."""
    gate = threading.Event()
    done = 0

    def before(call: Call) -> None:
        nonlocal done
        if call.stage == "generate":
            assert done < 2 or gate.wait(10)
            done += call.n_windows

    async with engine_around(FakeModel(before=before), max_inflight_windows=2) as engine:
        events = engine.events(engine.recording(loud(100)), ENGLISH)
        assert isinstance(await anext(events), Segment)
        gate.set()
        assert isinstance([event async for event in events][-1], Transcript)


async def test_no_more_windows_than_allowed_are_ahead_of_the_reader():
    """A reader that stops reading stops the work: memory holds a few windows, not the recording."""
    async with engine_around(FakeModel(), max_inflight_windows=2) as engine:
        events = engine.events(engine.recording(loud(300)), ENGLISH)
        await anext(events)
        await until(lambda: not engine.scheduler.busy)
        await asyncio.sleep(0.05)
        assert sum(call.n_windows for call in engine.model.calls_of("generate")) <= 4
        await events.aclose()


async def test_a_reader_that_leaves_ends_the_work():
    """Queued windows are dropped and nothing more is inferred."""
    async with engine_around(FakeModel(before=lambda _: time.sleep(0.02))) as engine:
        events = engine.events(engine.recording(loud(300)), ENGLISH)
        await anext(events)
        await events.aclose()
        await until(lambda: not engine.scheduler.busy)
        done = len(engine.model.calls)
        await asyncio.sleep(0.1)
        assert len(engine.model.calls) == done
        assert engine.scheduler.depth == 0


async def test_a_task_cancelled_while_queued_leaves_nothing_behind():
    """As when the client goes before its first answer."""
    gate = threading.Event()
    async with engine_around(FakeModel(before=lambda _: gate.wait(10))) as engine:
        tasks = [asyncio.create_task(engine.transcript(engine.recording(loud(5)), ENGLISH)) for _ in range(3)]
        await until(lambda: len(engine.model.calls) == 1 and engine.scheduler.depth == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert engine.scheduler.depth == 0
        gate.set()
        await until(lambda: not engine.scheduler.busy)
        assert len(engine.model.calls) == 1


async def test_a_short_clip_does_not_wait_for_a_long_recording():
    """The scheduler goes round the requests."""
    async with engine_around(FakeModel(before=lambda _: time.sleep(0.01))) as engine:
        long = asyncio.create_task(engine.transcript(engine.recording(loud(600)), ENGLISH))
        await until(lambda: len(engine.model.calls) > 3)
        await engine.transcript(engine.recording(loud(3)), ENGLISH)
        assert not long.done()
        await long


async def test_doubtful_windows_are_sampled_hotter_and_alone():
    """The rule fails at 0 and 0.2 and holds at 0.4: that window took three tries, the others one."""
    n_tries = 0

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        nonlocal n_tries
        if encoding[10, 0] < 0.4:  # the window with the tone, quiet in most bands
            n_tries += 1
            if options.temperature < 0.4:
                return writing(" la" * 60, until_s=20.0)(model, encoding, prompt, options)
        return writing(" fine", until_s=5.0)(model, encoding, prompt, options)

    tone = 0.3 * np.sin(np.arange(20 * 16_000) / 16_000 * 2 * np.pi * 440)
    samples = np.concatenate([loud(25), np.zeros(8_000), tone])
    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(samples), ENGLISH)
    assert n_tries == 3
    assert [segment.temperature for segment in transcript.segments] == [0.0, 0.4]
    assert {
        call.n_windows for call in engine.model.calls_of("generate") if call.options and call.options.temperature
    } == {1}


@pytest.mark.parametrize(("n_times", "until_s"), [(60, 6.0), (80, None)], ids=["hasty", "without end"])
async def test_a_loop_is_decoded_once_more_with_a_penalty_on_what_repeats(n_times: int, until_s: float | None):
    """More of the same than anyone says in the time, or as much as the model may write: sampling, which takes five
    tries to be hot enough, comes after."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if options.repetition_penalty > 1:
            return writing(" fine", until_s=20.0)(model, encoding, prompt, options)
        right, loop = (model.at(0.0), *model.tokens(" yes"), model.at(4.0)), model.tokens(" la" * n_times)
        return Generation((*right, model.at(4.0), *loop, *([model.at(until_s)] if until_s else [])), -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert [call.options.temperature for call in engine.model.calls_of("generate") if call.options] == [0.0, 0.0]
    assert transcript.text == "fine"


async def test_a_loop_of_long_words_is_one_where_it_has_no_end():
    """Georgian takes two tokens a letter and more, so that a loop of it repeats itself thrice at most."""
    sentence = "გამარჯობა, როგორ ხართ დღეს ბატონო, "
    georgian = FakeModel(lambda model, *_: Generation((model.at(0.0), *model.tokens(sentence * 3)), -0.2, 0.0))
    async with engine_around(georgian) as engine:
        await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert 1.2 in {call.options.repetition_penalty for call in georgian.calls_of("generate") if call.options}


async def test_what_nobody_can_have_said_gives_way_to_what_is_unlikely():
    """Of tries that all fail a rule, the one with far too many words is not the answer, however sure the model is."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        hasty = writing(" pack my box with five dozen liquor jugs how vexingly", until_s=0.2, avg_logprob=-0.2)
        unlikely = writing(" perhaps", until_s=5.0, avg_logprob=-1.1)
        return (unlikely if options.temperature else hasty)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        assert (await engine.transcript(engine.recording(loud(5)), ENGLISH)).text == "perhaps"


async def test_text_after_the_speech_at_full_context_is_dropped_and_costs_nothing():
    """There is no longer context to try, and no rule of Whisper's is broken."""

    def script(model: FakeModel, *_: object) -> Generation:
        right = (model.at(0.0), *model.tokens(" yes"), model.at(5.0))
        return Generation((*right, model.at(7.0), *model.tokens(" thank you"), model.at(7.2)), -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert len(engine.model.calls_of("generate")) == 1
    assert transcript.text == "yes"


async def test_a_loop_after_the_speech_is_dropped_too():
    """What is not kept is not judged."""

    def script(model: FakeModel, *_: object) -> Generation:
        right = (model.at(0.0), *model.tokens(" yes"), model.at(5.0))
        return Generation((*right, model.at(5.4), *model.tokens(" la" * 60), model.at(9.0)), -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert len(engine.model.calls_of("generate")) == 1
    assert transcript.text == "yes"


async def test_what_is_said_again_and_again_is_not_penalised():
    """It repeats itself, but at the pace of speech: a penalty would make words of it that were not said."""
    menu = FakeModel(writing(" la" * 60, until_s=20.0))
    async with engine_around(menu) as engine:
        await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert {call.options.repetition_penalty for call in menu.calls_of("generate") if call.options} == {1.0}


@pytest.mark.parametrize("said", [" no", " la" * 80], ids=["unlikely", "loop"])
async def test_a_temperature_asked_for_is_the_only_one(said: str):
    """Above 0 there is no fallback."""
    async with engine_around(FakeModel(writing(said, avg_logprob=-3.0))) as engine:
        options = DecodingOptions(vad_filter=False, language="en", temperature=0.3)
        transcript = await engine.transcript(engine.recording(loud(5)), options)
    assert [call.options.temperature for call in engine.model.calls_of("generate") if call.options] == [0.3]
    assert transcript.text == said.strip()


async def test_where_every_temperature_fails_the_likeliest_is_taken():
    """A poor transcript is better than none; one that repeats itself is likely by its own count alone."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        likely = -1.2 if options.temperature == 0.6 else -2.0
        if options.temperature == 0.2:
            return writing(" la" * 50, until_s=5.0, avg_logprob=-0.1)(model, encoding, prompt, options)
        return writing(f" t{options.temperature}", avg_logprob=likely)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.text == "t0.6"


async def test_a_window_without_speech_says_nothing():
    """Improbable text over what sounds like no speech is left out."""
    async with engine_around(FakeModel(writing(" thank you", avg_logprob=-1.5, no_speech_prob=0.9))) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.segments == ()
    assert len(engine.model.calls_of("generate")) == 1


@pytest.mark.parametrize("begun", ["", " re"])
async def test_a_window_may_break_off_in_its_first_second(begun: str):
    """All that comes after is heard in a window of its own."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            cut = (model.at(0.9), model.at(0.9))
            return Generation((model.at(0.0), *model.tokens(" a"), *cut, *model.tokens(begun)), -0.2, 0.0)
        return writing(" rest", until_s=5.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(25)), ENGLISH)
    assert [(segment.text, segment.start) for segment in transcript.segments] == [(" a", 0.0), (" rest", 0.9)]


async def test_what_the_model_left_of_a_window_gets_a_window_of_its_own():
    """The model stops at 4 s of 10 s: the rest is transcribed too, at its own time, and told what was said before."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            tokens = (model.at(0.0), *model.tokens(" one"), model.at(4.0), model.at(4.0), *model.tokens(" tw"))
            return Generation(tokens, -0.2, 0.0)
        return writing(" two", until_s=5.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(10)), ENGLISH)
    assert [(segment.text, segment.start, segment.end) for segment in transcript.segments] == [
        (" one", 0.0, 4.0),
        (" two", 4.0, 9.0),
    ]
    first, rest = (prompt for call in engine.model.calls_of("generate") for prompt in call.prompts)
    assert rest == (engine.model.tokenizer.token_to_id("<|startofprev|>"), *engine.model.tokens(" one"), *first)


@pytest.mark.parametrize(("last_begins_s", "heard_again"), [(9.0, True), (3.0, False)])
async def test_a_short_rest_is_heard_with_the_segment_before_it(last_begins_s: float, heard_again: bool):
    """The model stops at 14 s of 20 s: its last segment is transcribed once more with the rest, if both are short."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            cut = model.at(last_begins_s)
            one, two = model.tokens(" one"), model.tokens(" too")
            tokens = (model.at(0.0), *one, cut, cut, *two, model.at(14.0), model.at(14.0), *model.tokens(" thr"))
            return Generation(tokens, -0.2, 0.0)
        return writing(" two three", until_s=5.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(20)), ENGLISH)
    texts = [(segment.text, segment.start) for segment in transcript.segments]
    if heard_again:
        assert texts == [(" one", 0.0), (" two three", last_begins_s)]
    else:
        assert texts == [(" one", 0.0), (" too", last_begins_s), (" two three", 14.0)]
    said = engine.model.tokens(" one" if heard_again else " one too")
    assert engine.model.calls_of("generate")[1].prompts[0][1 : len(said) + 1] == tuple(said)


async def test_what_stands_of_a_window_is_told_before_its_rest_is_decoded():
    """A reader of a stream waits for the first call of the model, not for the second."""
    gate = threading.Event()

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            tokens = (model.at(0.0), *model.tokens(" one"), model.at(4.0), model.at(4.0), *model.tokens(" tw"))
            return Generation(tokens, -0.2, 0.0)
        assert gate.wait(10)
        return writing(" two", until_s=5.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        events = engine.transcriber.transcribe(engine.recording(loud(10)), ENGLISH)
        first = await asyncio.wait_for(anext(events), 5)
        gate.set()
        assert [first.text, *[event.text async for event in events]] == [" one", " two", "one two"]


async def test_a_chunk_is_continued_a_limited_number_of_times():
    """A model that stops after half a second each time costs 16 windows. The last one keeps its unfinished segment."""

    def script(model: FakeModel, *_: object) -> Generation:
        stopped = (model.at(0.0), *model.tokens(" a"), model.at(0.5), model.at(0.5), *model.tokens(" b"))
        return Generation(stopped, -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(28)), ENGLISH)
    assert len(engine.model.calls_of("generate")) == 16
    assert [segment.text for segment in transcript.segments] == [" a"] * 16 + [" b"]
    assert transcript.segments[-1].end == 28


@pytest.mark.parametrize(
    "rest",
    [writing(" hm", avg_logprob=-1.5, no_speech_prob=0.9), writing(""), writing(" to", until_s=3.0)],
    ids=["silent", "empty", "shorter"],
)
async def test_what_was_heard_once_is_not_lost_when_it_is_heard_again(rest: Script):
    """Where the second hearing gives nothing, or ends before the first did, the first one stands."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            one, two = model.tokens(" one"), model.tokens(" too")
            tokens = (model.at(0.0), *one, model.at(9.0), model.at(9.0), *two, model.at(14.0), model.at(14.0))
            return Generation((*tokens, *model.tokens(" thr")), -0.2, 0.0)
        return rest(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert [(each.text, each.start, each.end) for each in transcript.segments] == [(" one", 0, 9), (" too", 9, 14)]


@pytest.mark.parametrize("said", [" one two, three", "one two, three"], ids=["spaced", "without its first space"])
async def test_words_are_timed_within_their_recording(said: str):
    """In order, each within its segment, together the segment's text."""
    async with engine_around(FakeModel(writing(said, until_s=9.0))) as engine:
        options = DecodingOptions(vad_filter=False, language="en", word_timestamps=True)
        transcript = await engine.transcript(engine.recording(loud(10)), options)
    (segment,) = transcript.segments
    assert segment.words is not None
    assert [word.word for word in segment.words] == [" one", " two,", " three"]
    assert segment.text == " one two, three"
    times = [time for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert (segment.start, segment.end) == (times[0], times[-1])


def test_a_word_of_no_length_at_a_seam_does_not_end_before_it_begins():
    """Where a pause was left out, an end belongs before it and a beginning after it."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(0, 2 * RATE), SpeechSpan(10 * RATE, 12 * RATE)))
    before, between = place_words((Word(" a", 1.0, 2.0, 0.9), Word(" b", 2.0, 2.0, 0.9)), chunk)
    assert (before.start, before.end) == (1.0, 2.0)
    assert between.start == between.end == 10.0


def test_a_word_that_reaches_over_a_seam_does_not_last_through_the_pause():
    """Alignment is off by some frames; what was left out lies on one side of the word or the other."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(0, 2 * RATE), SpeechSpan(62 * RATE, 64 * RATE)))
    late = place_words((Word(" a", 1.5, 2.02, 0.9), Word(" b", 2.02, 2.5, 0.9)), chunk)
    assert [(word.start, word.end) for word in late] == [(1.5, 2.0), (pytest.approx(62.02), 62.5)]
    early = place_words((Word(" a", 1.5, 1.98, 0.9), Word(" b", 1.98, 2.5, 0.9)), chunk)
    assert [(word.start, word.end) for word in early] == [(1.5, 1.98), (62.0, 62.5)]


@pytest.mark.parametrize(
    ("segment", "placed"),
    [
        ((0.0, 1.9), (0.0, 1.9)),
        ((1.9, 3.8), (62.0, 63.8)),
        ((0.5, 2.3), (0.5, 2.0)),
        ((2.1, 3.0), (62.1, 63.0)),
        ((1.0, 3.0), (1.0, 63.0)),
        ((1.9, 2.05), (1.9, 2.0)),
        ((1.95, 2.3), (62.0, 62.3)),
    ],
)
def test_a_segment_begins_and_ends_where_there_is_speech(segment, placed):
    """Not in the quiet that is kept beside a pause which was left out."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(0, 2 * RATE), SpeechSpan(62 * RATE, 64 * RATE)))
    assert chunk.to_source_span(segment[0], segment[1], 0.4) == pytest.approx(placed)


def test_where_nothing_was_left_out_no_time_is_moved():
    """Two spans may touch: there the speech goes on."""
    chunk = Chunk(np.ones(4 * RATE, np.float32), (SpeechSpan(RATE, 3 * RATE), SpeechSpan(3 * RATE, 5 * RATE)))
    (word,) = place_words((Word(" a", 1.9, 2.3, 0.9),), chunk)
    assert (word.start, word.end) == pytest.approx((2.9, 3.3))
    for segment in ((1.7, 3.0), (0.5, 2.3), (1.9, 2.1)):
        assert chunk.to_source_span(*segment, 0.4) == pytest.approx((segment[0] + 1, segment[1] + 1))


async def test_words_end_before_what_is_heard_again():
    """A window that broke off: what stands was timed with the sound of all of it."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            return Generation((model.at(0.0), *model.tokens(" one two"), model.at(2.0), model.at(2.0)), -0.2, 0.0)
        return writing(" three", until_s=10.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        options = DecodingOptions(vad_filter=False, language="en", word_timestamps=True)
        transcript = await engine.transcript(engine.recording(loud(20)), options)
    times = [time for segment in transcript.segments for word in segment.words or () for time in (word.start, word.end)]
    assert times == sorted(times)
    assert [segment.end for segment in transcript.segments[:-1]] == [2.0]


class TestShortContext:
    """The encoder gets the speech and a margin, and the guards send doubtful windows round at full context."""

    async def test_a_short_clip_is_encoded_short(self):
        """5 s of speech and a margin of 6 s take 11 s of context, rounded up to a step, not 30."""
        async with engine_around(FakeModel(), margin_s=6.0) as engine:
            await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152]

    @pytest.mark.parametrize(
        ("speech_s", "n_frames"), [(0.1, 832), (2.0, 832), (11.0, 1728), (25.0, 2976), (29.7, 2976), (29.8, 3000)]
    )
    def test_a_context_has_its_least_its_steps_and_its_most(self, speech_s, n_frames):
        """8 s, however short the speech; steps of 0.64 s; 29.76 s, or 30 s for speech that is longer."""
        assert context_frames(speech_s, 6.0) == n_frames
        assert context_frames(speech_s, None) == 3000

    async def test_text_begun_after_the_speech_and_not_ended_is_doubtful(self):
        """It begins where the model says, not where the segment before it ended."""

        def script(model: FakeModel, encoding: Encoding, *_: object) -> Generation:
            right = (model.at(0.0), *model.tokens(" yes"), model.at(4.6))
            late = (model.at(6.0), *model.tokens(" thank you"))
            return Generation((*right, *(late if len(encoding) < 1500 else ())), -0.2, 0.0)

        async with engine_around(FakeModel(script), margin_s=2.5) as engine:
            transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [832, 3000]
        assert transcript.text == "yes"

    async def test_where_the_full_context_only_loops_the_short_one_s_words_stand(self):
        """They were right as far as the speech went."""

        def script(model: FakeModel, encoding: Encoding, *others: Any) -> Generation:
            if len(encoding) == 1500:
                return writing(" la" * 60, until_s=5.0)(model, encoding, *others)
            right = (model.at(0.0), *model.tokens(" yes it is"), model.at(5.0))
            return Generation((*right, model.at(5.2), *model.tokens(" thank you"), model.at(6.0)), -0.2, 0.0)

        async with engine_around(FakeModel(script), margin_s=2.5) as engine:
            transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert transcript.text == "yes it is"

    @pytest.mark.parametrize(
        "doubtful", [writing(" la" * 60), writing(" hm", avg_logprob=-1.5)], ids=["repetitive", "unlikely"]
    )
    async def test_a_doubtful_window_is_encoded_in_full(self, doubtful):
        """And decoded again at temperature 0 before any sampling."""

        def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
            return (doubtful if len(encoding) < 1500 else writing(" yes"))(model, encoding, prompt, options)

        async with engine_around(FakeModel(script), margin_s=6.0) as engine:
            transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152, 3000]
        assert (transcript.text, transcript.segments[0].temperature) == ("yes", 0.0)

    async def test_what_had_nearly_30_s_is_not_encoded_again(self):
        """A long window's context cannot grow by anything that matters: it is decoded hotter at once."""

        def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
            said = writing(" la" * 60, until_s=25.0) if options.temperature == 0 else writing(" fine")
            return said(model, encoding, prompt, options)

        async with engine_around(FakeModel(script), margin_s=6.0) as engine:
            await engine.transcript(engine.recording(loud(25)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [2976]
        assert [call.options.temperature for call in engine.model.calls_of("generate") if call.options] == [0.0, 0.2]

    async def test_text_after_the_speech_has_ended_is_doubtful(self):
        """A segment that starts in the margin is dropped, and the window done again."""

        def script(model: FakeModel, encoding: Encoding, *_: object) -> Generation:
            late = (model.at(7.0), *model.tokens(" and"), model.at(9.0)) if len(encoding) < 1500 else ()
            return Generation((model.at(0.0), *model.tokens(" yes"), model.at(5.0), *late), -0.2, 0.0)

        async with engine_around(FakeModel(script), margin_s=6.0) as engine:
            transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152, 3000]
        assert transcript.text == "yes"

    @pytest.mark.parametrize(
        ("text", "end_s"),
        [(" and once more the very same words that were said before them," * 2, 5.0), (" yes, it is", 7.5)],
        ids=["hasty", "overhanging"],
    )
    async def test_a_segment_that_cannot_have_been_said_is_doubtful(self, text, end_s):
        """More in its time than anyone says, or lasting long past the speech's end."""

        def script(model: FakeModel, encoding: Encoding, *_: object) -> Generation:
            in_full = len(encoding) == 1500
            said = model.tokens(" yes" if in_full else text)
            begin_s, until_s = (0.0, 5.0) if in_full else (3.0, end_s)
            return Generation((model.at(begin_s), *said, model.at(until_s)), -0.2, 0.0)

        async with engine_around(FakeModel(script), margin_s=6.0) as engine:
            transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152, 3000]
        assert transcript.text == "yes"

    @pytest.mark.parametrize(
        ("end_s", "text"),
        [(5.0, " and some fifty characters in a second, as one may."), (6.9, " yes, it is")],
        ids=["quick", "rounded up"],
    )
    async def test_quick_speech_and_a_rounded_end_are_not_doubtful(self, end_s, text):
        def script(model: FakeModel, *_: object) -> Generation:
            return Generation((model.at(4.0), *model.tokens(text), model.at(end_s)), -0.2, 0.0)

        async with engine_around(FakeModel(script), margin_s=6.0) as engine:
            await engine.transcript(engine.recording(loud(5)), ENGLISH)
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152]

    async def test_the_operators_length_holds_for_all(self):
        """For what would fit one window, and for contexts that are full."""
        async with engine_around(FakeModel(), chunk_s=10) as engine:
            transcript = await engine.transcript(engine.recording(loud(28)), ENGLISH)
        starts = [segment.window_start for segment in transcript.segments]
        assert len(starts) >= 3
        assert all(after - before <= 10 for before, after in pairwise([*starts, 28]))

    async def test_what_fits_one_window_is_not_cut(self):
        async with engine_around(FakeModel(), margin_s=2.5) as engine:
            await engine.transcript(engine.recording(loud(28)), ENGLISH)
        assert len(engine.model.calls_of("encode")) == 1

    @pytest.mark.parametrize("length_s", [66, 140])
    async def test_a_long_recording_has_windows_of_15_s(self, length_s):
        """From its beginning to its end, also where its last block (they are of 60 s) would fit one window."""
        async with engine_around(FakeModel(), margin_s=2.5) as engine:
            transcript = await engine.transcript(engine.recording(loud(length_s)), ENGLISH)
        starts = [segment.window_start for segment in transcript.segments]
        assert starts[0] == 0
        assert all(7 < after - before <= 15 for before, after in pairwise(starts))
        assert length_s - starts[-1] <= 15
        assert max(call.n_frames for call in engine.model.calls_of("encode")) <= 1792

    @pytest.mark.parametrize(
        "options",
        [{"word_timestamps": True}, {"task": "translate"}, {"timestamps": False}, {"language_per_chunk": True}, {}],
        ids=["words", "translation", "no timestamps", "languages", "a full context"],
    )
    async def test_full_contexts_are_filled(self, options):
        """They cost 30 s each, so a recording has as few as can be; and languages are told apart within them."""
        async with engine_around(FakeModel(), margin_s=2.5 if options else None) as engine:
            await engine.transcript(engine.recording(loud(58)), replace(ENGLISH, **options))
        assert len(engine.model.calls_of("generate")) <= 3

    @pytest.mark.parametrize(
        "options",
        [{"word_timestamps": True}, {"task": "translate"}, {"timestamps": False}],
        ids=["words", "translation", "no timestamps"],
    )
    async def test_what_would_suffer_gets_the_whole_context(self, options):
        """Alignment and translation are worse with less; without timestamps there are no guards."""
        async with engine_around(FakeModel(), margin_s=6.0) as engine:
            await engine.transcript(engine.recording(loud(5)), replace(ENGLISH, **options))
        assert [call.n_frames for call in engine.model.calls_of("encode")] == [3000]


async def test_what_is_not_audio_is_refused():
    """By the decoder, before the model is asked."""
    async with engine_around(FakeModel()) as engine:
        with pytest.raises(UnsupportedAudio):
            await engine.transcript(engine.file(b"no audio at all"), ENGLISH)
    assert engine.model.calls == []


async def test_a_window_that_always_fails_fails_its_request_alone():
    """The neighbour in the queue is answered."""

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


async def test_a_deadline_ends_a_request_that_waits():
    """With DeadlineExceeded, not with silence."""
    gate = threading.Event()
    async with engine_around(FakeModel(before=lambda _: gate.wait(10))) as engine:
        running = asyncio.create_task(engine.transcript(engine.recording(loud(5)), ENGLISH))
        await until(lambda: bool(engine.model.calls))
        events = engine.events(engine.recording(loud(5)), ENGLISH, time.monotonic() - 1)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: engine.scheduler.depth == 1)
        gate.set()
        with pytest.raises(DeadlineExceeded):
            await waiting
        await running


async def test_nobody_waits_for_an_engine_that_ended():
    """A request under way gets EngineStopped."""
    gate = threading.Event()
    async with engine_around(FakeModel(before=lambda _: gate.wait(10))) as engine:
        tasks = [asyncio.create_task(engine.transcript(engine.recording(loud(5)), ENGLISH)) for _ in range(2)]
        await until(lambda: len(engine.model.calls) == 1 and engine.scheduler.depth == 1)
        engine.scheduler.stop()
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, EngineStopped) for result in results)
