"""The messages between the service and a child that may be compromised."""

import pytest

from asr_service.decoder import protocol
from asr_service.decoder.protocol import DecodeLimits, DecodeOutcome, RecordingWarning


def test_limits_and_outcomes_survive_serialization():
    """Parsing their JSON gives equal values."""
    limits = DecodeLimits(max_audio_s=12.5, stall_timeout_s=3)
    warning = RecordingWarning("ends_early", "It ends early.", {"present_s": 1.5, "count": 2, "name": "a"})
    outcome = DecodeOutcome("decoded", warnings=(warning, RecordingWarning("b", "B.")))
    assert DecodeLimits.from_json(limits.to_json()) == limits
    assert DecodeOutcome.from_bytes(outcome.to_bytes()) == outcome


def test_processor_time_depends_on_size_and_duration():
    """A ten-hour MP3 of 300 MB gets enough, and no file gets more than the longest audio needs."""
    limits = DecodeLimits(max_audio_s=36_000)
    assert limits.cpu_s(0) == 20
    assert limits.cpu_s(2**20) == 60
    assert limits.cpu_s(300 * 2**20) == limits.cpu_s(2**40) == 20 + 720


def test_a_frame_that_is_too_long_is_refused():
    """Otherwise a length of four bytes could make the service buffer 4 GB."""
    kind, length = protocol.parse_header(protocol.frame(protocol.SAMPLES, b"1234")[: protocol.HEADER_BYTES])
    assert (kind, length) == (protocol.SAMPLES, 4)
    with pytest.raises(ValueError, match="bytes"):
        protocol.parse_header(b"S\xff\xff\xff\xff")


def _outcome_with(values: bytes) -> bytes:
    warning = b'{"code": "lost", "message": "", "values": ' + values + b"}"
    return b'{"verdict": "decoded", "message": "", "warnings": [' + warning + b"]}"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"verdict": "owned", "message": "", "warnings": []}',
        b'{"verdict": ["decoded"], "message": "", "warnings": []}',
        b'{"verdict": "decoded", "message": "", "warnings": 1}',
        b'{"verdict": "decoded", "message": "", "warnings": ["lost"]}',
        _outcome_with(b"1"),
        _outcome_with(b'{"lost_s": NaN}'),
        b"[" * 60_000,
        b"\xff\xfe",
    ],
)
def test_an_invalid_outcome_is_a_value_error(payload):
    """Whatever the child sends, no other error is raised."""
    with pytest.raises(ValueError):  # noqa: PT011 - of any text
        DecodeOutcome.from_bytes(payload)
