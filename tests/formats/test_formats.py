"""Each format with difficult transcripts, read back by an independent parser where there is one."""

import csv
import io
import json
from dataclasses import replace

import pysubs2
import pytest
import webvtt

from asr_service.formats import EVENTS, FORMATS, OPENAI_FORMATS
from asr_service.transcript import Segment, Timing, Transcript, WarningDetail, Word

WORDS = (Word(" Hello", 0.1234567, 0.4, 0.987654321), Word(" there.", 0.4, 1.0, 0.5))
TIMING = Timing(0.12349, 10.0, 20.0, 300.5, 400.0, 0.0444444)


def a_segment(start: float, end: float, text: str, **changes) -> Segment:
    plain = Segment(0, start, end, text, (50364, 50414), -0.25, 0.0123456, 1.5, 0.0, "en")
    return replace(plain, **changes)


def a_transcript(*segments: Segment, **changes) -> Transcript:
    text = "".join(segment.text for segment in segments).strip()
    whole = Transcript(text, "transcribe", "en", 0.99, 9.0, 8.5, "base", segments, (), TIMING)
    return replace(whole, **changes)


DIFFICULT = a_transcript(
    a_segment(0.0, 1.0, " Hello there."),
    a_segment(1.0, 1.5, "   "),
    a_segment(3599.9996, 3601.25, " past\n\nthe\thour\r\n"),
    a_segment(36_000.5, 36_001.0, " שלום עולם 🎙️ & <b>Tom</b> --> Jerry ---> end"),
    a_segment(36_012.0, 36_011.0, "Ça va\u00a0?\u2028Oui.", id=4),
)
LINES = ["Hello there.", "past the\thour", "שלום עולם 🎙️ & <b>Tom</b> --> Jerry ---> end", "Ça va\u00a0? Oui."]
SHOWN = [line.replace("\t", " ") for line in LINES]
TIMES_MS = [(0, 1000), (3_600_000, 3_601_250), (36_000_500, 36_001_000), (36_012_000, 36_012_001)]
EMPTY = a_transcript(language=None, language_probability=None)


def render(name: str, transcript: Transcript) -> str:
    return FORMATS[name].render(transcript)


def test_every_format_has_its_name_and_media_type():
    """Each value of response_format has the media type that clients expect."""
    assert {name: fmt.media_type for name, fmt in FORMATS.items()} == {
        "json": "application/json",
        "verbose_json": "application/json",
        "text": "text/plain; charset=utf-8",
        "srt": "application/x-subrip; charset=utf-8",
        "vtt": "text/vtt; charset=utf-8",
        "tsv": "text/tab-separated-values; charset=utf-8",
        "lrc": "text/plain; charset=utf-8",
        "ndjson": "application/x-ndjson",
    }
    assert [name for name, fmt in FORMATS.items() if fmt.stream] == ["ndjson"]
    assert set(OPENAI_FORMATS) == {"json", "verbose_json", "text", "srt", "vtt"}
    different = [name for name, fmt in FORMATS.items() if OPENAI_FORMATS.get(name) is not fmt]
    assert different == ["json", "text", "tsv", "lrc", "ndjson"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_sent_as_utf8(name):
    """A difficult transcript and an empty one can be written in every format."""
    assert render(name, DIFFICULT).encode()
    assert render(name, EMPTY).encode() or name in {"text", "srt", "lrc"}


def test_json_has_exactly_the_documented_names():
    """JSON has the documented fields and no others. Times have 3 decimals, probabilities have 4."""
    spoken = a_transcript(
        a_segment(0.1234567, 1.0, " Hello there."),
        warnings=("half of it was lost",),
        warning_details=(WarningDetail("audio_lost", {"lost_s": 4.5}),),
    )
    assert json.loads(render("json", spoken)) == {
        "text": "Hello there.",
        "task": "transcribe",
        "language": "en",
        "language_probability": 0.99,
        "duration": 9.0,
        "duration_after_vad": 8.5,
        "model": "base",
        "segments": [
            {
                "id": 0,
                "start": 0.123,
                "end": 1.0,
                "text": " Hello there.",
                "avg_logprob": -0.25,
                "no_speech_prob": 0.0123,
                "compression_ratio": 1.5,
                "temperature": 0.0,
                "language": "en",
            }
        ],
        "warnings": ["half of it was lost"],
        "warning_details": [{"code": "audio_lost", "values": {"lost_s": 4.5}}],
        "timing": {
            "queue_ms": 0.123,
            "decode_ms": 10.0,
            "vad_ms": 20.0,
            "inference_ms": 300.5,
            "total_ms": 400.0,
            "realtime_factor": 0.0444,
        },
    }


def test_json_has_words_only_if_they_were_timed():
    """A segment whose words were timed has `words`, even if there are none. Other segments have no `words`."""
    timed = a_transcript(a_segment(0, 1, "Hello there.", words=WORDS), a_segment(1, 2, "?", words=()))
    hello, none = json.loads(render("json", timed))["segments"]
    assert hello["words"][0] == {"word": " Hello", "start": 0.123, "end": 0.4, "probability": 0.9877}
    assert none["words"] == []


def test_json_of_an_empty_recording_has_every_field():
    """Without speech, the text and the lists are empty and the language is null."""
    empty = json.loads(render("json", EMPTY))
    assert (empty["text"], empty["segments"], empty["warnings"], empty["language"]) == ("", [], [], None)


def test_json_has_null_for_nan_and_infinity():
    """NaN and infinity become null, because JSON has neither."""

    def refuse(constant):
        raise AssertionError(constant)

    odd = a_transcript(a_segment(0, 1, "odd", avg_logprob=float("-inf"), no_speech_prob=float("nan")))
    (segment,) = json.loads(render("json", odd), parse_constant=refuse)["segments"]
    assert (segment["avg_logprob"], segment["no_speech_prob"]) == (None, None)


def test_ndjson_is_a_line_a_segment_and_a_closing_line():
    """Each line is one object, also for readers that end lines at U+2028. All lines together are the JSON."""
    *segments, closing = map(json.loads, render("ndjson", DIFFICULT).splitlines())
    whole = json.loads(render("json", DIFFICULT))
    assert [segment.pop("type") for segment in segments] == ["segment"] * 5
    assert closing.pop("type") == "transcript"
    assert closing | {"segments": segments} == whole


def test_ndjson_reports_a_late_failure_in_its_last_line():
    """The line has the type `error`, and its error has the shape of every error body."""
    stream = FORMATS["ndjson"].stream
    assert stream is not None
    line = stream.error("deadline_exceeded", "too late\nby far")
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "type": "error",
        "error": {"message": "too late\nby far", "type": "server_error", "param": None, "code": "deadline_exceeded"},
    }


