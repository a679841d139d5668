"""What a job worker and a service send to each other arrives unchanged."""

import io
import math

import pytest

from asr_service.engine.request_options import RequestOptions
from asr_service.jobs.running import wire
from asr_service.jobs.running.executor import AttemptFailed, Length, Started, Work, WorkReturned
from asr_service.transcript import Segment, Timing, Transcript, Word

SEGMENT = Segment(
    0, 0.1234567, 2.0, " a\u2028b\nc", (1, 2), math.nan, 0.1, 1.0, 0.0, "en", (Word(" a", 0.1, 0.2, 0.5),)
)
TIMING = Timing(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
TRANSCRIPT = Transcript(" a", "transcribe", "en", 0.9, 2.0, 1.5, "base", (SEGMENT,), ("No.",), TIMING)


@pytest.mark.parametrize("event", [SEGMENT, TRANSCRIPT, Started("key"), Length(3.5), wire.Waiting()])
def test_an_event_is_one_line(event):
    """Also with the line ends of Unicode in its text, and with numbers that JSON does not have."""
    line = wire.encode_line(event)
    assert line.count("\n") == 1
    assert repr(wire.decode_line(line.encode())) == repr(event)


def test_a_failure_is_a_line():
    """With everything that decides whether the job is tried again."""
    with pytest.raises(AttemptFailed) as failed:
        wire.decode_line(wire.encode_line(AttemptFailed("code", "Why.", is_final=True)).encode())
    assert (failed.value.code, failed.value.message, failed.value.is_final) == ("code", "Why.", True)
    with pytest.raises(WorkReturned, match="drains"):
        wire.decode_line(wire.encode_line(WorkReturned("The slot drains.")).encode())


@pytest.mark.parametrize("line", [b"<html>", b"\xff", b"[]", b'{"version": 2, "segment": {}}'])
def test_another_answer_is_refused(line):
    """As of a proxy."""
    with pytest.raises(ValueError, match=r"."):
        wire.decode_line(line)


def test_the_work_follows_the_recording():
    """The service cuts it off, so that the decoder reads the recording alone."""
    work = Work("job_1", "alice", RequestOptions(language="de", beam_size=2), "key", (SEGMENT,))
    file = io.BytesIO(b"RIFF" + wire.encode_work(work))
    assert repr(wire.split_body(file, 4)) == repr(work)
    assert file.read() == b"RIFF"
    with pytest.raises(ValueError, match="not valid"):
        wire.split_body(file, 4)
