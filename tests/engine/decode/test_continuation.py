"""Windows in which the model stops before the end: the rest gets a window of its own."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.options import DecodingOptions
from engines import engine_around, loud
from fakes import FakeModel, writing

ENGLISH = DecodingOptions(vad_filter=False, language="en")


@pytest.mark.parametrize("begun", ["", " re"])
async def test_the_model_may_stop_in_the_first_second(begun: str):
    """The rest gets a window of its own."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            cut = (model.at(0.9), model.at(0.9))
            return Generation((model.at(0.0), *model.tokens(" a"), *cut, *model.tokens(begun)), -0.2, 0.0)
        return writing(" rest", until_s=5.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(25)), ENGLISH)
    assert [(segment.text, segment.start) for segment in transcript.segments] == [(" a", 0.0), (" rest", 0.9)]


async def test_the_rest_of_a_window_gets_a_window_of_its_own():
    """The model stops at 4 s of 10 s. The rest is decoded with its own times, and its prompt has the text before it."""

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
    one = (engine.model.at(0.0), *engine.model.tokens(" one"), engine.model.at(4.0))
    assert rest == (engine.model.tokenizer.token_to_id("<|startofprev|>"), *one, *first)


async def test_kept_segments_are_yielded_before_the_rest_is_decoded():
    """A reader of a stream waits for one call of the model and not for two."""
    gate = threading.Event()

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) == 1:
            tokens = (model.at(0.0), *model.tokens(" one"), model.at(4.0), model.at(4.0), *model.tokens(" tw"))
            return Generation(tokens, -0.2, 0.0)
        assert gate.wait(60)
        return writing(" two", until_s=5.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        events = engine.transcriber.transcribe(engine.recording(loud(10)), ENGLISH)
        first = await asyncio.wait_for(anext(events), 30)
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


async def test_all_windows_of_a_chunk_share_32_attempts():
    """A model that stops after half a second each time, with a text that every attempt rejects, costs four windows."""

    def script(model: FakeModel, *_: object) -> Generation:
        stopped = (model.at(0.0), *model.tokens(" a"), model.at(0.5), model.at(0.5), *model.tokens(" b"))
        return Generation(stopped, -2.0, 0.0)

    async with engine_around(FakeModel(script), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert len(engine.model.calls_of("generate")) == 32
    assert transcript.segments[-1].end == 20


async def test_kept_words_end_before_the_rest():
    """They were aligned with the sound of the whole window, so some may lie in the rest."""

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
