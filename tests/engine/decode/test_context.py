"""Short contexts: the encoder gets the speech and a margin, and rejected windows are decoded again at full context."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import REGISTRY

from asr_service.engine.decode.context import ChunkLengths, chunk_lengths, context_frames
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.options import DecodingOptions
from engines import engine_around, loud
from fakes import FakeModel, writing

ENGLISH = DecodingOptions(vad_filter=False, language="en")


def times_again(reason: str) -> float:
    """Return how many windows were decoded again for this reason, by the metric."""
    return REGISTRY.get_sample_value("asr_fallbacks_total", {"reason": reason}) or 0.0


def rejected_unless_full(model: FakeModel, encoding: Encoding, *others: Any) -> Generation:
    """Write a loop, which the rules reject, for every context but the full one."""
    return writing(" yes" if len(encoding) == 1500 else " la" * 60)(model, encoding, *others)


async def test_a_short_clip_has_a_short_context():
    """5 s of speech and a margin of 6 s need 11 s of context, rounded up to a step."""
    async with engine_around(FakeModel(), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152]


@pytest.mark.parametrize(
    ("speech_s", "n_frames"), [(0.1, 1024), (2.0, 1024), (11.0, 1728), (25.0, 2976), (29.7, 2976), (29.8, 3000)]
)
def test_a_context_has_a_minimum_steps_and_a_maximum(speech_s, n_frames):
    """At least 10 s, in steps of 0.64 s, up to 29.76 s. Longer speech gets 30 s."""
    assert context_frames(speech_s, 6.0) == n_frames
    assert context_frames(speech_s, None) == 3000


def test_a_part_of_a_recording_has_a_small_margin():
    """15 s of speech get 2.5 s more, or a shorter margin that the operator chose."""
    assert context_frames(15.0, 6.0, is_part=True) == 1792
    assert context_frames(15.0, 1.0, is_part=True) == 1600
    assert context_frames(15.0, None, is_part=True) == 3000


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        (DecodingOptions(), (60.0, 22.0, 30.0)),
        (DecodingOptions(task="translate"), (30.0, 30.0, 30.0)),
        (DecodingOptions(timestamps=False), (30.0, 30.0, 30.0)),
        (DecodingOptions(language_per_chunk=True), (30.0, 30.0, 30.0)),
    ],
)
def test_only_transcripts_with_timestamps_have_sections(options, lengths):
    """The lengths of a section, and of a window with a short and with the full context. The operator's limit is all."""
    section_s, short_s, full_s = lengths
    for margin_s, window_s in ((6.0, short_s), (None, full_s)):
        assert chunk_lengths(options, margin_s, None) == ChunkLengths(30.0, window_s, section_s)
        assert chunk_lengths(options, margin_s, 20.0) == ChunkLengths(20.0, 20.0, 20.0)


@pytest.mark.parametrize(("length_s", "n_frames"), [(28, 2976), (40, 2496)])
async def test_only_a_recording_of_one_window_has_the_whole_margin(length_s, n_frames):
    """28 s are one window. 40 s are several windows of at most 22 s."""
    async with engine_around(FakeModel(), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(length_s)), ENGLISH)
    contexts = [call.n_frames for call in engine.model.calls_of("encode")]
    assert max(contexts) <= n_frames
    assert (len(contexts) > 1) == (length_s > 30)


async def test_an_unfinished_segment_after_the_speech_needs_the_full_context():
    """The segment starts at its own timestamp, and not at the end of the segment before it."""

    def script(model: FakeModel, encoding: Encoding, *_: object) -> Generation:
        right = (model.at(0.0), *model.tokens(" yes"), model.at(4.6))
        late = (model.at(6.0), *model.tokens(" thank you"))
        return Generation((*right, *(late if len(encoding) < 1500 else ())), -0.2, 0.0)

    async with engine_around(FakeModel(script), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1024, 3000]
    assert transcript.text == "yes"


