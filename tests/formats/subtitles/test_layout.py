"""Subtitles are laid out so that people can read them, whatever was said, and nothing of it is lost."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pysubs2
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_service.formats import FORMATS, SubtitleStyle
from asr_service.formats.subtitles.clauses import ends_sentence
from asr_service.formats.subtitles.layout import Cue, lay_out
from asr_service.formats.subtitles.pieces import Piece, columns
from asr_service.transcript import Segment, Timing, Transcript, Word

SAME_EACH_TIME = settings(derandomize=True, database=None, deadline=None)
PLAIN = SubtitleStyle()
WORDS = [
    "the",
    "wizard",
    "vanished",
    "and",
    "Left.",
    "why?",
    "l'été",
    "«",
    "?",
    "9%",
    "o'clock,",
    "Donaudampfschifffahrt" * 3,
]
UNSPACED = ["今日は", "東京へ", "行きます。", "「はい」", "天气", "很好，", "วันนี้", "ดีมาก", "ကောင်း"]


def segment(text: str, start: float, end: float, *words: tuple[str, float, float], language: str = "en") -> Segment:
    timed = tuple(Word(word, from_s, to_s, 0.9) for word, from_s, to_s in words) or None
    return Segment(0, start, end, text, (), -0.2, 0.01, 1.2, 0.0, language, timed)


def transcript(*segments: Segment, task: str = "transcribe") -> Transcript:
    duration = max((part.end for part in segments), default=0.0)
    text = "".join(part.text for part in segments)
    return Transcript(text, task, "en", 0.9, duration, duration, "base", segments, (), Timing(0, 0, 0, 0, 0, 0))


def spoken(text: str, *, start: float = 0.0, a_word_s: float = 0.3, language: str = "en") -> Segment:
    """Words one after the other; `_` is a second of pause."""
    words, at = [], start
    for word in text.split():
        if word == "_":
            at += 1.0
            continue
        words.append((f" {word}", at, at + a_word_s))
        at += a_word_s
    return segment("".join(word for word, *_ in words), start, at, *words, language=language)


def cues_of(*segments: Segment, style: SubtitleStyle = PLAIN) -> list[Cue]:
    return lay_out(transcript(*segments), style)


def texts(cues: Sequence[Cue]) -> list[str]:
    return ["|".join(cue.texts) for cue in cues]


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Fast and slow, with words timed or not, in one script or another, in times that now and then go back."""
    segments, at = [], 0.0
    for _ in range(draw(st.integers(0, 5))):
        unspaced = draw(st.booleans())
        said = draw(st.lists(st.sampled_from(UNSPACED if unspaced else WORDS), max_size=40))
        language = draw(st.sampled_from(["ja", "zh", "th", "my"] if unspaced else ["en", "fr", "xx"]))
        words, begin = [], at
        for word in said:
            lasting = draw(st.sampled_from([0.0, 0.02, 0.2, 0.4, 3.0, 30.0]))
            words.append((word if unspaced else f" {word}", at, at + lasting))
            at = max(at + lasting + draw(st.sampled_from([-0.1, 0.0, 0.0, 0.3, 2.5])), 0.0)
        timed = words if draw(st.booleans()) else []
        segments.append(segment("".join(word for word, *_ in words), begin, at, *timed, language=language))
    return transcript(*segments)


styles = st.builds(
    SubtitleStyle,
    max_line_width=st.integers(8, 60),
    max_line_count=st.integers(1, 4),
    min_cue_s=st.floats(0, 1),
    max_cue_s=st.floats(1, 10),
    max_chars_per_second=st.floats(5, 40),
    highlight_words=st.booleans(),
)


