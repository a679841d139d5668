"""The lossless JSON form of a transcript."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_service.transcript import Peaks, Segment, Timing, Transcript, WarningDetail, Word
from asr_service.transcript.codec import TranscriptUnreadable, decode, decode_segment, encode, encode_segment

_TEXT = st.text()
_OPTIONAL_TEXT = st.none() | _TEXT
_NUMBER = st.floats()
_VALUE = st.integers(0, 1000) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT
_WORD = st.builds(Word, _TEXT, _NUMBER, _NUMBER, _NUMBER)
_SEGMENT = st.builds(
    Segment,
    id=st.integers(0, 2**40),
    start=_NUMBER,
    end=_NUMBER,
    text=_TEXT,
    tokens=st.lists(st.integers(0, 60_000)).map(tuple),
    avg_logprob=_NUMBER,
    no_speech_prob=_NUMBER,
    compression_ratio=_NUMBER,
    temperature=_NUMBER,
    language=_TEXT,
    words=st.none() | st.lists(_WORD, max_size=3).map(tuple),
    window_start=_NUMBER,
    speaker=_OPTIONAL_TEXT,
)
_TRANSCRIPT = st.builds(
    Transcript,
    text=_TEXT,
    task=_TEXT,
    language=_OPTIONAL_TEXT,
    language_probability=st.none() | _NUMBER,
    duration=_NUMBER,
    duration_after_vad=_NUMBER,
    model=_TEXT,
    segments=st.lists(_SEGMENT, max_size=3).map(tuple),
    warnings=st.lists(_TEXT, max_size=3).map(tuple),
    timing=st.builds(Timing, *[_NUMBER] * len(fields(Timing))),
    language_name=_OPTIONAL_TEXT,
    peaks=st.none() | st.builds(Peaks, st.integers(1, 100), st.binary()),
    warning_details=st.lists(st.builds(WarningDetail, _TEXT, st.dictionaries(_TEXT, _VALUE)), max_size=3).map(tuple),
)

EMPTY = Transcript("", "transcribe", None, None, 0.0, 0.0, "base", (), (), Timing(0, 0, 0, 0, 0, 0))


@given(_TRANSCRIPT)
def test_a_decoded_transcript_equals_the_encoded_one(transcript: Transcript) -> None:
    """Every field survives, whatever its value. `repr` is compared since NaN is not equal to itself."""
    assert repr(decode(encode(transcript))) == repr(transcript)


@given(_SEGMENT)
def test_a_segment_alone_is_read_back_as_it_was(segment: Segment) -> None:
    """It is one line, whatever its text."""
    line = encode_segment(segment)
    assert "\n" not in line
    assert repr(decode_segment(line)) == repr(segment)
    with pytest.raises(TranscriptUnreadable):
        decode_segment(line[:-5])


def test_the_form_is_json_with_a_version() -> None:
    """Standard JSON: a reader in another language needs no extension for NaN and infinity."""
    timing = replace(EMPTY.timing, queue_ms=math.nan, total_ms=-math.inf)
    data = json.loads(encode(replace(EMPTY, timing=timing)), parse_constant=pytest.fail)
    assert data["version"] == 1
    assert (data["transcript"]["timing"]["queue_ms"], data["transcript"]["timing"]["total_ms"]) == ("NaN", "-Infinity")


def test_a_transcript_of_an_earlier_version_is_read() -> None:
    """One without later fields is read, and is written without them, so that an earlier version can read it too."""
    segment = Segment(0, 0.0, 1.0, " Hi", (), 0.0, 0.0, 1.0, 0.0, "en")
    fields = json.loads(encode(replace(EMPTY, segments=(segment,))))["transcript"]
    assert not {"peaks", "warning_details"} & fields.keys()
    assert "speaker" not in fields["segments"][0]
    assert "speaker" not in encode_segment(segment)
    assert decode(json.dumps({"version": 1, "transcript": fields})).segments == (segment,)


def _changed(**changes: Any) -> str:
    return json.dumps(json.loads(encode(EMPTY)) | changes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_changed(version=2), "Transcript version 2 is not supported. This program reads version 1."),
        (_changed(version=None), "Transcript version None is not supported. This program reads version 1."),
        (
            json.dumps({"transcript": json.loads(encode(EMPTY))["transcript"]}),
            "the field 'version' is missing or not valid",
        ),
        (_changed(transcript={"text": ""}), "the field 'transcript.task' is missing or not valid"),
        (
            _changed(transcript=json.loads(encode(EMPTY))["transcript"] | {"new": 1}),
            "'transcript.new' is missing or not",
        ),
        (_changed(more=1), "the field 'more' is missing or not valid"),
        ("[]", "it is not a JSON object"),
        (b"\xff", "it is not a JSON object"),
    ],
    ids=[
        "a newer version",
        "null",
        "no version",
        "a field missing",
        "a new field",
        "a field more",
        "a list",
        "no JSON",
    ],
)
def test_data_that_cannot_be_read_whole_is_refused(data: str | bytes, message: str) -> None:
    """Nothing is dropped silently: an unknown version or field is an error that says which."""
    with pytest.raises(TranscriptUnreadable) as refused:
        decode(data)
    assert message in str(refused.value)
