"""Sections of a long recording: their windows are decoded in order, each with the text before it in its prompt."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import pytest

from asr_service.audio.chunking import Chunk
from asr_service.audio.vad import SpeechSpan, VadOptions
from asr_service.engine.decode.continuation import Budget, Decoded, Rest, settle
from asr_service.engine.decode.hypothesis import accepted, evaluate
from asr_service.engine.decode.text_before import TextBefore
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from asr_service.transcript import Segment
from engines import RATE, engine_around, loud
from fakes import FakeModel, writing

ENGLISH = DecodingOptions(vad_filter=False, language="en")
SENTENCES = (" The first.", " And a second.", " Then came three.", " Four boats left.", " Nobody sat.", " Rain fell.")


@pytest.mark.parametrize("margin_s", [2.5, None], ids=["short context", "full context"])
async def test_a_window_has_the_text_of_its_section_before_it(margin_s: float | None):
    """A recording of 100 s has two sections. Prompts have timestamps too, and never text of another section."""
    number = count()

    def script(model: FakeModel, *_: object) -> Generation:
        return Generation((model.at(0.0), *model.tokens(SENTENCES[next(number)]), model.at(4.0)), -0.2, 0.01)

    async with engine_around(FakeModel(script), margin_s=margin_s, max_inflight_windows=1) as engine:
        transcript = await engine.transcript(engine.recording(loud(100)), ENGLISH)
    model = engine.model
    start, previous = (model.tokenizer.token_to_id(f"<|{name}|>") for name in ("startoftranscript", "startofprev"))
    prompts = [call.prompts[0][: call.prompts[0].index(start)] for call in model.calls_of("generate")]
    spoken = [(model.at(0.0), *model.tokens(sentence), model.at(4.0)) for sentence in SENTENCES]
    assert transcript.text == "".join(SENTENCES[: len(prompts)]).strip()
    begins = [at for at, prompt in enumerate(prompts) if not prompt]
    assert begins[0] == 0
    assert len(begins) == 2
    for at, prompt in enumerate(prompts):
        first = begins[0] if at < begins[1] else begins[1]
        text = tuple(token for sentence in spoken[first:at] for token in sentence)
        assert prompt == ((previous, *text) if text else ())


async def test_an_unfinished_sentence_is_decoded_again_in_the_next_window():
    """The next window begins where the sentence begins, and its text replaces the first one."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) > 1:
            return Generation((model.at(0.0), *model.tokens(" Two and three."), model.at(19.0)), -0.2, 0.01)
        cut = model.at(10.0)
        tokens = (model.at(0.0), *model.tokens(" One."), cut, cut, *model.tokens(" Two an"), model.at(16.0))
        return Generation(tokens, -0.2, 0.01)

    async with engine_around(FakeModel(script), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(32)), ENGLISH)
    heard = [(segment.text, segment.start, segment.window_start) for segment in transcript.segments]
    assert heard == [(" One.", 0.0, 0.0), (" Two and three.", 10.0, 10.0)]


@pytest.mark.parametrize(
    ("before", "end_s", "has_fault", "ended_early"),
    [(" So.", 9.0, True, True), ("", 9.0, False, True), (" So.", 16.0, False, False), ("", 16.0, False, False)],
)
def test_a_text_that_leaves_speech_is_decoded_without_the_text_before(
    before: str, end_s: float, has_fault: bool, ended_early: bool
):
    """The text ends at 9 or 16 s of 20 s of speech. Without text before it, the speech after it gets a window."""
    model = FakeModel()
    vocabulary = Vocabulary(model.tokenizer, multilingual=True)
    tokens = (model.at(0.0), *model.tokens(" Only a part."), model.at(end_s))
    found = evaluate(Generation(tokens, -0.2, 0.01), 0.0, vocabulary, 20.0, 200, before, is_all_speech=True)
    assert (found.has_fault, found.ended_early) == (has_fault, ended_early)
    found = evaluate(Generation(tokens, -0.2, 0.01), 0.0, vocabulary, 20.0, 200, before)
    assert (found.has_fault, found.ended_early) == (False, False)


