"""The layout of subtitles keeps every word and its limits, and breaks at good places."""

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
from asr_service.formats.subtitles.pieces import columns
from asr_service.transcript import Segment, Timing, Transcript, Word

DETERMINISTIC = settings(derandomize=True, database=None, deadline=None)
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
    """Return a segment with these words one after the other. `_` is a pause of a second."""
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
    """Fast and slow speech, with and without word times, in several scripts, with times that sometimes go back."""
    segments, at = [], 0.0
    for _ in range(draw(st.integers(0, 5))):
        unspaced = draw(st.booleans())
        drawn = draw(st.lists(st.sampled_from(UNSPACED if unspaced else WORDS), max_size=40))
        language = draw(st.sampled_from(["ja", "zh", "th", "my"] if unspaced else ["en", "fr", "xx"]))
        words, begin = [], at
        for word in drawn:
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


@settings(DETERMINISTIC, max_examples=150)
@given(transcripts(), styles)
def test_cues_have_every_word_and_keep_the_limits(source, style):
    """Only a single word may be wider than a line. Cues do not overlap, and none is too long or too short."""
    cues = lay_out(source, style)
    assert "".join("".join(cue.texts) for cue in cues).replace(" ", "") == source.text.replace(" ", "")
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


@settings(DETERMINISTIC, max_examples=60)
@given(transcripts(), styles)
def test_other_parsers_read_what_is_written(source, style):
    """pysubs2 reads SubRip and webvtt-py reads WebVTT: every cue with its times, its text and its tags."""
    cues = lay_out(source, style)
    srt = pysubs2.SSAFile.from_string(FORMATS["srt"].in_style(style).render(source), format_="srt") if cues else []
    assert [(cue.start, cue.end, cue.plaintext) for cue in srt] == [
        (cue.start_ms, cue.end_ms, "\n".join(cue.texts)) for cue in cues
    ]
    vtt = webvtt.from_string(FORMATS["vtt"].in_style(style).render(source)).captions
    assert [(cue.text, cue.start_in_seconds) for cue in vtt] == [
        ("\n".join(cue.texts), cue.start_ms // 1000) for cue in cues
    ]
    for cue, read in zip(cues, vtt, strict=True):
        stamps = [_ms(stamp) for stamp in re.findall(r"<([\d:.]+)>", read.raw_text)]
        assert stamps == sorted(set(stamps))
        assert all(cue.start_ms < stamp < cue.end_ms for stamp in stamps)
        assert style.highlight_words or not stamps


def test_cues_end_with_sentences_and_lines_with_phrases():
    """Breaks come after punctuation or before a conjunction or preposition, never after an article."""
    source = spoken(
        "These men and women assumed great risk in the service to all humanity. In an age when spaceflight has come to "
        "seem almost routine, it is easy to overlook the dangers of travel by rocket and the difficulties of "
        "navigating the fierce outer atmosphere of the Earth."
    )
    assert texts(cues_of(source)) == [
        "These men and women assumed great risk|in the service to all humanity.",
        "In an age when spaceflight has come|to seem almost routine,",
        "it is easy to overlook the dangers|of travel by rocket",
        "and the difficulties of navigating|the fierce outer atmosphere of the Earth.",
    ]


@pytest.mark.parametrize("word", ["քնեցի։", "ነበር።", "សួស្តី។", "သည်။", "है।", "۔ہے۔", "見た。」"])
def test_sentences_end_in_other_scripts(word):
    """Armenian, Ethiopic, Khmer, Burmese, Hindi, Urdu and Japanese have their own full stops."""
    assert ends_sentence(word)


def test_a_cue_stays_long_enough_to_be_read():
    """It stays at least a second and one second per 20 characters, with a gap before the next cue and no flicker."""
    (yes, _) = cues_of(spoken("Yes."), spoken("So.", start=9))
    assert (yes.start_ms, yes.end_ms) == (0, 1000)
    sentence = "Nobody who has been there once wants to go back again."
    first, second = cues_of(spoken(sentence), spoken(sentence, start=3.6))
    assert (first.end_ms, second.start_ms) == (3520, 3600)
    quick, _ = cues_of(spoken("Straightforwardly incomprehensible sentences.", a_word_s=0.2), spoken("So.", start=9))
    assert quick.end_ms == pytest.approx(1000 * 45 / 20, abs=60)


def test_no_cue_spans_a_long_pause():
    """The text before a long pause is not shown during the pause."""
    assert texts(cues_of(spoken("and then _ _ nothing"))) == ["and then", "nothing"]
    assert texts(cues_of(spoken("and then _ nothing"))) == ["and then nothing"]


def test_no_cue_or_line_has_a_single_word():
    """This holds while there is a better place to break."""
    source = spoken(
        "he had never before in all his life seen anything like the thing that now stood at his door waiting patiently"
    )
    assert all(len(text.split()) > 1 for cue in cues_of(source) for text in cue.texts)
    assert len(cues_of(source)) > 1


def test_punctuation_stays_with_its_word():
    """French has a space before marks. No line begins with a mark or ends with an opening quotation mark."""
    style = SubtitleStyle(max_line_width=12, max_line_count=2)
    source = spoken("Vous êtes là ? « Mais oui ! » dit Chloé", language="fr")
    for cue in cues_of(source, style=style):
        assert not any(text[0] in "?!»" or text[-1] == "«" for text in cue.texts)
    assert cues_of(segment(" Ça va\u00a0? Oui.", 0, 1, language="fr"))[0].texts == ("Ça va\u00a0? Oui.",)


@pytest.mark.parametrize("timed", [True, False])
def test_japanese_breaks_between_phrases(timed):
    """No line breaks within a phrase, with or without word times."""
    text = "今日は友達と新しいレストランで美味しいスパゲッティを食べました"
    tokens = [(token, at * 0.3, at * 0.3 + 0.3) for at, token in enumerate(re.findall("..?", text))] if timed else []
    source = segment(text, 0, 5, *tokens, language="ja")
    (cue,) = cues_of(source)
    assert cue.texts == ("今日は友達と新しいレストランで", "美味しいスパゲッティを食べました")
    assert all(columns(line) <= 42 for line in cue.texts)


def test_thai_and_burmese_lines_never_begin_with_a_sign():
    """Vowels after a consonant, tone marks and stops stay with the text before them."""
    style = SubtitleStyle(max_line_width=8, max_line_count=3)
    for language, text in (("th", "วันนี้อากาศดีมากฉันอยากไปเดินเล่นที่สวนสาธารณะ"), ("my", "မြန်မာနိုင်ငံသည်။အရှေ့တောင်။အာရှတွင်။ရှိသည်။")):
        for cue in cues_of(segment(text, 0, 9, language=language), style=style):
            assert not any(columns(line[0]) == 0 or line[0] in "ะาำ။" for line in cue.texts)


def test_right_to_left_text_is_unchanged():
    """No direction marks are added and no text is reversed. Players do that."""
    text = "لو كنا نقتصد في أحلامنا أو كنا نستلهم الواقع في خلق هذه الأحلام"
    (cue,) = cues_of(spoken(text, language="ar"))
    assert " ".join(cue.texts) == text
    assert len(cue.lines) == 2


def test_a_translation_breaks_as_english():
    """The text of a translation is English, whatever language was spoken."""
    german = segment(" it is easy to overlook the dangers of the journey", 0, 4, language="de")
    (cue,) = lay_out(transcript(german, task="translate"), PLAIN)
    assert cue.texts == ("it is easy to overlook", "the dangers of the journey")


def test_word_times_that_do_not_match_the_text_are_ignored():
    """The text is complete although alignment lost a word."""
    source = segment(" one two three", 0, 3, (" one", 0, 1), (" three", 2, 3))
    assert texts(cues_of(source)) == ["one two three"]


def test_webvtt_highlights_words():
    """Each word but the first has a time tag: https://www.w3.org/TR/webvtt1/#webvtt-timestamp-object."""
    vtt = FORMATS["vtt"].in_style(SubtitleStyle(highlight_words=True))
    assert vtt.render(transcript(spoken("He left & vanished."))) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nHe <00:00:00.300>left <00:00:00.600>&amp; <00:00:00.900>vanished.\n"
    )


def _ms(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)
