"""What crosses between the service and its child, which may have been taken over."""

import pytest

from asr_service.decoder import protocol
from asr_service.decoder.child import ChildLost
from asr_service.decoder.decoded_audio import _parse_outcome
from asr_service.decoder.protocol import DecodeLimits, Outcome


def test_limits_and_outcomes_cross_unchanged():
    """JSON there and back."""
    limits = DecodeLimits(max_audio_s=12.5, stall_s=3)
    outcome = Outcome("decoded", warnings=("a", "b"), lost_s=1.5)
    assert DecodeLimits.from_json(limits.to_json()) == limits
    assert Outcome.from_bytes(outcome.to_bytes()) == outcome


def test_processor_time_follows_size_and_length():
    """A small file gets little, a ten-hour MP3 of 300 MB enough, and none more than its longest audio needs."""
    limits = DecodeLimits(max_audio_s=36_000)
    assert limits.cpu_s(0) == 20
    assert limits.cpu_s(2**20) == 60
    assert limits.cpu_s(300 * 2**20) == limits.cpu_s(2**40) == 20 + 720


def test_a_frame_longer_than_ours_is_refused():
    """Four bytes of length could make the service wait for, and hold, 4 GB."""
    kind, length = protocol.parse_header(protocol.frame(protocol.SAMPLES, b"1234")[: protocol.HEADER_BYTES])
    assert (kind, length) == (protocol.SAMPLES, 4)
    with pytest.raises(ValueError, match="bytes"):
        protocol.parse_header(b"S\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (b"O", b""),
        (b"O", b"[]"),
        (b"O", b"{}"),
        (b"O", b'{"verdict": "owned", "message": "", "warnings": [], "lost_s": 0}'),
        (b"O", b'{"verdict": ["decoded"], "message": "", "warnings": [], "lost_s": 0}'),
        (b"O", b'{"verdict": "decoded", "message": "", "warnings": 1, "lost_s": 0}'),
        (b"O", b'{"verdict": "decoded", "message": "", "warnings": [], "lost_s": 1' + b"0" * 400 + b"}"),
        (b"O", b"[" * 60_000),
        (b"X", Outcome("decoded").to_bytes()),
        (b"O", b"\xff\xfe"),
    ],
)
def test_nonsense_from_a_child_is_a_lost_child(kind, payload):
    """Whatever it sends, it is that file's failure and no surprise in the service."""
    with pytest.raises(ChildLost):
        _parse_outcome(kind, payload)
