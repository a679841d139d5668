"""Opens an untrusted file with FFmpeg and reads its packets, or refuses it with a message that says what it is.

FFmpeg opens what a file refers to: the entries of a playlist, the address of an SDP, the files of a concat script. So
FFmpeg gets a file object without a name, an allow-list of containers that hold their own data, no protocols, and an
`io_open` that refuses. See https://ffmpeg.org/ffmpeg-formats.html (format_whitelist, protocol_whitelist).
"""

from collections.abc import Iterator
from typing import Any, Final, NoReturn

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from asr_service.decoder.protocol import Verdict
from asr_service.decoder.recording.containers import signatures
from asr_service.decoder.recording.containers.source import Source, read_at, size_of

CONTAINERS: Final = frozenset({
    "aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dts", "eac3", "flac", "flv", "gsm", "loas", "m4a",
    "matroska", "webm", "mj2", "mlp", "mov", "mp3", "mp4", "3gp", "3g2", "mpc", "mpc8", "mpeg", "mpegts", "nistsphere",
    "ogg", "tak", "truehd", "tta", "voc", "w64", "wav", "wv",
})  # fmt: skip
CODECS: Final = frozenset({
    "aac", "aac_latm", "ac3", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_sbpro_2", "adpcm_sbpro_3",
    "adpcm_sbpro_4", "adpcm_swf", "adpcm_yamaha", "alac", "amrnb", "amrwb", "ape", "dca", "eac3", "flac", "g722",
    "g726", "g726le", "gsm", "gsm_ms", "libopus", "libspeex", "mlp", "mp1", "mp1float", "mp2", "mp2float", "mp3",
    "mp3float", "mpc7", "mpc8", "nellymoser", "opus", "speex", "tak", "truehd", "truespeech", "tta", "vorbis",
    "wavpack", "wmalossless", "wmapro", "wmav1", "wmav2", "wmavoice",
    "pcm_alaw", "pcm_bluray", "pcm_dvd", "pcm_mulaw", "pcm_s8", "pcm_u8", "pcm_s16be", "pcm_s16le", "pcm_u16be",
    "pcm_u16le", "pcm_s24be", "pcm_s24le", "pcm_u24be", "pcm_u24le", "pcm_s32be", "pcm_s32le", "pcm_u32be",
    "pcm_u32le", "pcm_s64be", "pcm_s64le", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le",
})  # fmt: skip
_OPTIONS: Final = {
    "format_whitelist": ",".join(sorted(CONTAINERS)),
    "codec_whitelist": ",".join(sorted(CODECS)),
    "protocol_whitelist": "none",
}
_WITHOUT_LIST: Final = frozenset({"mpeg", "flv"})
"""Containers that do not list their tracks. FFmpeg knows those that begin within the first 5 MB."""
_FAR: Final = {"probesize": str(64 * 1024 * 1024), "analyzeduration": str(600 * av.time_base)}
_NOT_ALLOWED: Final = "Format not on whitelist"
_MAX_FAILED_READS: Final = 256  # in a row
_BUFFER_BYTES: Final = 64 * 1024

ADVICE: Final = "Send a recording such as WAV, FLAC, MP3, OGG, Opus, M4A, WebM, MP4, AIFF, AMR or WMA."
ENCRYPTED: Final = (
    "The audio is encrypted, as music and audiobooks with copy protection are. Send a recording that is not encrypted."
)


class Refused(Exception):
    """The file is not decoded any further. `message` is for the client."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message


def open_container(source: Source) -> InputContainer:
    """Open the file from its beginning.

    Raises Refused: the file is not supported, or damaged.
    Raises MemoryError: opening it needs too much memory.
    """
    if not size_of(source):
        raise Refused("unsupported", f"The file is empty (zero bytes). {ADVICE}")
    if read_at(source, 0, 4) == b"RIFX":  # FFmpeg takes its samples for little-endian ones: noise
        raise Refused("unsupported", f"The file is a big-endian WAV (RIFX), which is not supported. {ADVICE}")
    container = _open(source, _OPTIONS)
    if container.format.name in _WITHOUT_LIST and not container.streams.audio:
        return _open(source, _OPTIONS | _FAR)
    return container


def _open(source: Source, options: dict[str, str]) -> InputContainer:
    source.seek(0)
    try:
        return av.open(
            source,
            mode="r",
            metadata_errors="ignore",
            container_options=options,
            buffer_size=_BUFFER_BYTES,
            io_open=_deny_open,
        )
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise _refusal(source, error) from None


def read_packets(container: InputContainer, stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
    """Yield every packet that can be read. The last one is empty and flushes the decoder.

    Raises Refused: the packets are encrypted.
    Raises MemoryError: reading needs too much memory.
    """
    n_failed = 0
    packets = container.demux(stream)
    while n_failed < _MAX_FAILED_READS:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except MemoryError:
            raise
        except av.error.FFmpegError:
            n_failed += 1
            packets = container.demux(stream)
            continue
        except IndexError:  # after the last packet, if a track was added since the file was opened
            return
        n_failed = 0
        if packet.has_sidedata("encryption_info"):
            raise Refused("unsupported", ENCRYPTED)
        yield packet


def container_name(container: InputContainer) -> str:
    """Return the container's name for people, such as `QuickTime / MOV`."""
    return str(container.format.long_name)


def _refusal(source: Source, error: av.error.FFmpegError) -> Refused:
    """Return an error that says what the file looks like, by its signature or by FFmpeg's probing."""
    head = read_at(source, 0, signatures.HEAD_BYTES)
    log: Any = error.log
    _, demuxer, text = log or (0, "", "")
    if demuxer and text.startswith(_NOT_ALLOWED):
        looks = signatures.describe(head)
        kind = f"FFmpeg's format {demuxer!r}" if looks == signatures.UNKNOWN else f"it looks like {looks} ({demuxer})"
        return Refused("unsupported", f"This kind of file is not supported: {kind}. {ADVICE}")
    container = signatures.container_by_signature(head)
    if container is None:
        looks = signatures.describe(head)
        return Refused("unsupported", f"No audio was recognised: the file looks like {looks}. {ADVICE}")
    reason = f" ({text.strip()})" if demuxer and set(demuxer.split(",")) <= CONTAINERS else ""
    return Refused(
        "undecodable",
        f"The file begins like {container} but cannot be read{reason}. It is damaged or cut short. Export it again.",
    )


def _deny_open(url: str, *_: Any) -> NoReturn:
    raise PermissionError(url)
