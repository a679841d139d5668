"""Decoding with fallback: which attempts are made, and which of them is chosen."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from asr_service.audio.features import FULL_CONTEXT
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.options import DecodingOptions
from engines import engine_around, loud
from fakes import FakeModel, writing

ENGLISH = DecodingOptions(vad_filter=False, language="en")


async def test_a_rejected_window_is_sampled_at_higher_temperatures():
    """Its text is rejected at 0, with and without the text before it, and at 0.2. The other window has one attempt."""
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
    assert n_tries == 4
    assert [segment.temperature for segment in transcript.segments] == [0.0, 0.4]
    assert {
        call.n_windows for call in engine.model.calls_of("generate") if call.options and call.options.temperature
    } == {1}


@pytest.mark.parametrize(("n_times", "until_s"), [(60, 6.0), (80, None)], ids=["too fast", "without end"])
async def test_a_loop_is_decoded_again_with_a_repetition_penalty(n_times: int, until_s: float | None):
    """A loop is too fast or hits the token limit. Sampling would need five attempts, so it comes after the penalty."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if options.repetition_penalty > 1:
            return writing(" fine", until_s=20.0)(model, encoding, prompt, options)
        right, loop = (model.at(0.0), *model.tokens(" yes"), model.at(4.0)), model.tokens(" la" * n_times)
        return Generation((*right, model.at(4.0), *loop, *([model.at(until_s)] if until_s else [])), -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert [call.options.temperature for call in engine.model.calls_of("generate") if call.options] == [0.0, 0.0]
    assert transcript.text == "fine"


async def test_a_loop_without_end_is_detected_by_bytes_too():
    """Georgian takes two or more tokens a letter, so the token limit leaves space for three repetitions at most."""
    sentence = "გამარჯობა, როგორ ხართ დღეს ბატონო, "
    georgian = FakeModel(lambda model, *_: Generation((model.at(0.0), *model.tokens(sentence * 3)), -0.2, 0.0))
    async with engine_around(georgian) as engine:
        await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert 1.2 in {call.options.repetition_penalty for call in georgian.calls_of("generate") if call.options}


@pytest.mark.parametrize("heard", [" Seven of clubs.", " Seven of clubs. Seven of clubs."], ids=["once", "twice"])
async def test_a_text_that_stands_twice_after_a_prompt_is_heard_again_at_full_context(heard: str):
    """What the full context hears is the answer, also if it was really said twice. No temperature follows."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        text = heard if 2 * len(encoding) >= FULL_CONTEXT else " Seven of clubs. Seven of clubs."
        return writing(text, until_s=3.0)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(3)), replace(ENGLISH, initial_prompt="Cards."))
    assert [call.n_frames for call in engine.model.calls_of("generate")] == [1024, FULL_CONTEXT]
    assert transcript.text == heard.strip()


async def test_a_text_that_stands_twice_without_a_prompt_is_decoded_once():
    """People repeat words, and without a prompt the model does not write them twice. So no second attempt follows."""
    twice = FakeModel(writing(" Seven of clubs. Seven of clubs.", until_s=3.0))
    async with engine_around(twice, margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(3)), ENGLISH)
    assert len(twice.calls_of("generate")) == 1
    assert transcript.text == "Seven of clubs. Seven of clubs."


async def test_a_text_that_stands_twice_too_fast_loses():
    """Both copies together have more letters than can be said in the time, so sampling follows."""
    twice = writing(" the vixen jumps" * 2, until_s=1.0, avg_logprob=-0.1)
    once = writing(" the vixen jumps", until_s=1.0)

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        return (once if options.temperature else twice)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        assert (await engine.transcript(engine.recording(loud(1)), ENGLISH)).text == "the vixen jumps"


async def test_an_impossible_speech_rate_loses_against_an_unlikely_text():
    """If all attempts are rejected, one with too many words is not chosen, however likely it is."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        too_fast = writing(" pack my box with five dozen liquor jugs how vexingly", until_s=0.2, avg_logprob=-0.2)
        unlikely = writing(" perhaps", until_s=5.0, avg_logprob=-1.1)
        return (unlikely if options.temperature else too_fast)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        assert (await engine.transcript(engine.recording(loud(5)), ENGLISH)).text == "perhaps"


async def test_text_after_the_speech_is_dropped_without_a_retry_at_full_context():
    """There is no longer context to try, and no rule of Whisper rejects the text."""

    def script(model: FakeModel, *_: object) -> Generation:
        right = (model.at(0.0), *model.tokens(" yes"), model.at(5.0))
        return Generation((*right, model.at(7.0), *model.tokens(" thank you"), model.at(7.2)), -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert len(engine.model.calls_of("generate")) == 1
    assert transcript.text == "yes"


async def test_a_loop_after_the_speech_is_dropped_without_a_retry():
    """The rules measure only the text that is kept."""

    def script(model: FakeModel, *_: object) -> Generation:
        right = (model.at(0.0), *model.tokens(" yes"), model.at(5.0))
        return Generation((*right, model.at(5.4), *model.tokens(" la" * 60), model.at(9.0)), -0.2, 0.0)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert len(engine.model.calls_of("generate")) == 1
    assert transcript.text == "yes"


async def test_repetition_at_the_pace_of_speech_gets_no_penalty():
    """The text was spoken like this, and a penalty would invent other words."""
    menu = FakeModel(writing(" la" * 60, until_s=20.0))
    async with engine_around(menu) as engine:
        await engine.transcript(engine.recording(loud(20)), ENGLISH)
    assert {call.options.repetition_penalty for call in menu.calls_of("generate") if call.options} == {1.0}


@pytest.mark.parametrize("text", [" no", " la" * 80], ids=["improbable", "loop"])
async def test_a_requested_temperature_is_the_only_one(text: str):
    """Above 0 there is no fallback."""
    async with engine_around(FakeModel(writing(text, avg_logprob=-3.0))) as engine:
        options = DecodingOptions(vad_filter=False, language="en", temperature=0.3)
        transcript = await engine.transcript(engine.recording(loud(5)), options)
    assert [call.options.temperature for call in engine.model.calls_of("generate") if call.options] == [0.3]
    assert transcript.text == text.strip()


async def test_the_most_likely_attempt_is_taken_if_all_are_rejected():
    """Attempts that repeat themselves are left out, since repetition makes a text likely."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        likely = -1.2 if options.temperature == 0.6 else -2.0
        if options.temperature == 0.2:
            return writing(" la" * 50, until_s=5.0, avg_logprob=-0.1)(model, encoding, prompt, options)
        return writing(f" t{options.temperature}", avg_logprob=likely)(model, encoding, prompt, options)

    async with engine_around(FakeModel(script)) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.text == "t0.6"


@pytest.mark.parametrize(("text", "kept"), [(" . . . .", ""), (" ...", ""), (" 。", ""), (" ♪", "♪"), (" 5", "5")])
async def test_a_segment_of_punctuation_alone_is_dropped(text: str, kept: str):
    """The model writes such a text for music and noise."""
    async with engine_around(FakeModel(writing(text, avg_logprob=-0.8))) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.text == kept
    assert len(transcript.segments) == bool(kept)


async def test_a_window_without_speech_has_no_text():
    """An unlikely text with a high no-speech probability is dropped, without a retry."""
    async with engine_around(FakeModel(writing(" thank you", avg_logprob=-1.5, no_speech_prob=0.9))) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.segments == ()
    assert len(engine.model.calls_of("generate")) == 1
