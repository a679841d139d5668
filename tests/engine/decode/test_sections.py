"""Sections of a long recording: their windows are decoded in order, each with the text before it in its prompt."""

from collections.abc import Sequence
from itertools import count

import pytest

from asr_service.audio.vad import VadOptions
from asr_service.engine.decode.continuation import Budget
from asr_service.engine.decode.hypothesis import accepted, evaluate
from asr_service.engine.model.protocol import Encoding, GenerateOptions, Generation
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.options import DecodingOptions
from engines import engine_around, loud
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


@pytest.mark.parametrize(
    ("stopped_s", "begun", "begins_s"),
    [(10.0, " Two an", 10.0), (17.5, " Two an", 17.5), (17.5, "", 17.5), (0.1, " Two an", 18.0)],
    ids=["in the middle", "in the last second", "with no more text", "at the beginning"],
)
async def test_the_next_window_begins_where_the_model_stopped(stopped_s: float, begun: str, begins_s: float):
    """The first window has 18 s of a section of 32 s. A window must be later than the one before it."""

    def script(model: FakeModel, encoding: Encoding, prompt: Sequence[int], options: GenerateOptions) -> Generation:
        if len(engine.model.calls_of("generate")) > 1:
            return Generation((model.at(0.0), *model.tokens(" Two and three."), model.at(16.0)), -0.2, 0.01)
        cut = model.at(stopped_s)
        return Generation((model.at(0.0), *model.tokens(" One"), cut, cut, *model.tokens(begun)), -0.2, 0.01)

    async with engine_around(FakeModel(script), margin_s=2.5) as engine:
        transcript = await engine.transcript(engine.recording(loud(32)), ENGLISH)
    first, last = transcript.segments[0], transcript.segments[-1]
    assert (first.text, last.text) == (" One", " Two and three.")
    assert last.window_start == pytest.approx(begins_s, abs=0.02)


@pytest.mark.parametrize(
    ("before", "end_s", "has_fault", "decoded_s"),
    [(" So.", 9.0, True, 9.0), ("", 9.0, False, 9.0), (" So.", 16.0, False, 20.0), ("", 16.0, False, 20.0)],
)
def test_a_text_that_leaves_speech_is_decoded_without_the_text_before(
    before: str, end_s: float, has_fault: bool, decoded_s: float
):
    """The text ends at 9 or 16 s of 20 s of speech. Without text before it, the speech after it gets a window."""
    model = FakeModel()
    vocabulary = Vocabulary(model.tokenizer, multilingual=True)
    tokens = (model.at(0.0), *model.tokens(" Only a part."), model.at(end_s))
    found = evaluate(Generation(tokens, -0.2, 0.01), 0.0, vocabulary, 20.0, 200, before, is_all_speech=True)
    assert (found.has_fault, found.decoded_s(has_speech_after=False)) == (has_fault, decoded_s)
    found = evaluate(Generation(tokens, -0.2, 0.01), 0.0, vocabulary, 20.0, 200, before)
    assert (found.has_fault, found.decoded_s(has_speech_after=False)) == (False, 20.0)


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


def test_a_budget_is_renewed_by_speech():
    """Windows that stop early after fractions of a second use it up; 30 s of decoded speech renew it."""
    budget = Budget()
    for _ in range(15):
        budget = budget.after_attempts(1).after_window(0.5)
    assert not budget.allows_continuation
    budget = Budget()
    for _ in range(100):
        budget = budget.after_attempts(9).after_window(11.0)
        assert budget.allows_continuation


@pytest.mark.parametrize("used_up", [Budget(decodes=0), Budget(continuations=0)], ids=["attempts", "windows"])
def test_the_window_after_a_budget_that_is_used_up_has_a_new_one(used_up: Budget):
    """The speech that the last window left was not decoded, so the hard place is over."""
    assert not used_up.allows_continuation
    assert used_up.after_window(0.5) == Budget()
