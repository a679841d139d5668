"""What FFmpeg may open, and as what: a stranger's file, or a refusal that says what it is. Runs in the decoder child.

FFmpeg opens whatever it is asked to by what it reads: a playlist's entries, an SDP's address, a concat script's files.
So it gets one file object without a name, a list of containers that hold their own data, no protocol at all, and an
opener that refuses. See https://ffmpeg.org/ffmpeg-formats.html (format_whitelist, protocol_whitelist).
"""

from typing import Any, Final, NoReturn

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from asr_service.decoder.protocol import Verdict
from asr_service.decoder.sandboxed import sniff

CONTAINERS: Final = frozenset({
    "aac", "aiff", "amr", "asf", "au", "avi", "caf", "flac", "gsm", "matroska", "webm", "mov", "mp4", "m4a", "3gp",
    "3g2", "mj2", "mp3", "nistsphere", "ogg", "w64", "wav",
})  # fmt: skip
CODECS: Final = frozenset({
    "aac", "aac_latm", "ac3", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_yamaha", "alac", "amrnb", "amrwb",
    "eac3", "flac", "g722", "g726", "g726le", "gsm", "gsm_ms", "libopus", "libspeex", "mp1", "mp1float", "mp2",
    "mp2float", "mp3", "mp3float", "opus", "speex", "truespeech", "vorbis", "wmalossless", "wmapro", "wmav1", "wmav2",
    "wmavoice",
    "pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8", "pcm_s16be", "pcm_s16le", "pcm_u16be", "pcm_u16le", "pcm_s24be",
    "pcm_s24le", "pcm_u24be", "pcm_u24le", "pcm_s32be", "pcm_s32le", "pcm_u32be", "pcm_u32le", "pcm_s64be",
    "pcm_s64le", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le",
})  # fmt: skip
_OPTIONS: Final = {
    "format_whitelist": ",".join(sorted(CONTAINERS)),
    "codec_whitelist": ",".join(sorted(CODECS)),
    "protocol_whitelist": "none",
}
_NOT_ALLOWED: Final = "Format not on whitelist"
_BUFFER_BYTES: Final = 64 * 1024

_TAKEN: Final = "send a recording such as WAV, FLAC, MP3, OGG, Opus, M4A, WebM, MP4, AIFF, AMR or WMA"


class Refused(Exception):
    """The file ends here."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message


def open_container(source: sniff.Source) -> InputContainer:
    """The file, from its beginning. Raises Refused: it is none that is taken, or damaged. MemoryError."""
    if not source.seek(0, 2):
        raise Refused("unsupported", f"the file is empty (zero bytes); {_TAKEN}")
    source.seek(0)
    try:
        return av.open(
            source,
            mode="r",
            metadata_errors="ignore",
            container_options=_OPTIONS,
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse_to_open,
        )
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise _refusal(source, error) from None


def first_audio(container: InputContainer) -> AudioStream:
    """Its first audio stream, decoded on one thread; the others are not read. Raises Refused: there is none to take."""
    if not container.streams.audio:
        others = sorted({stream.type for stream in container.streams})
        seen = f"only {' and '.join(others)}" if others else "nothing"
        raise Refused("unsupported", f"there is no audio in the file: {kind_of(container)} with {seen}")
    stream = container.streams.audio[0]
    codec = stream.codec_context.name if stream.codec_context is not None else "an unknown codec"
    if codec not in CODECS:
        raise Refused("unsupported", f"audio coded as {codec} is not taken; {_TAKEN}")
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.codec_context.thread_count = 1
    return stream


def kind_of(container: InputContainer) -> str:
    """The container's name as people write it: `MPEG-1 Audio`, `QuickTime / MOV`."""
    return str(container.format.long_name)


def _refusal(source: sniff.Source, error: av.error.FFmpegError) -> Refused:
    """Name what the file seems to be: by its signature, or by what FFmpeg took it for."""
    source.seek(0)
    head = source.read(sniff.HEAD_BYTES)
    log: Any = error.log
    _, demuxer, text = log or (0, "", "")
    if demuxer and text.startswith(_NOT_ALLOWED):
        seen = f"{sniff.describe(head)} (recognised as {demuxer})"
        return Refused("unsupported", f"not a kind of file that is taken: it looks like {seen}; {_TAKEN}")
    container = sniff.audio_by_its_looks(head)
    if container is None:
        seen = sniff.describe(head)
        return Refused("unsupported", f"no audio was recognised: it looks like {seen}; {_TAKEN}")
    why = f" ({text.strip()})" if demuxer and set(demuxer.split(",")) <= CONTAINERS else ""
    return Refused("undecodable", f"it begins like {container} and cannot be read{why}; it is damaged or cut short")


def _refuse_to_open(url: str, *_: Any) -> NoReturn:
    raise PermissionError(url)
