"""Several recordings in one file, and channels that cancel each other."""

import io
import struct

import av
import numpy as np
import pytest

from asr_service.audio import SAMPLE_RATE
from asr_service.errors import UndecodableAudio, UnsupportedAudio
from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import FLAC, M4A, MKV, MP3, OPUS, WMA, Format

TONE = media.warble(3)
AMR = Format("amr", "libopencore_amrnb", 8_000)
TAG = b"ID3\x03\x00\x00" + bytes([0, 0, 2, 44]) + bytes(300)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (OPUS, Format("ogg", "libopus", 48_000, 2)),
        (Format("ogg", "libopus", 48_000, 2), OPUS),
        (Format("ogg", "vorbis", 44_100, 2), Format("ogg", "vorbis", 22_050, 2)),
        (Format("ogg", "flac", 16_000), OPUS),
        (FLAC, Format("flac", "flac", 44_100, 2)),
        (Format("au", "pcm_s16be"), Format("au", "pcm_s16be", 44_100, 2)),
        (Format("avi", "libmp3lame"), Format("avi", "pcm_s16le", 44_100)),
        (AMR, AMR),
    ],
    ids=lambda fmt: fmt.name,
)
def test_every_link_of_a_chained_file_is_decoded(first, second):
    """The next link may have another codec, rate or channel count. FFmpeg takes it for data of the first one."""
    data = b"".join(media.encode(fmt, media.warble(3, fmt.rate)) for fmt in (first, second))
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.2)
    assert similarity(samples[: 3 * SAMPLE_RATE], TONE) > 0.9
    assert similarity(samples[3 * SAMPLE_RATE :], TONE) > 0.9
    assert sentences(audio.warnings) == ()


def test_the_warnings_of_many_links_are_limited():
    """A radio stream that was recorded for days may have thousands of damaged links. The rest is decoded."""
    data = media.encode(OPUS, media.warble(3, OPUS.rate))
    headers = b"".join(media.ogg_pages(data)[:2])
    samples, audio = decode(data + 500 * headers + data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.2)
    assert len(sentences(audio.warnings)) == 21
    assert sentences(audio.warnings)[0].startswith("A part of the file, at 3.0 s, could not be decoded")
    assert sentences(audio.warnings)[-1] == "Other parts of the file have 480 more warnings."


@pytest.mark.parametrize(("seconds", "n_gaps"), [((0.05,), 1), ((0.05, 0.55), 1), ((1, 1), 2)])
def test_a_link_that_starts_late_may_follow_one_of_a_moment(seconds, n_gaps):
    """Each link but the first lost its first page. A gap so soon after another one is left out, and no audio is."""
    first, *others = (media.encode(OPUS, media.warble(s, OPUS.rate), page_duration="500000") for s in (*seconds, 4))
    samples, audio = decode(first + b"".join(map(_with_a_damaged_page, others)))
    assert len(samples) / SAMPLE_RATE == pytest.approx(sum(seconds) + 4 - 0.5 * len(others), abs=0.1)
    assert len(audio.gaps) == n_gaps


def _with_a_damaged_page(ogg: bytes) -> bytes:
    pages = media.ogg_pages(ogg)
    pages[2] = pages[2][:-1] + bytes([pages[2][-1] ^ 1])
    return b"".join(pages)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.wav(TONE) * 2, id="wav"),
        pytest.param(media.wav(TONE) + media.encode(FLAC, TONE), id="wav-and-flac"),
        *(
            pytest.param(media.encode(fmt, media.warble(3, fmt.rate)) * 2, id=fmt.muxer)
            for fmt in (
                M4A,
                MKV,
                WMA,
                Format("w64", "pcm_s16le"),
                Format("caf", "pcm_s16be"),
                Format("aiff", "pcm_s16be"),
                Format("flv", "aac"),
                Format("tta", "tta"),
                Format("voc", "pcm_u8"),
                Format("wv", "wavpack"),
            )
        ),
        pytest.param(media.encode(Format("wav", "pcm_s16le"), TONE, rf64="always") * 2, id="rf64"),
        pytest.param(media.encode(FLAC, TONE) + media.wav(TONE), id="flac-and-wav"),
        pytest.param(media.encode(FLAC, TONE) + TAG + media.encode(MP3, TONE), id="flac-and-tagged-mp3"),
    ],
)
def test_a_second_recording_in_the_file_has_a_warning(data):
    """Players stop at the end of the first one too, so the warning says that more follows."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.2)
    (warning,) = sentences(audio.warnings)
    assert warning.startswith("A second recording (")
    assert warning.endswith("Only the first was decoded.")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(media.wav(TONE) + b"id3 " + struct.pack("<I", len(TAG)) + TAG, id="wav-with-a-tag"),
        pytest.param(TAG + media.encode(FLAC, TONE) + TAG, id="flac-between-tags"),
        pytest.param(media.encode(Format("wv", "wavpack", 16_000, 6), TONE), id="blocks-of-several-channels"),
    ],
)
def test_what_belongs_to_a_recording_is_no_second_one(data):
    """Tags follow after the sound, and WavPack has a block for each pair of channels."""
    samples, audio = decode(data)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.1)
    assert audio.warnings == ()


@pytest.mark.parametrize("dtype", ["s16", "flac"])
def test_channels_that_cancel_give_one_channel(dtype):
    """One side is inverted, so their sum is silence."""
    stereo = np.stack([TONE, -TONE], axis=1).ravel()
    data = media.wav(stereo, n_channels=2)
    if dtype == "flac":
        data = _flac(stereo)
    samples, _ = decode(data)
    assert similarity(samples, TONE) > 0.99
    assert np.abs(samples).max() > 0.2


@pytest.mark.parametrize("nothing", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_without_numbers_is_left_out(channel, nothing):
    """A filter that got one NaN writes nothing else to its channel. The sum of both would be NaN too."""
    stereo = np.repeat((TONE / 32768).astype(np.float32)[:, np.newaxis], 2, axis=1)
    stereo[TONE.size // 2 :, channel] = nothing
    samples, _ = decode(media.wav_of_floats(stereo))
    assert similarity(samples, TONE) > 0.99


def test_a_recording_of_two_bass_channels_is_decoded():
    """No channel is left to mix without them, which is no error of the service."""
    data = media.encode(Format("caf", "pcm_s16be", 16_000, 2), TONE)
    at = data.index(b"chan")
    screen, second = 4, 37  # Apple's labels of the two channels
    labels = struct.pack(">4sqIII", b"chan", 52, 0, 0, 2) + b"".join(
        struct.pack(">II12x", label, 0) for label in (screen, second)
    )
    n_old = 12 + int.from_bytes(data[at + 4 : at + 12], "big")
    samples, _ = decode(data[:at] + labels + data[at + n_old :])
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("n_bytes", [500, 100_000])
def test_a_wav_file_of_noise_without_a_packet_is_undecodable(n_bytes):
    """The header declares FLAC, and no packet is found in the noise."""
    noise = media.noise(n_bytes)
    data = bytearray(media.wav(np.frombuffer(noise, np.int16)))
    data[20:22] = b"\xac\xf1"
    with pytest.raises(UndecodableAudio):
        decode(bytes(data))


def test_a_big_endian_wav_file_is_refused():
    """FFmpeg would decode it to noise."""
    with pytest.raises(UnsupportedAudio, match="RIFX"):
        decode(b"RIFX" + media.wav(TONE)[4:])


def _flac(interleaved: media.Pcm) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(interleaved[np.newaxis, :], format="s16", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
