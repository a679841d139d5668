"""Media files for the tests, encoded with PyAV."""

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
_BIT_RATES = {"libopencore_amrnb": 12_200}


@dataclass(frozen=True, slots=True)
class Format:
    """A container and codec, with rate and channel count."""

    muxer: str
    codec: str
    rate: int = 16_000
    channels: int = 1
    lossless: bool = False

    @property
    def name(self) -> str:
        return f"{self.muxer}-{self.codec}-{self.rate}-{self.channels}"


FORMATS = (
    Format("wav", "pcm_s16le", lossless=True),
    Format("wav", "pcm_u8", 8_000),
    Format("wav", "pcm_s24le", 44_100, 2, lossless=True),
    Format("wav", "pcm_s32le", 192_000, lossless=True),
    Format("wav", "pcm_f32le", 48_000, 6, lossless=True),
    Format("wav", "pcm_f64le", 11_025, lossless=True),
    Format("wav", "pcm_mulaw", 8_000),
    Format("wav", "pcm_alaw", 8_000, 2),
    Format("wav", "adpcm_ms", 22_050),
    Format("wav", "adpcm_ima_wav", 22_050),
    Format("w64", "pcm_s16le", 32_000, 2, lossless=True),
    Format("aiff", "pcm_s16be", 44_100, 2, lossless=True),
    Format("caf", "pcm_s16be", 48_000, lossless=True),
    Format("caf", "alac", 44_100, lossless=True),
    Format("au", "pcm_s16be", 8_000, lossless=True),
    Format("flac", "flac", 96_000, 2, lossless=True),
    Format("ogg", "flac", 16_000, lossless=True),
    Format("ogg", "vorbis", 44_100, 2),
    Format("ogg", "libopus", 48_000),
    Format("mp3", "libmp3lame", 44_100, 2),
    Format("mp3", "libmp3lame", 8_000),
    Format("adts", "aac", 22_050),
    Format("ipod", "aac", 48_000, 2),
    Format("ipod", "alac", 16_000, lossless=True),
    Format("mp4", "aac", 16_000),
    Format("mov", "pcm_s16le", 44_100, lossless=True),
    Format("matroska", "libopus", 48_000, 2),
    Format("matroska", "flac", 44_100, lossless=True),
    Format("webm", "libopus", 48_000),
    Format("webm", "vorbis", 44_100, 2),
    Format("asf", "wmav2", 44_100, 2),
    Format("avi", "libmp3lame", 48_000),
    Format("amr", "libopencore_amrnb", 8_000),
    Format("wav", "pcm_s64le", 48_000, 2, lossless=True),
)
FLAC, MP3, OPUS, M4A, MKV, ADTS, WMA, ALAC = (
    Format("flac", "flac"),
    Format("mp3", "libmp3lame"),
    Format("ogg", "libopus", 48_000),
    Format("ipod", "aac"),
    Format("matroska", "libopus", 48_000),
    Format("adts", "aac"),
    Format("asf", "wmav2", 44_100),
    Format("ipod", "alac"),
)


def warble(seconds: float, rate: int = 16_000) -> Pcm:
    """Return a tone that rises from 300 to 1,800 Hz every second, so that each moment differs from its neighbours."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (300 * t + 750 * (t % 1) ** 2)
    return np.asarray(np.sin(phase) * 12_000 * (0.6 + 0.4 * np.sin(6 * t)), dtype=np.int16)


def encode(fmt: Format, pcm: Pcm, **options: str) -> bytes:
    """Encode `pcm` (one channel, at `fmt.rate`) on every channel. `options` are for the muxer."""
    file = io.BytesIO()
    with av.open(file, "w", format=fmt.muxer, options=options) as container:
        _write_audio(container, _audio_stream(container, fmt), fmt, pcm)
    return file.getvalue()


def encode_video(muxer: str, fmt: Format | None, pcm: Pcm, n_frames: int = 10) -> bytes:
    """Encode mpeg4 video and, if `fmt` is given, audio."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = None if fmt is None else _audio_stream(container, fmt)
        for i in range(n_frames):
            image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * i, np.uint8), format="rgb24")
            container.mux(video.encode(image))
        if fmt is not None:
            _write_audio(container, audio, fmt, pcm)
        container.mux(video.encode(None))
    return file.getvalue()


