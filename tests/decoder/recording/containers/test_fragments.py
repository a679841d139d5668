"""Damage between the fragments of an MP4 file."""

import re

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import Format

TONE = media.warble(12)
FLAGS = "frag_keyframe+empty_moov"


def _fragments(flags: str) -> list[bytes]:
    """Return the head of a file of 12 s, and its fragments of 1 s."""
    data = media.encode(Format("mp4", "aac"), TONE, movflags=flags, frag_duration="1000000")
    return re.split(rb"(?s)(?=.{4}moof)", data)


@pytest.mark.parametrize("flags", [FLAGS, FLAGS + "+default_base_moof"], ids=["from-the-file", "from-the-fragment"])
def test_what_follows_a_damaged_fragment_is_decoded(flags):
    """The positions in later fragments may count from the start of the file, so the damaged one is not cut out."""
    head, *fragments = _fragments(flags)
    fragments[5] = bytes(len(fragments[5]))
    samples, audio = decode(head + b"".join(fragments))
    assert len(samples) / SAMPLE_RATE == pytest.approx(11, abs=0.2)
    assert audio.end_s == pytest.approx(12, abs=0.2)
    assert similarity(samples[-5 * SAMPLE_RATE :], TONE[-5 * SAMPLE_RATE :]) > 0.9
    (warning,) = sentences(audio.warnings)
    assert re.fullmatch(r"(1\.\d|0\.9\d) s of audio could not be decoded \(damaged at 5\.\d s\)\.", warning)


def test_what_follows_a_fragment_without_its_end_is_decoded():
    """An upload has lost one of its parts. The fragment before reaches into the next one by its size."""
    head, *fragments = _fragments(FLAGS + "+default_base_moof")
    fragments[5] = fragments[5][: len(fragments[5]) // 2]
    samples, audio = decode(head + b"".join(fragments))
    assert len(samples) / SAMPLE_RATE == pytest.approx(11, abs=0.2)
    assert audio.end_s == pytest.approx(12, abs=0.2)
    (warning,) = sentences(audio.warnings)
    assert warning.endswith(" of audio could not be decoded (damaged at 5.1 s).")


def test_a_fragmented_file_that_is_cut_off_has_a_warning():
    """There is no fragment after the damage."""
    head, *fragments = _fragments(FLAGS)
    samples, audio = decode(head + b"".join(fragments[:5]) + fragments[5][:-1000])
    assert 4.5 < len(samples) / SAMPLE_RATE < 6
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("The file ends early")
