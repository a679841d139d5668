"""Media files for the tests, made with the codecs that PyAV brings."""

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
class Form:
    """One way to write a recording down."""

    muxer: str
    codec: str
    rate: int = 16_000
    channels: int = 1
    lossless: bool = False

    @property
    def name(self) -> str:
        return f"{self.muxer}-{self.codec}-{self.rate}-{self.channels}"


FORMS = (
    Form("wav", "pcm_s16le", lossless=True),
    Form("wav", "pcm_u8", 8_000),
    Form("wav", "pcm_s24le", 44_100, 2, lossless=True),
    Form("wav", "pcm_s32le", 192_000, lossless=True),
    Form("wav", "pcm_f32le", 48_000, 6, lossless=True),
    Form("wav", "pcm_f64le", 11_025, lossless=True),
    Form("wav", "pcm_mulaw", 8_000),
    Form("wav", "pcm_alaw", 8_000, 2),
    Form("wav", "adpcm_ms", 22_050),
    Form("wav", "adpcm_ima_wav", 22_050),
    Form("w64", "pcm_s16le", 32_000, 2, lossless=True),
    Form("aiff", "pcm_s16be", 44_100, 2, lossless=True),
    Form("caf", "pcm_s16be", 48_000, lossless=True),
    Form("caf", "alac", 44_100, lossless=True),
    Form("au", "pcm_s16be", 8_000, lossless=True),
    Form("flac", "flac", 96_000, 2, lossless=True),
    Form("ogg", "flac", 16_000, lossless=True),
    Form("ogg", "vorbis", 44_100, 2),
    Form("ogg", "libopus", 48_000),
    Form("mp3", "libmp3lame", 44_100, 2),
    Form("mp3", "libmp3lame", 8_000),
    Form("adts", "aac", 22_050),
    Form("ipod", "aac", 48_000, 2),
    Form("ipod", "alac", 16_000, lossless=True),
    Form("mp4", "aac", 16_000),
    Form("mov", "pcm_s16le", 44_100, lossless=True),
    Form("matroska", "libopus", 48_000, 2),
    Form("matroska", "flac", 44_100, lossless=True),
    Form("webm", "libopus", 48_000),
    Form("webm", "vorbis", 44_100, 2),
    Form("asf", "wmav2", 44_100, 2),
    Form("avi", "libmp3lame", 48_000),
    Form("amr", "libopencore_amrnb", 8_000),
)


def warble(seconds: float, rate: int = 16_000) -> Pcm:
    """A tone that climbs from 300 to 1,800 Hz every second: each moment tells itself from its neighbours."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (300 * t + 750 * (t % 1) ** 2)
    return np.asarray(np.sin(phase) * 12_000 * (0.6 + 0.4 * np.sin(6 * t)), dtype=np.int16)


def encode(form: Form, pcm: Pcm, **options: str) -> bytes:
    """`pcm` (one channel, at `form.rate`) on every channel of a file. `options` are the muxer's."""
    file = io.BytesIO()
    with av.open(file, "w", format=form.muxer, options=options) as container:
        _write_audio(container, _audio_stream(container, form), form, pcm)
    return file.getvalue()


def encode_film(muxer: str, form: Form | None, pcm: Pcm, n_pictures: int = 10) -> bytes:
    """A film with sound, or a silent one: mpeg4 video and, where `form` is given, audio."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = None if form is None else _audio_stream(container, form)
        for i in range(n_pictures):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * i, np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        if form is not None:
            _write_audio(container, audio, form, pcm)
        container.mux(video.encode(None))
    return file.getvalue()


def wav(pcm: Pcm, rate: int = 16_000, *, n_channels: int = 1, announced_bytes: int | None = None) -> bytes:
    """A plain 16-bit WAV of interleaved samples, whose header may promise something else than there is."""
    n_bytes = pcm.nbytes if announced_bytes is None else announced_bytes
    width = 2 * n_channels
    form = struct.pack("<HHIIHH", 1, n_channels, rate, min(width * rate, 0xFFFF_FFFF), width, 16)
    riff = (36 + n_bytes) & 0xFFFF_FFFF
    header = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return header + b"data" + struct.pack("<I", n_bytes) + pcm.tobytes()


def nist_sphere(pcm: Pcm, rate: int = 16_000) -> bytes:
    fields = (
        f"channel_count -i 1\nsample_count -i {len(pcm)}\nsample_rate -i {rate}\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding -s3 pcm\nend_head\n"
    )
    return b"NIST_1A\n   1024\n" + fields.encode().ljust(1024 - 16, b"\n") + pcm.tobytes()


def amr_wideband(n_frames: int) -> bytes:
    """Frames of 20 ms that say there is no speech (3GPP TS 26.201): PyAV can decode AMR-WB and not write it."""
    return b"#!AMR-WB\n" + b"\x7c" * n_frames


def gsm(n_frames: int) -> bytes:
    """Frames of 20 ms, 33 bytes each, without a header; every frame begins with 0xD."""
    return (b"\xd8" + bytes(32)) * n_frames


def noise(n_bytes: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(n_bytes)


def overwrite(data: bytes, start: float, end: float, seed: int = 1) -> bytes:
    """The same file with noise from `start` to `end`, fractions of its length."""
    a, z = int(start * len(data)), int(end * len(data))
    return data[:a] + noise(z - a, seed) + data[z:]


def _audio_stream(container: Any, form: Form) -> Any:
    stream = container.add_stream(form.codec, rate=form.rate, layout=_LAYOUTS[form.channels])
    stream.codec_context.options = {"strict": "experimental"}  # FFmpeg's own Vorbis encoder calls itself that
    if not form.lossless:
        stream.bit_rate = _BIT_RATES.get(form.codec, 96_000)
    return stream


def _write_audio(container: Any, stream: Any, form: Form, pcm: Pcm) -> None:
    many = np.repeat(pcm, form.channels)[np.newaxis, :]
    for frame in _frames(many, form):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _frames(many: Pcm, form: Form) -> Iterable[av.AudioFrame]:
    step = form.rate * form.channels
    for i, start in enumerate(range(0, many.shape[1], step)):
        frame = av.AudioFrame.from_ndarray(many[:, start : start + step], format="s16", layout=_LAYOUTS[form.channels])
        frame.sample_rate = form.rate
        frame.pts = i * form.rate
        yield frame
