"""WAV files with several chunks of samples."""

import struct

import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import ADTS

TONE = media.warble(6)
PCM = TONE.tobytes()
SECOND = "A second recording ({}) follows in the file. Only the first was decoded."


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _format(rate: int = SAMPLE_RATE) -> bytes:
    return _chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))


def _wav(*chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


WHOLE = _chunk(b"data", PCM)
LIST = _chunk(b"LIST", b"INFO" + bytes(100))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_wav(_format(), WHOLE, WHOLE), id="two"),
        pytest.param(_wav(_format(), WHOLE, LIST, WHOLE, LIST), id="between-texts"),
        pytest.param(_wav(_format(), WHOLE, _format(), WHOLE), id="with-the-same-format"),
        pytest.param(_wav(WHOLE, WHOLE, _format()), id="before-the-format"),
        pytest.param(_wav(_format(), _chunk(b"LIST", b"wavl" + WHOLE + WHOLE)), id="in-a-list"),
        pytest.param(_wav(_format(), WHOLE, b"data\xff\xff\xff\xff" + PCM), id="the-last-with-a-placeholder"),
    ],
)
def test_the_samples_of_all_chunks_are_decoded(data):
    """FFmpeg decodes the last chunk only, without a warning."""
    samples, audio = decode(data)
    assert len(samples) == 2 * len(TONE)
    assert similarity(samples, np.concatenate([TONE, TONE])) > 0.99
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize("pieces", [(PCM, b""), (b"", PCM), [PCM[at : at + 191] for at in range(0, len(PCM), 191)]])
def test_chunks_may_be_empty_or_end_within_a_sample(pieces):
    """The samples are the same as in one chunk."""
    samples, audio = decode(_wav(_format(), *(_chunk(b"data", piece) for piece in pieces)))
    assert len(samples) == len(TONE)
    assert similarity(samples, TONE) > 0.99
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    ("data", "n_tones", "warnings"),
    [
        pytest.param(_wav(_format(), WHOLE, _format(8000), WHOLE), 1, (SECOND.format("WAV"),), id="another-format"),
        pytest.param(_wav(_format(), WHOLE, WHOLE) + media.wav(TONE), 2, (SECOND.format("WAV or AVI"),), id="wav"),
        pytest.param(_wav(_format(), WHOLE, WHOLE) + media.encode(ADTS, TONE), 2, (SECOND.format("AAC"),), id="aac"),
        pytest.param(
            _wav(_format(), WHOLE, WHOLE)[: -len(PCM) // 2],
            1.5,
            ("The file ends early: its header declares 12.0 s, 9.0 s are present.",),
            id="cut-short",
        ),
    ],
)
def test_what_is_missing_or_follows_has_a_warning(data, n_tones, warnings):
    """As with one chunk of samples."""
    samples, audio = decode(data)
    assert len(samples) == n_tones * len(TONE)
    assert sentences(audio.warnings) == warnings
