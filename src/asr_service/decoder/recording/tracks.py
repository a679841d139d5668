"""Chooses one of a file's audio tracks: the one that was asked for, or the one that players choose."""

from typing import Final

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition

from asr_service.decoder.protocol import RecordingWarning
from asr_service.decoder.recording.containers.source import Part, Source, size_of
from asr_service.decoder.recording.demuxer import ADVICE, CODECS, ENCRYPTED, Refused, container_name, open_container

_MAX_NAMED: Final = 8
_MAX_TITLE: Final = 40
_ENCRYPTED_TAGS: Final = frozenset({"drms", "aavd", "enca"})
_MATROSKA_KEY: Final = "enc_key_id"
_GROWING: Final = frozenset({"mpegts", "mpeg"})
_MIN_LATER_BYTES: Final = 1024 * 1024
"""Shorter rests are the last pictures of a film. FFmpeg knows all tracks of short files."""
_MIN_SAMPLE_RATE: Final = 1000
"""Hz. At lower rates a few kB become hours of noise at 16 kHz, and no recorder uses them."""
_MAX_SAMPLE_RATE: Final = 10_000_000
"""Hz. At a hundred times this rate, the resampler's filter takes a gigabyte and 20 s, whatever the file's size."""


def choose_track(container: InputContainer, wanted: str) -> tuple[AudioStream, tuple[RecordingWarning, ...]]:
    """Return an audio stream, set to be decoded on one thread, and warnings. The other streams are not read.

    `wanted` is the number of a track, from 1, or languages separated by commas; empty for the default track. If that
    codec is not supported, the next track is taken.

    Raises Refused: there is no audio stream, no such track, it is encrypted, or its codec or sample rate is not
    supported.
    """
    tracks = container.streams.audio
    if not tracks:
        raise _refusal_without_audio(container)
    first = _wanted(tracks, wanted) if wanted else _default(tracks)
    chosen = first if wanted or _is_supported(first) else next(filter(_is_supported, tracks), first)
    if _is_encrypted(chosen):
        raise Refused("unsupported", ENCRYPTED)
    if not _is_supported(chosen):
        raise Refused("unsupported", f"The audio codec {_codec(chosen)!r} is not supported. {ADVICE}")
    _check_sample_rate(chosen.rate)
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    chosen.codec_context.thread_count = 1
    return chosen, _warnings(tracks, first, chosen)


def _refusal_without_audio(container: InputContainer) -> Refused:
    name = container_name(container)
    others = sorted({stream.type for stream in container.streams})
    if not others:
        text = f"The file is {name}, but no track was found in it. It is damaged or cut short. Export it again."
        return Refused("undecodable", text)
    return Refused("unsupported", f"The file has no audio: it is {name} with only {' and '.join(others)}.")


def later_recording(container: InputContainer, source: Source, at: int) -> str | None:
    """Return the container's name if it has other audio tracks behind this position, the last packet of the chosen one.

    FFmpeg adds them to a broadcast while it reads, and does not log it. Moves the position.
    """
    n_bytes = size_of(source) - at
    if container.format.name not in _GROWING or n_bytes < _MIN_LATER_BYTES:
        return None
    known = {track.id for track in container.streams}
    try:
        later = open_container(Part(source, at + 1, at + n_bytes)).streams.audio
    except Refused:
        return None
    return container_name(container) if any(track.id not in known for track in later) else None


def _default(tracks: tuple[AudioStream, ...]) -> AudioStream:
    """Return the first track that is marked as default, or else the first one."""
    return next((track for track in tracks if track.disposition & Disposition.default), tracks[0])


def _wanted(tracks: tuple[AudioStream, ...], wanted: str) -> AudioStream:
    if wanted.isascii() and wanted.isdecimal() and 1 <= int(wanted) <= len(tracks):
        return tracks[int(wanted) - 1]
    languages = wanted.lower().split(",")
    for track in tracks:
        if _language(track).lower() in languages or _language(track).lower().split("-")[0] in languages:
            return track
    have = f"{len(tracks)}: {_list(tracks)}" if len(tracks) > 1 else f"one: {_list(tracks)}"
    raise Refused("no_such_track", f"The file has no audio track {languages[0]!r}. It has {have}.")


def _warnings(tracks: tuple[AudioStream, ...], first: AudioStream, chosen: AudioStream) -> tuple[RecordingWarning, ...]:
    if len(tracks) == 1:
        return ()
    number, wanted_number = tracks.index(chosen) + 1, tracks.index(first) + 1
    text = f"The file has {len(tracks)} audio tracks: {_list(tracks)}. Track {number} was used"
    values: dict[str, int | float | str] = {"count": len(tracks), "tracks": _list(tracks), "track": number}
    if chosen is first:
        return (RecordingWarning("several_tracks", f"{text}; audio_track chooses another.", values),)
    because = f"{text}, because the codec of track {wanted_number} is not supported."
    return (RecordingWarning("track_not_supported", because, values | {"unsupported_track": wanted_number}),)


def _list(tracks: tuple[AudioStream, ...]) -> str:
    named = [f"{i} ({_describe(track)})" for i, track in enumerate(tracks[:_MAX_NAMED], 1)]
    return ", ".join(named) + (", ..." if len(tracks) > _MAX_NAMED else "")


def _describe(track: AudioStream) -> str:
    title = "".join(c for c in track.metadata.get("title", "") if c.isprintable())[:_MAX_TITLE]
    is_default = "default" if track.disposition & Disposition.default else ""
    return ", ".join(filter(None, (_language(track) or "no language", title, _codec(track), is_default)))


def _language(track: AudioStream) -> str:
    """Return the language tag of a track, empty if it has none."""
    language = "".join(c for c in track.metadata.get("language", "") if c.isalnum() or c == "-")[:_MAX_TITLE]
    return "" if language == "und" else language


def _codec(track: AudioStream) -> str:
    return track.codec_context.name if track.codec_context is not None else "unknown codec"


def _is_supported(track: AudioStream) -> bool:
    return track.codec_context is not None and track.codec_context.name in CODECS


def _is_encrypted(track: AudioStream) -> bool:
    """Return whether the container declares it: MP4 by the codec's tag (iTunes, Audible, CENC), Matroska by a key."""
    return _tag(track) in _ENCRYPTED_TAGS or _MATROSKA_KEY in track.metadata


def _tag(track: AudioStream) -> str:
    """Return the container's name for the codec, empty if it is a number or not text."""
    try:
        return track.codec_context.codec_tag if track.codec_context is not None else ""
    except UnicodeDecodeError:  # in WAV
        return ""


def is_usable_rate(rate: int) -> bool:
    """Return whether audio of this sample rate, in Hz, is decoded."""
    return _MIN_SAMPLE_RATE <= rate <= _MAX_SAMPLE_RATE


def _check_sample_rate(rate: int | None) -> None:
    if not rate or is_usable_rate(rate):  # 0 if the header declares none; then the frames are checked
        return
    need = f"Speech needs at least {_MIN_SAMPLE_RATE} Hz, and 8000 Hz to be intelligible."
    if rate > _MAX_SAMPLE_RATE:
        need = f"At most {_MAX_SAMPLE_RATE} Hz are supported."
    raise Refused("undecodable", f"The recording declares a sample rate of {rate} Hz. {need} Export it again.")