def wav(pcm: Pcm, rate: int = 16_000, *, n_channels: int = 1, declared_bytes: int | None = None) -> bytes:
    """Return a 16-bit WAV file of interleaved samples. Its header may declare another size than it has."""
    n_bytes = pcm.nbytes if declared_bytes is None else declared_bytes
    width = 2 * n_channels
    fmt = struct.pack("<HHIIHH", 1, n_channels, rate, min(width * rate, 0xFFFF_FFFF), width, 16)
    riff = (36 + n_bytes) & 0xFFFF_FFFF
    header = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
    return header + b"data" + struct.pack("<I", n_bytes) + pcm.tobytes()


def wav_of_floats(samples: NDArray[np.float32], rate: int = 16_000) -> bytes:
    """Return a WAV file of 32-bit floats [n, channels]."""
    n_channels = samples.shape[1]
    fmt = struct.pack("<HHIIHH", 3, n_channels, rate, 4 * n_channels * rate, 4 * n_channels, 32)
    data = samples.astype("<f4").tobytes()
    header = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
    return header + b"data" + struct.pack("<I", len(data)) + data


def ogg_pages(data: bytes) -> list[bytes]:
    """Return the pages of an OGG file."""
    pages = []
    while data:
        n_segments = data[26]
        n_bytes = 27 + n_segments + sum(data[27 : 27 + n_segments])
        pages.append(data[:n_bytes])
        data = data[n_bytes:]
    return pages


def with_ogg_sum(page: bytes) -> bytes:
    """Return a page of OGG with the checksum of its bytes. RFC 3533, section 6."""
    remainder = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x104C11DB7 if remainder >> 31 else 0)) & 0xFFFF_FFFF
    return page[:22] + struct.pack("<I", remainder) + page[26:]


def nist_sphere(pcm: Pcm, rate: int = 16_000) -> bytes:
    fields = (
        f"channel_count -i 1\nsample_count -i {len(pcm)}\nsample_rate -i {rate}\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding -s3 pcm\nend_head\n"
    )
    return b"NIST_1A\n   1024\n" + fields.encode().ljust(1024 - 16, b"\n") + pcm.tobytes()


def amr_wideband(n_frames: int) -> bytes:
    """Return frames of 20 ms marked as no speech (3GPP TS 26.201). PyAV can decode AMR-WB but not encode it."""
    return b"#!AMR-WB\n" + b"\x7c" * n_frames


def gsm(n_frames: int) -> bytes:
    """Return frames of 20 ms, 33 bytes each, without a header. Every frame begins with 0xD."""
    return (b"\xd8" + bytes(32)) * n_frames


def noise(n_bytes: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(n_bytes)


def overwrite(data: bytes, start: float, end: float, seed: int = 1) -> bytes:
    """Return the file with noise from `start` to `end`, which are fractions of its size."""
    a, z = int(start * len(data)), int(end * len(data))
    return data[:a] + noise(z - a, seed) + data[z:]


def _audio_stream(container: Any, fmt: Format) -> Any:
    stream = container.add_stream(fmt.codec, rate=fmt.rate, layout=_LAYOUTS[fmt.channels])
    stream.codec_context.options = {"strict": "experimental"}  # FFmpeg marks its own Vorbis encoder as experimental
    if not fmt.lossless:
        stream.bit_rate = _BIT_RATES.get(fmt.codec, 96_000)
    return stream


def _write_audio(container: Any, stream: Any, fmt: Format, pcm: Pcm) -> None:
    many = np.repeat(pcm, fmt.channels)[np.newaxis, :]
    for frame in _frames(many, fmt):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _frames(many: Pcm, fmt: Format) -> Iterable[av.AudioFrame]:
    step = fmt.rate * fmt.channels
    for i, start in enumerate(range(0, many.shape[1], step)):
        frame = av.AudioFrame.from_ndarray(many[:, start : start + step], format="s16", layout=_LAYOUTS[fmt.channels])
        frame.sample_rate = fmt.rate
        frame.pts = i * fmt.rate
        yield frame