@settings(SAME_EACH_TIME, max_examples=150)
@given(transcripts(), styles)
def test_whatever_was_said_is_laid_out_within_the_bounds(said, style):
    """All words in order, no line too long but a word that is, no cue over another, too long, or needlessly short."""
    cues = lay_out(said, style)
    assert "".join("".join(cue.texts) for cue in cues).replace(" ", "") == said.text.replace(" ", "")
    for cue in cues:
        assert 1 <= len(cue.lines) <= style.max_line_count
        assert all(
            columns(text) <= style.max_line_width or len(line) == 1
            for text, line in zip(cue.texts, cue.lines, strict=True)
        )
        assert 0 <= cue.start_ms < cue.end_ms
        assert cue.end_ms - cue.start_ms <= style.max_cue_s * 1000 + 1
    for cue, after in pairwise(cues):
        assert cue.end_ms <= after.start_ms
        room_ms = after.start_ms - cue.start_ms - 80
        assert cue.end_ms - cue.start_ms >= min(style.min_cue_s * 1000, room_ms) - 2


@settings(SAME_EACH_TIME, max_examples=60)
@given(transcripts(), styles)
def test_other_parsers_read_what_is_written(said, style):
    """SubRip by pysubs2 and WebVTT by webvtt-py: every cue, its times and its text, tags for words or none."""
    cues = lay_out(said, style)
    srt = pysubs2.SSAFile.from_string(FORMATS["srt"].in_style(style).render(said), format_="srt") if cues else []
    assert [(cue.start, cue.end, cue.plaintext) for cue in srt] == [
        (cue.start_ms, cue.end_ms, "\n".join(cue.texts)) for cue in cues
    ]
    vtt = webvtt.from_string(FORMATS["vtt"].in_style(style).render(said)).captions
    assert [(cue.text, cue.start_in_seconds) for cue in vtt] == [
        ("\n".join(cue.texts), cue.start_ms // 1000) for cue in cues
    ]
    for cue, read in zip(cues, vtt, strict=True):
        stamps = [_ms(stamp) for stamp in re.findall(r"<([\d:.]+)>", read.raw_text)]
        assert stamps == sorted(set(stamps))
        assert all(cue.start_ms < stamp < cue.end_ms for stamp in stamps)
        assert style.highlight_words or not stamps


def test_cues_end_with_sentences_and_lines_with_phrases():
    """Before a conjunction or a preposition, after punctuation, never after an article; two lines of like length."""
    said = spoken(
        "These men and women assumed great risk in the service to all humanity. In an age when spaceflight has come to "
        "seem almost routine, it is easy to overlook the dangers of travel by rocket and the difficulties of "
        "navigating the fierce outer atmosphere of the Earth."
    )
    assert texts(cues_of(said)) == [
        "These men and women assumed great risk|in the service to all humanity.",
        "In an age when spaceflight has come|to seem almost routine,",
        "it is easy to overlook the dangers|of travel by rocket",
        "and the difficulties of navigating|the fierce outer atmosphere of the Earth.",
    ]


@pytest.mark.parametrize("word", ["քնեցի։", "ነበር።", "សួស្តី។", "သည်။", "है।", "۔ہے۔", "見た。」"])
def test_sentences_end_in_other_scripts_too(word):
    """Armenian, Ethiopic, Khmer and Burmese have full stops of their own, as Hindi, Urdu and Japanese do."""
    assert ends_sentence(Piece(word, True, 0, 1))


def test_a_cue_stays_to_be_read_where_the_next_leaves_room():
    """A second at least, 20 characters a second, then a gap; never past the next, and no flicker between two."""
    (yes, _) = cues_of(spoken("Yes."), spoken("So.", start=9))
    assert (yes.start_ms, yes.end_ms) == (0, 1000)
    sentence = "Nobody who has been there once wants to go back again."
    first, second = cues_of(spoken(sentence), spoken(sentence, start=3.6))
    assert (first.end_ms, second.start_ms) == (3520, 3600)
    quick, _ = cues_of(spoken("Straightforwardly incomprehensible sentences.", a_word_s=0.2), spoken("So.", start=9))
    assert quick.end_ms == pytest.approx(1000 * 45 / 20, abs=60)


def test_no_cue_spans_a_long_pause():
    """What is said before a pause is gone while nothing is said."""
    assert texts(cues_of(spoken("and then _ _ nothing"))) == ["and then", "nothing"]
    assert texts(cues_of(spoken("and then _ nothing"))) == ["and then nothing"]


def test_no_word_is_left_by_itself():
    """Neither as a cue nor as a line, while a better place is there."""
    said = spoken(
        "he had never before in all his life seen anything like the thing that now stood at his door waiting patiently"
    )
    assert all(len(text.split()) > 1 for cue in cues_of(said) for text in cue.texts)
    assert len(cues_of(said)) > 1


def test_marks_stay_with_their_words():
    """French sets a space before its marks; no line begins with one, nor ends with what opens a quotation."""
    style = SubtitleStyle(max_line_width=12, max_line_count=2)
    said = spoken("Vous êtes là ? « Mais oui ! » dit Chloé", language="fr")
    for cue in cues_of(said, style=style):
        assert not any(text[0] in "?!»" or text[-1] == "«" for text in cue.texts)
    assert cues_of(segment(" Ça va\u00a0? Oui.", 0, 1, language="fr"))[0].texts == ("Ça va\u00a0? Oui.",)


@pytest.mark.parametrize("timed", [True, False])
def test_japanese_breaks_between_phrases(timed):
    """Not within a word though nothing stands between words, whether the model's tokens were timed or not."""
    text = "今日は友達と新しいレストランで美味しいスパゲッティを食べました"
    tokens = [(token, at * 0.3, at * 0.3 + 0.3) for at, token in enumerate(re.findall("..?", text))] if timed else []
    said = segment(text, 0, 5, *tokens, language="ja")
    (cue,) = cues_of(said)
    assert cue.texts == ("今日は友達と新しいレストランで", "美味しいスパゲッティを食べました")
    assert all(columns(line) <= 42 for line in cue.texts)


def test_thai_and_burmese_keep_their_signs():
    """A vowel, a tone mark or a stop never begins a line."""
    style = SubtitleStyle(max_line_width=8, max_line_count=3)
    for language, text in (("th", "วันนี้อากาศดีมากฉันอยากไปเดินเล่นที่สวนสาธารณะ"), ("my", "မြန်မာနိုင်ငံသည်။အရှေ့တောင်။အာရှတွင်။ရှိသည်။")):
        for cue in cues_of(segment(text, 0, 9, language=language), style=style):
            assert not any(columns(line[0]) == 0 or line[0] in "ะาำ။" for line in cue.texts)


def test_right_to_left_text_is_left_as_it_is():
    """No marks are put in and nothing is turned round: players do that."""
    text = "لو كنا نقتصد في أحلامنا أو كنا نستلهم الواقع في خلق هذه الأحلام"
    (cue,) = cues_of(spoken(text, language="ar"))
    assert " ".join(cue.texts) == text
    assert len(cue.lines) == 2


def test_a_translation_is_broken_as_english():
    """Whatever was spoken, what is written is English."""
    german = segment(" it is easy to overlook the dangers of the journey", 0, 4, language="de")
    (cue,) = lay_out(transcript(german, task="translate"), PLAIN)
    assert cue.texts == ("it is easy to overlook", "the dangers of the journey")


def test_words_that_are_not_the_text_are_not_trusted():
    """Where alignment has lost a word, the text stands all the same."""
    said = segment(" one two three", 0, 3, (" one", 0, 1), (" three", 2, 3))
    assert texts(cues_of(said)) == ["one two three"]


def test_webvtt_times_each_word_where_that_is_wanted():
    """As https://www.w3.org/TR/webvtt1/#webvtt-timestamp-object has it: a tag before each word but the first."""
    vtt = FORMATS["vtt"].in_style(SubtitleStyle(highlight_words=True))
    assert vtt.render(transcript(spoken("He left & vanished."))) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nHe <00:00:00.300>left <00:00:00.600>&amp; <00:00:00.900>vanished.\n"
    )


def _ms(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)
