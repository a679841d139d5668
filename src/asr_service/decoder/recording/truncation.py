"""Decides whether a recording ends early, by what FFmpeg reports and by the sizes that the container stores.

A file that ends exactly between two packets is not recognised if its header declares no duration: MPEG streams, AC-3,
AAC and OGG.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asr_service.decoder.recording.containers import asf, avi, caf, flv, gsm, mpeg_streams, ogg, wav
from asr_service.decoder.recording.containers.file_size import is_shorter_than_declared
from asr_service.decoder.recording.containers.source import Source
from asr_service.decoder.recording.declared import DeclaredEnd

_ASF: Final = "asf"
_IS_TRUNCATED: Final[dict[str, Callable[[Source], bool]]] = {
    "flv": flv.is_truncated,
    "gsm": gsm.is_truncated,
    "mpegts": mpeg_streams.is_ts_truncated,
    "mpeg": mpeg_streams.is_ps_truncated,
}
"""By FFmpeg's name of the container."""
_FULL_DURATION_S: Final[dict[str, Callable[[Source], float | None]]] = {
    "avi": avi.declared_duration_s,
    "caf": caf.declared_duration_s,
    _ASF: asf.declared_duration_s,
}
"""The duration in the header of a file that is shorter than it declares, which FFmpeg then ignores."""

_STREAMED: Final = frozenset({"wav", "caf"})
"""A writer that cannot seek back declares no duration in them, and may end anywhere."""


@dataclass(frozen=True, slots=True)
class FullEnd:
    """The end of the complete recording."""

    place_s: float | None
    """Its place. None if nothing declares it."""
    truncated: bool
    """Whether the file ends within a packet."""


def full_end(kind: str, source: Source, declared: DeclaredEnd, packets_end_s: float, *, truncated: bool) -> FullEnd:
    """Return where the complete recording ends, once its packets were read. Moves the position.

    `kind` is FFmpeg's name of the container. `packets_end_s` is the place where the last packet ends. `truncated`:
    FFmpeg reported that the last packet is incomplete.
    """
    if kind == "ogg":  # FFmpeg took the duration from the last complete page
        truncated = truncated or ogg.is_truncated(source)
        return FullEnd(None if truncated else declared.audio_s, truncated)
    place_s = declared.audio_s
    truncated = truncated or (place_s is not None and is_shorter_than_declared(source, kind))
    if kind in _IS_TRUNCATED:
        truncated = truncated or _IS_TRUNCATED[kind](source)
        if truncated and place_s is not None and place_s <= packets_end_s:
            place_s = None  # FFmpeg took it from the last packet
    if place_s is None and truncated:
        place_s = wav.declared_duration_s(source) if kind == "wav" else declared.file_s
    if kind in _FULL_DURATION_S:
        full_s = _FULL_DURATION_S[kind](source)
        truncated = truncated or (kind == _ASF and full_s is not None)
        place_s = full_s or place_s
    if kind in _STREAMED and place_s is None:
        truncated = False
    return FullEnd(place_s, truncated)