def test_srt_reads_back():
    """An independent parser finds each segment with its text and its time to the millisecond."""
    text = render("srt", DIFFICULT)
    subtitles = list(pysubs2.SSAFile.from_string(text, format_="srt", keep_html_tags=True))
    assert [cue.start for cue in subtitles] == [start for start, _ in TIMES_MS]
    assert [cue.text.replace("\\N", " ") for cue in subtitles] == [
        line.replace("--->", "->").replace("-->", "->") for line in SHOWN
    ]
    assert [block.split("\n")[0] for block in text.split("\n\n")] == ["1", "2", "3", "4"]


def test_srt_has_arrows_only_between_times():
    """An arrow in the text cannot be mistaken for the times of a cue."""
    assert [line.count("-->") for line in render("srt", DIFFICULT).split("\n")].count(1) == len(TIMES_MS)
    assert render("srt", DIFFICULT).count("-->") == len(TIMES_MS)


def test_vtt_reads_back():
    """An independent parser finds the header and each segment with time and text, without markup."""
    text = render("vtt", DIFFICULT)
    assert text.startswith("WEBVTT\n\n")
    captions = webvtt.from_string(text).captions
    assert [clock_ms(cue.start) for cue in captions] == [start for start, _ in TIMES_MS]
    assert [unescaped(cue.raw_text).replace("\n", " ") for cue in captions] == SHOWN
    assert text.count("-->") == len(TIMES_MS)
    assert "<" not in text


@pytest.mark.parametrize(("name", "point"), [("srt", ","), ("vtt", ".")])
def test_times_of_a_hundred_hours_have_three_digits(name, point):
    """Hours do not wrap around in a very long recording."""
    times = f"100:00:00{point}500 --> 100:00:01{point}000"
    assert times in render(name, a_transcript(a_segment(360_000.5, 360_001.0, "late"))).splitlines()


def test_tsv_reads_back():
    """A row has start and end in milliseconds, and a text without tabs and line ends."""
    head, *rows = csv.reader(io.StringIO(render("tsv", DIFFICULT)), delimiter="\t", quoting=csv.QUOTE_NONE)
    assert head == ["start", "end", "text"]
    assert [(int(start), int(end)) for start, end, _ in rows] == TIMES_MS
    assert [text for _, _, text in rows] == [line.replace("\t", " ") for line in LINES]


