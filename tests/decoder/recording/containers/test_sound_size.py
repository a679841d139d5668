"""Files whose header declares less sound than they have."""

import struct

import pytest

from asr_service.audio import SAMPLE_RATE
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import ADTS, FLAC, Format

TONE = media.warble(6)
WAV = media.wav(TONE)
RF64 = media.encode(Format("wav", "pcm_s16le"), TONE, rf64="always")
AIFF = media.encode(Format("aiff", "pcm_s16be"), TONE)
W64 = media.encode(Format("w64", "pcm_s16le"), TONE)
CAF = media.encode(Format("caf", "pcm_s16be"), TONE)
SHORT_BYTES = 2 * 2 * SAMPLE_RATE  # two of the six seconds
SOX_BYTES = 0x7F00_0000  # what SoX writes into a pipe


def _put(data: bytes, mark: bytes, offset: int, field: bytes) -> bytes:
    at = data.index(mark) + offset
    return data[:at] + field + data[at + len(field) :]


def _rf64(n_bytes: int, n_samples: int = 0) -> bytes:
    return _put(RF64, b"ds64", 8, struct.pack("<QQQ", 0, n_bytes, n_samples))


def _aiff(n_bytes: int, n_samples: int, n_file: int) -> bytes:
    data = _put(_put(AIFF, b"SSND", 4, struct.pack(">I", n_bytes)), b"COMM", 10, struct.pack(">I", n_samples))
    return _put(data, b"FORM", 4, struct.pack(">I", n_file))


def _w64(n_bytes: int, n_file: int | None = None) -> bytes:
    data = _put(W64, b"data\xf3\xac", 16, struct.pack("<Q", n_bytes))
    return data if n_file is None else _put(data, b"riff", 16, struct.pack("<Q", n_file))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_rf64(0), id="rf64-zero"),
        pytest.param(_rf64(2**64 - 1, 2**64 - 1), id="rf64-ones"),
        pytest.param(b"BW64" + _rf64(0)[4:], id="bw64-zero"),
        pytest.param(_aiff(0, 0, 0), id="aiff-zero"),
        pytest.param(_aiff(8, 0, 46), id="aiff-empty"),
        pytest.param(_aiff(SOX_BYTES + 8, SOX_BYTES // 2, SOX_BYTES + 46), id="aiff-sox"),
        pytest.param(_w64(0), id="w64-zero"),
        pytest.param(_w64(24), id="w64-empty"),
        pytest.param(_w64(2**63 - 1, 2**64 - 1), id="w64-maximum"),
    ],
)
def test_a_file_of_a_writer_that_cannot_seek_back_is_decoded(data):
    """Its header has a placeholder for the size, so there is no warning."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.01)
    assert similarity(samples, TONE) > 0.99
    assert sentences(audio.warnings) == ()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.wav(TONE, declared_bytes=SHORT_BYTES), id="wav"),
        pytest.param(_put(WAV, b"data", 4, struct.pack("<I", SHORT_BYTES)), id="wav-with-the-size-of-the-file"),
        pytest.param(_rf64(SHORT_BYTES, SHORT_BYTES // 2), id="rf64"),
        pytest.param(_aiff(SHORT_BYTES + 8, SHORT_BYTES // 2, SHORT_BYTES + 46), id="aiff"),
        pytest.param(_w64(SHORT_BYTES + 24), id="w64"),
        pytest.param(_put(CAF, b"data", 4, struct.pack(">q", SHORT_BYTES + 4)), id="caf"),
    ],
)
def test_sound_behind_the_declared_end_is_decoded_with_a_warning(data):
    """The header has an old size, because the recorder was interrupted, or the size modulo 4 GB."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.01)
    assert similarity(samples, TONE) > 0.99
    assert sentences(audio.warnings) == (
        "The header of the file declares 2.0 s of audio, but it has 6.0 s. All of it was decoded.",
    )


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"LIST" + struct.pack("<I", 40_000) + media.noise(40_000), id="chunk"),
        pytest.param(b"LIST" + struct.pack("<I", 90_000) + media.noise(40_000), id="chunk-that-is-cut-off"),
        pytest.param(bytes(100) + b"LIST" + struct.pack("<I", 40_000) + media.noise(40_000), id="padding-and-chunk"),
        pytest.param(b"mine" + struct.pack("<I", 40_000) + media.noise(40_000), id="unknown-chunk"),
        pytest.param(bytes(100_000), id="zeros"),
        pytest.param(b"<p>It works.</p>\n" * 3000, id="text"),
        pytest.param(b"APETAGEX" + media.noise(40_000), id="tag"),
        pytest.param(media.noise(5000), id="a-little-noise"),
        pytest.param(media.encode(FLAC, TONE), id="recording"),
        pytest.param(media.encode(ADTS, TONE), id="frames"),
    ],
)
def test_what_follows_the_sound_is_not_taken_for_sound(tail):
    """The declared size is true."""
    samples, _ = decode(WAV + tail)
    assert len(samples) == len(TONE)
