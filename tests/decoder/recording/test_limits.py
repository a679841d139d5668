"""The limits of one file, through a real decoder child."""

import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.errors import AudioTooLong, UndecodableAudio
from decoder import media
from decoder.decoding import decode, decode_in, read_all, upload, with_pool
from decoder.media import FLAC, MKV, Format

MKV_CLUSTER = b"\x1f\x43\xb6\x75"


def test_a_recording_longer_than_the_limit_is_refused():
    """An hour of silence in 0.7 MB is refused, with or without a duration in its header."""
    recording = media.encode(FLAC, np.zeros(3600 * SAMPLE_RATE, np.int16))
    assert len(recording) < 1_000_000
    without_duration = (
        recording[:21] + bytes([recording[21] & 0xF0]) + bytes(4) + recording[26:]
    )  # STREAMINFO's total samples
    for data in (recording, without_duration):
        with pytest.raises(AudioTooLong, match="limit of 60 s"):
            decode(data, DecodeLimits(max_audio_s=60))


def test_decoded_bytes_are_counted_in_the_files_own_format():
    """Many channels and a high sample rate count, although the recording is short."""
    data = media.encode(Format("wav", "pcm_f32le", 48_000, 6), media.warble(1, 48_000))
    with pytest.raises(AudioTooLong, match="limit of 1000000 bytes"):
        decode(data, DecodeLimits(max_audio_s=60, max_decoded_bytes=1_000_000))


def test_processor_time_is_limited():
    """A file that needs more processor time than its size allows is undecodable."""
    limits = DecodeLimits(max_audio_s=10**6, min_cpu_s=1, cpu_s_per_mib=0)

    async def use(pool: DecoderPool) -> None:
        with upload(media.wav(media.warble(0), 192_000, declared_bytes=2**31 - 2**20)) as file:
            file.truncate(2**31 - 2**20)  # silence in a sparse file
            async with pool.decode(file) as audio:
                await read_all(audio)

    with pytest.raises(UndecodableAudio, match="processor time"):
        with_pool(use, limits)


@pytest.mark.parametrize("write", [media.wav, media.nist_sphere])
@pytest.mark.parametrize("rate", [1, 3, 999])
def test_a_sample_rate_too_low_for_speech_is_refused(write, rate):
    """200 kB at 1 Hz last a day and would become gigabytes at 16 kHz; they are not resampled."""
    with pytest.raises(UndecodableAudio, match=f"rate of {rate} Hz.* at least 1000 Hz"):
        decode(write(np.zeros(100_000, np.int16), rate), DecodeLimits(max_audio_s=10**6))


def test_a_sample_rate_too_high_for_the_resampler_is_refused():
    """Its filter would take a gigabyte and seconds for a file of any size."""
    with pytest.raises(UndecodableAudio, match=r"rate of 10000001 Hz. At most 10000000 Hz"):
        decode(media.wav(media.warble(1), 10_000_001))


def test_frames_with_too_low_a_sample_rate_are_skipped():
    """A recording may change its sample rate: the part at 3 Hz after the first two seconds is left out."""
    two_s, slow = (
        media.encode(Format("ogg", "flac", rate), media.warble(s, rate)) for s, rate in ((2, 16_000), (1000, 3))
    )
    assert len(decode(two_s + slow)[0]) == 2 * SAMPLE_RATE


def test_the_lowest_sample_rate_is_decoded():
    """A recording at exactly 1000 Hz is accepted."""
    assert len(decode(media.wav(media.warble(2, 1000), 1000))[0]) == pytest.approx(2 * SAMPLE_RATE, abs=200)


@pytest.mark.parametrize("bomb", ["a rate of 10 MHz", "a packet of 184 MB"])
def test_memory_is_limited(bomb):
    """A file that needs more memory than a child may use is undecodable, and the next file is decoded."""
    recording = media.encode(MKV, media.warble(1, 48_000))
    packet = b"\xe7\x81\x00" + b"\xa3\x1b\x00\x00\x00" + b"\x81\x00\x00\x80"
    matroska = recording[: recording.index(MKV_CLUSTER)] + MKV_CLUSTER + b"\x01" + b"\xff" * 7 + packet
    data, size = (matroska, 200 * 2**20) if "packet" in bomb else (media.wav(media.warble(1), 9_999_991), 20_000)

    async def use(pool: DecoderPool) -> int:
        with upload(data) as file:
            file.truncate(size)
            async with pool.decode(file) as audio:
                with pytest.raises(UndecodableAudio, match="memory" if "rate" in bomb else "nothing of it"):
                    await read_all(audio)
        return len((await decode_in(pool, recording))[0])

    limits = DecodeLimits(max_audio_s=3600, memory_bytes=200 * 2**20)
    assert with_pool(use, limits) == pytest.approx(SAMPLE_RATE, abs=2_000)