def test_lrc_has_a_time_and_a_text_for_each_segment():
    """Times are rounded to hundredths of a second. Minutes go on past 99, since LRC has no hours."""
    transcript = a_transcript(
        a_segment(0.0, 1.0, " Hello there."),
        a_segment(1.0, 2.0, "   "),
        a_segment(59.994, 60.0, " almost a\nminute"),
        a_segment(59.996, 61.0, " a minute"),
        a_segment(6_061.5, 6_062.0, " 101 minutes"),
    )
    assert render("lrc", transcript) == (
        "[00:00.00]Hello there.\n[00:59.99]almost a minute\n[01:00.00]a minute\n[101:01.50]101 minutes\n"
    )


def test_lrc_text_in_brackets_is_not_another_time():
    """A space separates the time from text that begins with a bracket."""
    assert render("lrc", a_transcript(a_segment(1.0, 2.0, " [00:09.00] music"))) == "[00:01.00] [00:09.00] music\n"


def test_an_empty_transcript_has_no_text_and_no_cues():
    """Only the header is written, in the formats that have one."""
    assert {name: render(name, EMPTY) for name in ("text", "srt", "vtt", "tsv", "lrc")} == {
        "text": "",
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
        "lrc": "",
    }


SENTENCE = " " + "The first speaker talks about the weather of the last few days, and about nothing else."


def test_text_has_paragraphs_at_pauses():
    """A pause after a sentence ends one, and a long pause anywhere. OpenAI's `text` and all JSON stay one line."""
    transcript = a_transcript(
        a_segment(0, 5, SENTENCE + " Then"),
        a_segment(6.5, 9, " it rains."),
        a_segment(10, 12, " A"),
        a_segment(15, 17, " speaker hesitates."),
        a_segment(18, 20, " Short\tparagraphs wait."),
        a_segment(22, 23, " They end."),
    )
    expected = [
        f"{SENTENCE.strip()} Then it rains.",
        "A",
        "speaker hesitates. Short paragraphs wait.",
        "They end.",
    ]
    assert render("text", transcript) == "\n\n".join(expected) + "\n"
    assert OPENAI_FORMATS["text"].render(transcript) == transcript.text + "\n"
    assert transcript.text.count("\n") == 0


@pytest.mark.parametrize(
    ("n_sentences", "gap_s", "n_paragraphs"),
    [(5, 0.1, 1), (8, 0.3, 2), (14, 0.0, 2), (30, 0.0, 3), (30, 1.0, 15)],
)
def test_a_long_paragraph_ends_at_a_short_pause(n_sentences, gap_s, n_paragraphs):
    """After 500 columns of text 0.2 s are enough, after 1000 the end of a sentence. All words are there, in order."""
    times = [(number * (5 + gap_s), number * (5 + gap_s) + 5) for number in range(n_sentences)]
    transcript = a_transcript(*(a_segment(start, end, SENTENCE) for start, end in times))
    text = render("text", transcript)
    assert text.split() == transcript.text.split()
    assert len(text.split("\n\n")) == n_paragraphs


@pytest.mark.parametrize(
    ("before", "after", "n_paragraphs"),
    [
        (".", " We", 2),
        ("!\u201d", " \u201cWe", 2),
        (",", " we", 1),
        (". Dr.", " Grey", 1),
        (".", " we", 1),
        ("\u3002", "\u6211", 2),
    ],
)
def test_a_paragraph_ends_after_a_sentence(before, after, n_paragraphs):
    """Not within one, nor after an abbreviation, nor where the model put a full stop and goes on in lower case."""
    transcript = a_transcript(a_segment(0, 5, SENTENCE[:-1] * 2 + before), a_segment(6, 9, after))
    assert len(render("text", transcript).split("\n\n")) == n_paragraphs


def test_text_ends_with_one_newline():
    """The text has no spaces around it."""
    assert render("text", a_transcript(a_segment(0, 1, " Hello there. "))) == "Hello there.\n"


def clock_ms(time: str) -> int:
    hours, minutes, seconds = time.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_verbose_json_has_0_for_nan_and_infinity():
    """NaN and infinity become 0, because OpenAI's schema has no null there and a strict client would fail."""
    scored = a_transcript(a_segment(0, 1, " Hello.", avg_logprob=float("-inf"), no_speech_prob=float("nan")))
    (segment,) = json.loads(render("verbose_json", scored))["segments"]
    assert (segment["avg_logprob"], segment["no_speech_prob"], segment["compression_ratio"]) == (0.0, 0.0, 1.5)


def test_events_add_up_to_the_text():
    """Each event is one `data:` line and a blank line, whatever the text. The deltas add up to the text."""
    transcript = replace(DIFFICULT, segments=tuple(replace(each, id=at) for at, each in enumerate(DIFFICULT.segments)))
    events = EVENTS.render(transcript).split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") and len(event.splitlines()) == 1 for event in events)
    *deltas, done = (json.loads(event.removeprefix("data: ")) for event in events)
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == DIFFICULT.text
