"""An NDJSON answer read back is the transcript that it was written from."""

import json
from dataclasses import replace

import pytest

from asr_service.client.ndjson import AnswerFailed, AnswerReader
from asr_service.formats import FORMATS
from asr_service.transcript import Segment, Timing, Transcript, Word

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
)


def read(transcript: Transcript) -> Transcript:
    reader = AnswerReader()
    events = [reader.read(line) for line in FORMATS["ndjson"].render(transcript).splitlines()]
    assert [type(event) for event in events] == [Segment] * len(transcript.segments) + [Transcript]
    assert isinstance(events[-1], Transcript)
    return events[-1]


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_read_is_written_as_the_original_is(name):
    """Every format gives the same text of both."""
    assert FORMATS[name].render(read(TRANSCRIPT)) == FORMATS[name].render(TRANSCRIPT)


def test_a_probability_that_was_no_number_stays_none():
    """JSON has null for it, and null is written again."""
    odd = replace(TRANSCRIPT, segments=(replace(SEGMENT, avg_logprob=float("nan")),), language_probability=None)
    assert FORMATS["json"].render(read(odd)) == FORMATS["json"].render(odd)


def test_a_failure_is_the_services_own():
    """The line that ends an answer which failed raises, with its code and message."""
    lines = FORMATS["ndjson"].stream
    assert lines
    with pytest.raises(AnswerFailed, match="come again") as raised:
        AnswerReader().read(lines.error("engine_stopped", "come again"))
    assert raised.value.code == "engine_stopped"


@pytest.mark.parametrize("line", ["", "<html>", "[]", "3", '{"type": "segment"}', '{"type": "error", "error": "no"}'])
def test_what_is_no_answer_is_a_value_error(line):
    """Whatever else a server sends."""
    with pytest.raises(ValueError, match=r"."):
        AnswerReader().read(line)


def test_a_kind_of_line_that_is_not_known_is_passed_over():
    """A newer service may say more."""
    assert AnswerReader().read(json.dumps({"type": "heartbeat"})) is None
