"""A transcript that is written as NDJSON and read back is the same transcript."""

import json
from dataclasses import replace

import pytest

from asr_service.client.ndjson import NdjsonReader, StreamFailed
from asr_service.formats import FORMATS
from asr_service.transcript import Segment, Timing, Transcript, WarningDetail, Word

SEGMENT = Segment(
    id=0,
    start=0.0,
    end=2.5,
    text=" Good\u2028morning.",
    tokens=(),
    avg_logprob=-0.25,
    no_speech_prob=0.01,
    compression_ratio=1.1,
    temperature=0.0,
    language="en",
    words=(Word(" Good", 0.0, 0.5, 0.9), Word("\u2028morning.", 0.5, 2.5, 0.8)),
)
TRANSCRIPT = Transcript(
    text="Good\u2028morning. Night.",
    task="transcribe",
    language="en",
    language_probability=0.99,
    duration=5.0,
    duration_after_vad=4.5,
    model="base",
    segments=(SEGMENT, replace(SEGMENT, id=1, start=2.5, end=5.0, text=" Night.", words=None)),
    warnings=("0.1 s of audio could not be decoded",),
    timing=Timing(1.0, 2.0, 3.0, 4.0, 5.0, 0.5),
    warning_details=(WarningDetail("audio_lost", {"lost_s": 0.1}),),
)


def read(transcript: Transcript) -> Transcript:
    reader = NdjsonReader()
    events = [reader.read(line) for line in FORMATS["ndjson"].render(transcript).splitlines()]
    assert [type(event) for event in events] == [Segment] * len(transcript.segments) + [Transcript]
    assert isinstance(events[-1], Transcript)
    return events[-1]


@pytest.mark.parametrize("name", FORMATS)
def test_a_transcript_read_back_renders_like_the_original(name):
    """Every format renders both to the same text."""
    assert FORMATS[name].render(read(TRANSCRIPT)) == FORMATS[name].render(TRANSCRIPT)


def test_a_missing_probability_survives_the_round_trip():
    """NaN and None are written as null, read back, and written as null again."""
    odd = replace(TRANSCRIPT, segments=(replace(SEGMENT, avg_logprob=float("nan")),), language_probability=None)
    assert FORMATS["json"].render(read(odd)) == FORMATS["json"].render(odd)


def test_a_stream_of_an_earlier_service_is_read():
    """Its warnings have no details."""
    line = json.loads(FORMATS["ndjson"].render(TRANSCRIPT).splitlines()[-1])
    del line["warning_details"]
    transcript = NdjsonReader().read(json.dumps(line))
    assert isinstance(transcript, Transcript)
    assert (transcript.warnings, transcript.warning_details) == (TRANSCRIPT.warnings, ())


def test_an_error_line_raises_with_its_code_and_message():
    """A stream that fails ends with an error line; reading it raises StreamFailed."""
    lines = FORMATS["ndjson"].stream
    assert lines
    with pytest.raises(StreamFailed, match="try again") as raised:
        NdjsonReader().read(lines.error("engine_stopped", "try again"))
    assert raised.value.code == "engine_stopped"


@pytest.mark.parametrize("line", ["", "<html>", "[]", "3", '{"type": "segment"}', '{"type": "error", "error": "no"}'])
def test_a_line_of_another_server_is_a_value_error(line):
    """Any text that is not a line of this service's stream is refused."""
    with pytest.raises(ValueError, match=r"."):
        NdjsonReader().read(line)


def test_an_unknown_line_type_is_ignored():
    """A newer service may send line types that this version does not know."""
    assert NdjsonReader().read(json.dumps({"type": "heartbeat"})) is None