@pytest.mark.parametrize(
    ("ends_s", "accepted_text"), [((9.0, 19.0), " All."), ((9.0, 11.0), " All."), ((9.0, 9.6), " Only a part.")]
)
def test_the_text_with_earlier_text_is_kept_if_without_it_as_much_speech_is_left_out(
    ends_s: tuple[float, float], accepted_text: str
):
    """The first text is the more likely one. It ends at 9 s of 20 s of speech, and the second one may end there too."""
    model = FakeModel()
    vocabulary = Vocabulary(model.tokenizer, multilingual=True)
    attempts = ((" Only a part.", ends_s[0], -0.2, " So."), (" All.", ends_s[1], -0.4, ""))
    tried = [
        evaluate(
            Generation((model.at(0.0), *model.tokens(text), model.at(end_s)), avg_logprob, 0.01),
            *(0.0, vocabulary, 20.0, 200, before),
            is_all_speech=True,
        )
        for text, end_s, avg_logprob, before in attempts
    ]
    found = accepted(tried)
    assert found is not None
    assert vocabulary.text(found.generation.tokens) == accepted_text


async def test_speech_may_be_left_out_in_three_windows_one_after_the_other():
    """Each text has 8 s of its window. The speech after it gets a window of its own three times, and then counts as
    wordless."""
    everything = VadOptions(threshold=0.0)
    options = DecodingOptions(language="en", vad=everything)
    async with engine_around(FakeModel(writing(" Only a part.", until_s=8.0)), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(40)), options)
    starts = [segment.window_start for segment in transcript.segments]
    assert starts == pytest.approx([0.0, 8.0, 16.0, 24.0], abs=0.5)


@pytest.mark.parametrize(
    ("ends", "is_early", "texts", "n_held"),
    [
        ((30.0,), False, ["new"], 0),
        ((10.0,), False, ["old"], 0),
        ((), False, ["old"], 0),
        ((10.0,), True, [], 2),
    ],
    ids=["it reaches further", "it ends before", "it is empty", "it stopped early"],
)
def test_the_next_window_replaces_a_doubtful_segment(
    ends: tuple[float, ...], is_early: bool, texts: list[str], n_held: int
):
    """It does not if it says less. Until that is known, both are held."""
    old = Decoded([], [segment("old", 22.0)], a_rest(is_early=False))
    new = Decoded([segment("new", end) for end in ends], [], a_rest(is_early=is_early))
    final, held = settle([old, new])
    assert ([each.text for each in final], len(held)) == (texts, n_held)


def test_a_window_that_is_cut_again_does_not_decide_early():
    """The next window begins within the first one's last segment, so both cannot be kept: its text decides."""
    old = Decoded([], [segment("old", 21.8)], a_rest(is_early=False))
    new = Decoded([segment("new", 20.2)], [segment("cut", 21.6)], a_rest(is_early=False))
    final, held = settle([old, new])
    assert (final, len(held)) == ([], 2)
    final, held = settle([*held, Decoded([segment("whole", 30.0)])])
    assert ([each.text for each in final], held) == (["new", "whole"], [])
    final, _ = settle([old, new, Decoded([])])
    assert [each.text for each in final] == ["old"]


def test_a_budget_is_renewed_by_speech():
    """Windows that stop early after fractions of a second use it up; 30 s of decoded speech renew it."""
    budget = Budget()
    for _ in range(15):
        budget = budget.after_attempts(1).after_continuation(0.5)
    assert not budget.allows_continuation
    budget = Budget()
    for _ in range(100):
        budget = budget.after_attempts(9).after_continuation(11.0)
        assert budget.allows_continuation


def segment(text: str, end: float) -> Segment:
    return replace(Segment(0, 0.0, end, text, (), -0.2, 0.0, 1.0, 0.0, "en"))


def a_rest(*, is_early: bool) -> Rest:
    chunk = Chunk(loud(1), (SpeechSpan(0, RATE),))
    return Rest(chunk, "en", TextBefore(), Budget(), is_early)
