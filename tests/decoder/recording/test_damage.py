"""Damaged and truncated recordings, through a real decoder child."""

import contextlib
import re
from typing import Any

import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecoderPool
from asr_service.errors import RequestError
from decoder import media
from decoder.decoding import decode, decode_in, sentences, similarity, with_pool
from decoder.media import ADTS, FLAC, FORMATS, M4A, MKV, MP3, OPUS, WMA, Format


def seconds_in(warning: str) -> list[float]:
    return [float(number) for number in re.findall(r"(\d+\.\d+) s", warning)]


@pytest.mark.parametrize(
    ("fmt", "min_lost_s"), [(FLAC, 1.5), (MP3, 1.5), (OPUS, 1.0), (M4A, 1.5), (ADTS, 1.5), (MKV, 1.5)], ids=str
)
def test_damage_in_the_middle_loses_only_the_middle(fmt, min_lost_s):
    """The audio after the damage is decoded too, and the warning says how much is lost and where."""
    data = media.encode(fmt, media.warble(40, fmt.rate))
    samples, audio = decode(media.overwrite(data, 0.5, 0.55))
    lost_s, at_s = seconds_in(sentences(audio.warnings)[0])
    assert "could not be decoded" in sentences(audio.warnings)[0]
    assert lost_s == pytest.approx(40 - len(samples) / SAMPLE_RATE, abs=0.7)
    assert min_lost_s < lost_s < 12
    assert at_s == pytest.approx(20, abs=6)
    assert similarity(samples[-5 * SAMPLE_RATE :], media.warble(40)) > 0.3  # five seconds out of forty


@pytest.mark.parametrize(
    "fmt",
    [FORMATS[0], FORMATS[11], FLAC, MP3, MKV, Format("caf", "pcm_s16be", 48_000), Format("avi", "libmp3lame", 48_000)],
    ids=lambda fmt: fmt.name,
)
def test_a_truncated_file_is_decoded_with_a_warning(fmt):
    """The warning names the duration in the header and the duration that is present."""
    data = media.encode(fmt, media.warble(30, fmt.rate))
    samples, audio = decode(data[: int(0.4 * len(data))])
    declared_s, present_s = seconds_in(sentences(audio.warnings)[0])
    assert len(sentences(audio.warnings)) == 1
    assert "ends early" in sentences(audio.warnings)[0]
    assert declared_s == pytest.approx(30, abs=0.2)
    assert present_s == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.1)
    assert present_s == pytest.approx(12, abs=2)


def test_a_truncated_ogg_file_has_a_warning():
    """OGG headers declare no duration; the incomplete last page shows the truncation."""
    data = media.encode(OPUS, media.warble(30, 48_000))
    assert "ends early" in sentences(decode(data[: int(0.4 * len(data))])[1].warnings)[0]


@pytest.mark.parametrize(
    "fmt", [OPUS, Format("ogg", "vorbis", 44_100, 2), Format("ogg", "flac")], ids=lambda fmt: fmt.name
)
@pytest.mark.parametrize("page", [2, -1])
def test_a_damaged_page_at_the_start_or_the_end_of_an_ogg_file_has_a_warning(fmt, page):
    """FFmpeg leaves out a page with a wrong sum. What follows it keeps its time."""
    pages = media.ogg_pages(media.encode(fmt, media.warble(6, fmt.rate), page_duration="500000"))
    pages[page] = pages[page][:-1] + bytes([pages[page][-1] ^ 1])
    samples, audio = decode(b"".join(pages))
    assert len(samples) / SAMPLE_RATE < 6
    (warning,) = sentences(audio.warnings)
    if page == -1:
        assert warning.startswith("The file ends early")
    else:
        assert warning.endswith(" of audio could not be decoded (damaged at 0.0 s).")
        assert audio.end_s == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"], ids=["zeros", "ones"])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.encode(Format("mp2", "mp2"), media.warble(6)), id="mp2"),
        pytest.param(media.encode(MP3, media.warble(6), write_xing="0", id3v2_version="0"), id="mp3"),
        pytest.param(
            media.encode(Format("webm", "libopus", 48_000), media.warble(6, 48_000), live="1"), id="live-webm"
        ),
    ],
)
def test_a_recording_whose_rest_is_blank_has_a_warning(data, byte):
    """The space for a download is reserved before it arrives, and an erased memory card contains ones."""
    half = len(data) // 2
    samples, audio = decode(data[:half] + byte * max(len(data) - half, 40_000))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.3)
    present = f"{len(samples) / SAMPLE_RATE:.1f} s of audio"
    assert sentences(audio.warnings) == (
        f"After {present} the rest of the file is blank, as in an unfinished download.",
    )


@pytest.mark.parametrize(("n_bytes", "codes"), [(100, []), (40_000, ["ends_in_packet"])])
def test_a_live_webm_recording_that_ends_in_damage_has_a_warning(n_bytes, codes):
    """Its header declares no duration, and FFmpeg only logs the damage. A few bytes behind the end are no loss."""
    data = media.encode(Format("webm", "libopus", 48_000), media.warble(3, 48_000), live="1")
    samples, audio = decode(data[: len(data) - n_bytes // 4] + media.noise(n_bytes))
    assert 2 < len(samples) / SAMPLE_RATE < 3.1
    assert [warning.code for warning in audio.warnings] == codes


def test_flipped_bits_give_audio_or_a_request_error():
    """Random damage has no other result, and the pool decodes the next file."""
    recordings = [media.encode(fmt, media.warble(1, fmt.rate)) for fmt in (FLAC, MP3, OPUS, M4A, MKV, WMA, ADTS)]
    rng = np.random.default_rng(7)

    async def try_to_decode(pool: DecoderPool, data: bytes) -> None:
        with contextlib.suppress(RequestError):
            await decode_in(pool, data)

    async def use(pool: DecoderPool) -> Any:
        for recording in recordings * 4:
            flipped = bytearray(recording)
            for at in rng.integers(0, len(recording), 1 + len(recording) // 200):
                flipped[at] ^= 1 << int(rng.integers(8))
            await try_to_decode(pool, bytes(flipped))
        return await decode_in(pool, recordings[0])

    assert len(with_pool(use)[0]) == SAMPLE_RATE
