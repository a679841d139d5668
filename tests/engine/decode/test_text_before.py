"""condition_on_previous_text: the text of earlier windows in the prompt, and how errors in it are contained."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from asr_service.engine.decode.text_before import PreviousText, TextBefore
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.options import DecodingOptions
from asr_service.errors import InferenceFailed
from asr_service.transcript import Segment
from engines import engine_around, loud
from fakes import FakeModel, Script

CONDITIONED = DecodingOptions(vad_filter=False, language="en", condition_on_previous_text=True)
SENTENCES = (" The first one.", " Two more.", " Third.", " Four.", " Five boats.", " Six.", " Rain.", " Eight.")
"""Four of them fit the prompt."""


def heard(tokens: tuple[int, ...], **changes: float | str) -> Segment:
    segment = Segment(0, 0.0, 1.0, "", tokens, -0.2, 0.0, 1.2, 0.0, "en")
    return replace(segment, **changes)  # type: ignore[arg-type] # a test names any field


def whole_window(model: FakeModel, text: str) -> Generation:
    return Generation((model.at(0.0), *model.tokens(text)), -0.2, 0.01)


def in_turn(*texts: str) -> Script:
    """Return a script that writes one text after the other, one a window, and remembers where it is."""
    waiting = iter(texts)

    def script(model: FakeModel, *_: object) -> Generation:
        return whole_window(model, next(waiting))

    return script


def prompts(model: FakeModel) -> list[str]:
    """Return the text before `<|startoftranscript|>` in each prompt."""
    start = model.tokenizer.token_to_id("<|startoftranscript|>")
    tokens = [prompt for call in model.calls_of("generate") for prompt in call.prompts]
    return [model.tokenizer.decode(list(prompt[: prompt.index(start)])) for prompt in tokens]


async def test_each_window_has_the_text_before_it_in_its_prompt():
    """The windows of the recording are decoded one after the other, although four may be in progress."""
    async with engine_around(FakeModel(in_turn(*SENTENCES)), chunk_s=25.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(80)), CONDITIONED)
    n_windows = len(transcript.segments)
    assert n_windows >= 4
    assert transcript.text == "".join(SENTENCES[:n_windows]).strip()
    assert prompts(engine.model) == ["".join(SENTENCES[:number]) for number in range(n_windows)]


async def test_without_the_option_windows_do_not_know_each_other():
    """They are decoded in parallel."""
    async with engine_around(FakeModel(), chunk_s=25.0) as engine:
        await engine.transcript(engine.recording(loud(80)), replace(CONDITIONED, condition_on_previous_text=False))
    assert set(prompts(engine.model)) == {""}


async def test_the_prompt_of_the_request_comes_first():
    """Hotwords and the initial prompt stay in front of the text before."""
    options = replace(CONDITIONED, initial_prompt="Minutes.")
    async with engine_around(FakeModel(in_turn(*SENTENCES)), chunk_s=25.0) as engine:
        await engine.transcript(engine.recording(loud(40)), options)
    assert prompts(engine.model)[:2] == [" Minutes.", f" Minutes.{SENTENCES[0]}"]


@pytest.mark.parametrize("copy", [SENTENCES[0], f"{SENTENCES[0]} {'la ' * 200}"], ids=["copy", "loop"])
async def test_a_text_that_copies_the_prompt_is_decoded_without_it(copy: str):
    """A model that repeats the text before, or loops because of it, gets the window without that text."""
    spoken = iter(SENTENCES)

    def script(model: FakeModel, _: Encoding, prompt: Sequence[int], __: GenerateOptions) -> Generation:
        is_conditioned = prompt[0] == model.tokenizer.token_to_id("<|startofprev|>")
        return whole_window(model, copy if is_conditioned else next(spoken))

    async with engine_around(FakeModel(script), chunk_s=25.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(40)), CONDITIONED)
    assert transcript.text == "".join(SENTENCES[: len(transcript.segments)]).strip()
    assert prompts(engine.model)[:3] == ["", SENTENCES[0], ""]


async def test_an_interrupted_recording_goes_on_with_the_same_prompts():
    """The segments that are known already are the text before."""
    async with engine_around(FakeModel(in_turn(*SENTENCES)), chunk_s=25.0) as engine:
        file = engine.recording(loud(80))
        whole = await engine.transcript(file, CONDITIONED)
        engine.model.calls.clear()
        engine.model.script = in_turn(*SENTENCES[2:])
        earlier = whole.segments[:3]
        events = [event async for event in engine.transcriber.transcribe(file, CONDITIONED, earlier=earlier)]
    assert events[-1].text == whole.text
    assert prompts(engine.model) == ["".join(SENTENCES[:number]) for number in range(2, len(whole.segments))]


async def test_a_window_that_fails_ends_the_request():
    """The windows that wait for its text do not hang."""

    def fails(call: object) -> None:
        if getattr(call, "stage", "") == "generate":
            raise RuntimeError("no")

    async with engine_around(FakeModel(before=fails), chunk_s=25.0) as engine, asyncio.timeout(60):
        with pytest.raises(InferenceFailed):
            await engine.transcript(engine.recording(loud(80)), CONDITIONED)


@pytest.mark.parametrize(
    "doubt",
    [{"temperature": 0.2}, {"avg_logprob": -1.1}, {"compression_ratio": 2.5}],
    ids=lambda each: next(iter(each)),
)
def test_doubtful_text_is_not_in_a_prompt(doubt: dict[str, float]):
    """Neither is the text before it, so that an error does not go through the whole recording."""
    before = TextBefore((1, 2), "en")
    assert before.followed_by([heard((3,))]).tokens == (1, 2, 3)
    assert before.followed_by([heard((3,), **doubt)]).tokens == ()
    assert before.followed_by([heard((3,), **doubt), heard((4,))]).tokens == (4,)


def test_text_in_another_language_is_not_in_a_prompt():
    """A prompt in another language would change the language of the text."""
    assert TextBefore((1, 2), "en").followed_by([heard((3,), language="fr")]) == TextBefore((3,), "fr")


async def test_a_window_in_another_language_has_no_text_before_it():
    """The first window is in English, and the quieter ones after it are in French."""
    samples = np.concatenate([loud(25), 0.01 * loud(50)])
    model = FakeModel(in_turn(*SENTENCES), detects=lambda encoding: "fr" if encoding[0, 0] < 0 else "en")
    by_window = replace(CONDITIONED, language=None, language_per_chunk=True)
    async with engine_around(model, chunk_s=25.0) as engine:
        transcript = await engine.transcript(engine.recording(samples), by_window)
    languages = [segment.language for segment in transcript.segments]
    first = languages.index("fr")
    assert languages == ["en"] * first + ["fr"] * (len(languages) - first)
    assert prompts(model)[first - 1 :][:3] == ["".join(SENTENCES[: first - 1]), "", SENTENCES[first]]


def test_only_the_end_of_a_long_text_is_kept():
    """Each token of a prompt makes each step of the decoder slower."""
    tokens = TextBefore().followed_by(heard((number,)) for number in range(9999)).tokens
    assert tokens == tuple(range(9903, 9999))


async def test_a_cancelled_window_releases_those_that_wait():
    """Its future is cancelled, so nothing waits for it."""

    async def decoding() -> AsyncGenerator[list[Segment]]:
        yield [heard((1,))]
        await asyncio.Event().wait()

    previous = PreviousText()
    window = previous.follow(decoding())
    await anext(window)
    await window.aclose()
    assert previous.before_next.cancelled()