async def test_a_loop_at_full_context_loses_against_the_short_context():
    """The text of the short context was right up to the end of the speech."""

    def script(model: FakeModel, encoding: Encoding, *others: Any) -> Generation:
        if len(encoding) == 1500:
            return writing(" la" * 60, until_s=5.0)(model, encoding, *others)
        right = (model.at(0.0), *model.tokens(" yes it is"), model.at(5.0))
        return Generation((*right, model.at(5.2), *model.tokens(" thank you"), model.at(6.0)), -0.2, 0.0)

    async with engine_around(FakeModel(script), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.text == "yes it is"


@pytest.mark.parametrize(
    "rejected", [writing(" la" * 60), writing(" hm", avg_logprob=-1.5)], ids=["repetitive", "improbable"]
)
async def test_a_rejected_window_is_encoded_again_at_full_context(rejected):
    """It is decoded there at temperature 0, before any sampling."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        return (rejected if len(encoding) < 1500 else writing(" yes"))(model, encoding, prompt, options)

    async with engine_around(FakeModel(script), margin_s=6.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152, 3000]
    assert (transcript.text, transcript.segments[0].temperature) == ("yes", 0.0)


@pytest.mark.parametrize(
    ("short_logprob", "longer_logprob", "contexts", "text"),
    [
        (-0.59, -0.1, [1152], "short"),
        (-0.61, -0.6, [1152, 2048], "longer"),
        (-0.61, -0.7, [1152, 2048], "short"),
        (-0.99, -1.1, [1152, 2048], "short"),
    ],
    ids=["sure", "doubtful", "more doubtful with more context", "rejected with more context"],
)
async def test_a_doubtful_window_is_decoded_again_with_a_longer_context(short_logprob, longer_logprob, contexts, text):
    """A text that the model is sure of stays. Of two others the likelier one is the answer; no temperature follows."""

    def script(model: FakeModel, encoding: Encoding, *others: Any) -> Generation:
        short, longer = writing(" short", avg_logprob=short_logprob), writing(" longer", avg_logprob=longer_logprob)
        return (longer if len(encoding) == 1024 else short)(model, encoding, *others)

    before = times_again("doubtful")
    async with engine_around(FakeModel(script), margin_s=6.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == contexts
    assert [call.n_frames for call in engine.model.calls_of("generate")] == contexts
    assert transcript.text == text
    assert times_again("doubtful") - before == len(contexts) - 1


async def test_long_doubtful_speech_is_not_decoded_again():
    """Its context is long enough already."""
    async with engine_around(FakeModel(writing(" hm", until_s=12.5, avg_logprob=-0.9)), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(12.5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1856]


async def test_a_doubtful_translation_is_not_decoded_again():
    """Translations are less likely than transcripts, and a longer context does not improve them."""
    async with engine_around(FakeModel(writing(" hm", avg_logprob=-0.9)), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(5)), replace(ENGLISH, task="translate"))
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152]


async def test_a_rejected_translation_is_decoded_again_at_full_context():
    """The checks of a short context hold for translations too."""
    async with engine_around(FakeModel(rejected_unless_full), margin_s=6.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), replace(ENGLISH, task="translate"))
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152, 3000]
    assert transcript.text == "yes"


async def test_a_silent_window_is_not_decoded_again():
    """An unlikely text with a high no-speech probability is silence, and not doubtful speech."""
    silent = writing(" you", avg_logprob=-1.2, no_speech_prob=0.9)
    async with engine_around(FakeModel(silent), margin_s=6.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.segments == ()
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152]


async def test_silence_in_a_longer_context_silences_a_doubtful_window():
    """The model invented words in a noise that it takes for silence when it sees 20 s."""

    def script(model: FakeModel, encoding: Encoding, *others: Any) -> Generation:
        silent = writing(" you", avg_logprob=-1.2, no_speech_prob=0.9)
        return (silent if len(encoding) == 1024 else writing(" you", avg_logprob=-0.8))(model, encoding, *others)

    async with engine_around(FakeModel(script), margin_s=6.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert transcript.segments == ()


async def test_a_context_of_nearly_30_s_is_not_encoded_again():
    """A full context would add too little. Sampling follows at once."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        chosen = writing(" la" * 60, until_s=25.0) if options.temperature == 0 else writing(" fine")
        return chosen(model, encoding, prompt, options)

    async with engine_around(FakeModel(script), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(25)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [2976]
    assert [call.options.temperature for call in engine.model.calls_of("generate") if call.options] == [0.0, 0.2]


async def test_a_segment_after_the_speech_needs_the_full_context():
    """A segment that starts in the padding is dropped, and the window is decoded again."""

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
    ids=["too fast", "too late"],
)
async def test_an_impossible_segment_needs_the_full_context(text, end_s):
    """It has more characters than its duration allows, or ends long after the speech."""

    def script(model: FakeModel, encoding: Encoding, *_: object) -> Generation:
        in_full = len(encoding) == 1500
        tokens = model.tokens(" yes" if in_full else text)
        begin_s, until_s = (0.0, 5.0) if in_full else (3.0, end_s)
        return Generation((model.at(begin_s), *tokens, model.at(until_s)), -0.2, 0.0)

    async with engine_around(FakeModel(script), margin_s=6.0) as engine:
        transcript = await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152, 3000]
    assert transcript.text == "yes"


