"""Every format on transcripts that are easy to break it with, read back by another's parser where there is one."""

import csv
import io
import json
from dataclasses import replace

import pysubs2
import pytest
import webvtt

from asr_service.formats import EVENTS, FORMATS, OPENAI_FORMATS
from asr_service.transcript import Segment, Timing, Transcript, Word

WORDS = (Word(" Hello", 0.1234567, 0.4, 0.987654321), Word(" there.", 0.4, 1.0, 0.5))
TIMING = Timing(0.12349, 10.0, 20.0, 300.5, 400.0, 0.0444444)


def a_segment(start: float, end: float, text: str, **changes) -> Segment:
    plain = Segment(0, start, end, text, (50364, 50414), -0.25, 0.0123456, 1.5, 0.0, "en")
    return replace(plain, **changes)


def a_transcript(*segments: Segment, **changes) -> Transcript:
    text = "".join(segment.text for segment in segments).strip()
    whole = Transcript(text, "transcribe", "en", 0.99, 9.0, 8.5, "base", segments, (), TIMING)
    return replace(whole, **changes)


TRYING = a_transcript(
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
    assert different == ["json", "tsv", "lrc", "ndjson"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_sent_as_utf8(name):
    """Any transcript, and an empty one, renders in any format."""
    assert render(name, TRYING).encode()
    assert render(name, EMPTY).encode() or name in {"text", "srt", "lrc"}


def test_json_has_exactly_the_documented_names():
    """The JSON answer holds the documented names and no other; times have 3 decimals, probabilities 4."""
    spoken = a_transcript(a_segment(0.1234567, 1.0, " Hello there."), warnings=("half of it was lost",))
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
        "timing": {
            "queue_ms": 0.123,
            "decode_ms": 10.0,
            "vad_ms": 20.0,
            "inference_ms": 300.5,
            "total_ms": 400.0,
            "realtime_factor": 0.0444,
        },
    }


def test_json_has_words_only_when_they_were_asked_for():
    """`words` is there where words were timed, an empty list where a timed segment has none, and absent otherwise."""
    timed = a_transcript(a_segment(0, 1, "Hello there.", words=WORDS), a_segment(1, 2, "?", words=()))
    hello, none = json.loads(render("json", timed))["segments"]
    assert hello["words"][0] == {"word": " Hello", "start": 0.123, "end": 0.4, "probability": 0.9877}
    assert none["words"] == []


def test_json_of_an_empty_recording_is_whole():
    """Nothing said is an answer: empty text and lists, no language."""
    empty = json.loads(render("json", EMPTY))
    assert (empty["text"], empty["segments"], empty["warnings"], empty["language"]) == ("", [], [], None)


def test_json_is_valid_whatever_the_model_scored():
    """A score that is no number is null: JSON has neither NaN nor infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    odd = a_transcript(a_segment(0, 1, "odd", avg_logprob=float("-inf"), no_speech_prob=float("nan")))
    (segment,) = json.loads(render("json", odd), parse_constant=refuse)["segments"]
    assert (segment["avg_logprob"], segment["no_speech_prob"]) == (None, None)


def test_ndjson_is_a_line_a_segment_and_a_closing_line():
    """Each line is an object by itself, even for readers that end lines at U+2028; together they are the JSON."""
    *segments, closing = map(json.loads, render("ndjson", TRYING).splitlines())
    whole = json.loads(render("json", TRYING))
    assert [segment.pop("type") for segment in segments] == ["segment"] * 5
    assert closing.pop("type") == "transcript"
    assert closing | {"segments": segments} == whole


def test_ndjson_tells_a_late_failure_in_its_last_line():
    """A failure after the first segment is a line of its own type, its error in the shape of every error body."""
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
    """An independent parser finds every spoken segment, its time to the millisecond and its text."""
    text = render("srt", TRYING)
    subtitles = list(pysubs2.SSAFile.from_string(text, format_="srt", keep_html_tags=True))
    assert [cue.start for cue in subtitles] == [start for start, _ in TIMES_MS]
    assert [cue.text.replace("\\N", " ") for cue in subtitles] == [
        line.replace("--->", "->").replace("-->", "->") for line in SHOWN
    ]
    assert [block.split("\n")[0] for block in text.split("\n\n")] == ["1", "2", "3", "4"]


def test_srt_has_an_arrow_only_between_times():
    """An arrow that was said cannot be taken for a cue's times."""
    assert [line.count("-->") for line in render("srt", TRYING).split("\n")].count(1) == len(TIMES_MS)
    assert render("srt", TRYING).count("-->") == len(TIMES_MS)


def test_vtt_reads_back():
    """An independent parser finds the header, every spoken segment, its times and its text, none taken for markup."""
    text = render("vtt", TRYING)
    assert text.startswith("WEBVTT\n\n")
    captions = webvtt.from_string(text).captions
    assert [clock_ms(cue.start) for cue in captions] == [start for start, _ in TIMES_MS]
    assert [unescaped(cue.raw_text).replace("\n", " ") for cue in captions] == SHOWN
    assert text.count("-->") == len(TIMES_MS)
    assert "<" not in text


@pytest.mark.parametrize(("name", "point"), [("srt", ","), ("vtt", ".")])
def test_hours_go_on_past_the_hundredth(name, point):
    """A very long recording's times take a third digit for the hours, and never begin again."""
    times = f"100:00:00{point}500 --> 100:00:01{point}000"
    assert times in render(name, a_transcript(a_segment(360_000.5, 360_001.0, "late"))).splitlines()


def test_tsv_reads_back():
    """A line a spoken segment: start and end in milliseconds, and text without tabs or line ends."""
    head, *rows = csv.reader(io.StringIO(render("tsv", TRYING)), delimiter="\t", quoting=csv.QUOTE_NONE)
    assert head == ["start", "end", "text"]
    assert [(int(start), int(end)) for start, end, _ in rows] == TIMES_MS
    assert [text for _, _, text in rows] == [line.replace("\t", " ") for line in LINES]


def test_lrc_has_a_time_and_a_text_for_each_segment():
    """Times are rounded to hundredths of a second. Minutes go on past 99, since LRC has no hours."""
    said = a_transcript(
        a_segment(0.0, 1.0, " Hello there."),
        a_segment(1.0, 2.0, "   "),
        a_segment(59.994, 60.0, " almost a\nminute"),
        a_segment(59.996, 61.0, " a minute"),
        a_segment(6_061.5, 6_062.0, " 101 minutes"),
    )
    assert render("lrc", said) == (
        "[00:00.00]Hello there.\n[00:59.99]almost a minute\n[01:00.00]a minute\n[101:01.50]101 minutes\n"
    )


def test_lrc_text_in_brackets_is_not_another_time():
    """A space separates the time from text that begins with a bracket."""
    assert render("lrc", a_transcript(a_segment(1.0, 2.0, " [00:09.00] music"))) == "[00:01.00] [00:09.00] music\n"


def test_nothing_said_is_nothing_written():
    """An empty transcript is an empty text, no cues, and only the heading where a format has one."""
    assert {name: render(name, EMPTY) for name in ("text", "srt", "vtt", "tsv", "lrc")} == {
        "text": "",
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
        "lrc": "",
    }


def test_text_is_the_text_and_a_newline():
    """Text alone is what was said, ready for a terminal."""
    assert render("text", a_transcript(a_segment(0, 1, " Hello there. "))) == "Hello there.\n"


def clock_ms(time: str) -> int:
    hours, minutes, seconds = time.split(":")
    return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_verbose_json_has_numbers_where_the_contract_has_them():
    """A score that is no number is 0 there: a reader with strict types would lose the whole answer over a null."""
    scored = a_transcript(a_segment(0, 1, " Hello.", avg_logprob=float("-inf"), no_speech_prob=float("nan")))
    (segment,) = json.loads(render("verbose_json", scored))["segments"]
    assert (segment["avg_logprob"], segment["no_speech_prob"], segment["compression_ratio"]) == (0.0, 0.0, 1.5)


def test_events_read_whole_are_the_events_of_the_stream():
    """An event is one `data:` line, whatever was said, and a blank one; the deltas add up to the text."""
    said = replace(TRYING, segments=tuple(replace(each, id=at) for at, each in enumerate(TRYING.segments)))
    events = EVENTS.render(said).split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") and len(event.splitlines()) == 1 for event in events)
    *deltas, done = (json.loads(event.removeprefix("data: ")) for event in events)
    assert "".join(delta["delta"] for delta in deltas) == done["text"] == TRYING.text