@pytest.mark.parametrize(
    ("end_s", "text"),
    [(5.0, " and some fifty characters in a second, as one may."), (6.9, " yes, it is")],
    ids=["fast", "rounded up"],
)
async def test_fast_speech_and_a_rounded_end_are_accepted(end_s, text):
    """Limits have a tolerance for both."""

    def script(model: FakeModel, *_: object) -> Generation:
        return Generation((model.at(4.0), *model.tokens(text), model.at(end_s)), -0.2, 0.0)

    async with engine_around(FakeModel(script), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(5)), ENGLISH)
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [1152]


async def test_the_configured_chunk_length_limits_all_windows():
    """It limits recordings that would fit into one window, and full contexts."""
    async with engine_around(FakeModel(), chunk_s=10) as engine:
        transcript = await engine.transcript(engine.recording(loud(28)), ENGLISH)
    starts = [segment.window_start for segment in transcript.segments]
    assert len(starts) >= 3
    assert all(after - before <= 10 for before, after in pairwise([*starts, 28]))


async def test_a_recording_that_fits_into_one_window_is_not_split():
    """28 s of speech are encoded once."""
    async with engine_around(FakeModel(), margin_s=2.5) as engine:
        await engine.transcript(engine.recording(loud(28)), ENGLISH)
    assert len(engine.model.calls_of("encode")) == 1


@pytest.mark.parametrize("length_s", [66, 140])
async def test_a_long_recording_has_windows_of_22_s(length_s):
    """All its windows are short, also those of the last block, which would fit into one window."""
    async with engine_around(FakeModel(), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(length_s)), ENGLISH)
    starts = [segment.window_start for segment in transcript.segments]
    assert starts[0] == 0
    assert all(7 < after - before <= 22 for before, after in pairwise(starts))
    assert length_s - starts[-1] <= 22
    assert max(call.n_frames for call in engine.model.calls_of("encode")) <= 2496


@pytest.mark.parametrize(
    "options",
    [{"timestamps": False}, {"task": "translate"}, {"language_per_chunk": True}, {}],
    ids=["no timestamps", "translation", "languages", "a full context"],
)
async def test_full_contexts_have_long_windows(options):
    """Each costs 30 s, so a recording has few of them. Translation and detection per chunk have long windows too."""
    async with engine_around(FakeModel(), margin_s=2.5 if options else None) as engine:
        await engine.transcript(engine.recording(loud(58)), replace(ENGLISH, **options))
    assert len(engine.model.calls_of("generate")) <= 3


async def test_decoding_without_timestamps_has_the_full_context():
    """The checks of a short context need timestamps."""
    async with engine_around(FakeModel(), margin_s=6.0) as engine:
        await engine.transcript(engine.recording(loud(5)), replace(ENGLISH, timestamps=False))
    assert [call.n_frames for call in engine.model.calls_of("encode")] == [3000]


@pytest.mark.parametrize("length_s", [5, 66])
async def test_word_times_cost_one_call_for_each_window(length_s):
    """The windows and their contexts are those of a request without word times, so the text is the same too."""
    calls = []
    for word_timestamps in (False, True):
        async with engine_around(FakeModel(), margin_s=2.5) as engine:
            options = replace(ENGLISH, word_timestamps=word_timestamps)
            await engine.transcript(engine.recording(loud(length_s)), options)
            calls.append([_windows(engine.model, stage) for stage in ("encode", "align")])
    contexts = calls[0][0]
    assert max(contexts) < 3000
    assert calls == [[contexts, []], [contexts, contexts]]


async def test_words_of_a_window_that_needs_the_full_context_are_aligned_there():
    """The short context did not suffice for the text, so it is not used for the words either."""
    async with engine_around(FakeModel(rejected_unless_full), margin_s=2.5) as engine:
        await engine.transcript(engine.recording(loud(5)), replace(ENGLISH, word_timestamps=True))
    assert [call.n_frames for call in engine.model.calls_of("align")] == [3000]


def _windows(model: FakeModel, stage: str) -> list[int]:
    """Return the contexts of all windows of a stage, of which several may share a call."""
    return sorted(call.n_frames for call in model.calls_of(stage) for _ in range(call.n_windows))
