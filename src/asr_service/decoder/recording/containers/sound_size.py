"""Corrects the size of the sound where the header of a file declares less than follows.

A writer that cannot seek back leaves a placeholder there, one that is interrupted an old size, and one that writes more
than 4 GB the size without its highest bits. FFmpeg refuses the file, or ends there without a warning.
"""

import re
from dataclasses import dataclass
from typing import Final

from asr_service.decoder.recording.containers import layouts
from asr_service.decoder.recording.containers.frames import frames_behind
from asr_service.decoder.recording.containers.layouts import Layout
from asr_service.decoder.recording.containers.riff import PLACEHOLDER
from asr_service.decoder.recording.containers.signatures import HEAD_BYTES, UNKNOWN, container_by_signature, describe
from asr_service.decoder.recording.containers.source import Patched, Source, first_other, read_at, size_of


@dataclass(frozen=True, slots=True)
class _Kind:
    """A container with one object of samples."""

    forms: tuple[bytes, ...]
    """What follows the size of the file, if anything does."""
    layout: Layout
    first: int
    """Where the first object is."""
    sound: bytes
    """The name of the object of samples."""
    placeholder: int
    """From which size on a writer does not mean it."""
    has_size: bool = False
    """Whether FFmpeg checks the size of the file, which is that of its first object."""


_KINDS: Final = {
    b"RIFF": _Kind((b"WAVE",), layouts.RIFF, 12, b"data", PLACEHOLDER),
    b"RF64": _Kind((b"WAVE",), layouts.RIFF, 12, b"data", PLACEHOLDER),
    b"BW64": _Kind((b"WAVE",), layouts.RIFF, 12, b"data", PLACEHOLDER),
    b"FORM": _Kind((b"AIFF", b"AIFC"), layouts.AIFF, 12, b"SSND", 0x7F00_0000, has_size=True),
    b"riff": _Kind((), layouts.W64, 40, b"data", 1 << 62, has_size=True),
    b"caff": _Kind((), layouts.CAF, 8, b"data", 1 << 62),
}
_HEADER_BYTES: Final = 24
_MAX_OBJECTS: Final = 256
_LARGE_SIZES: Final = b"ds64"
_LARGE: Final = Layout(8, 16, 8, "little", is_inclusive=False)
"""Where RF64 has the size of the sound, in a chunk of its own. EBU Tech 3306."""
_COUNTS: Final = {_LARGE_SIZES: (24, 8), b"COMM": (10, 4)}
"""Where an object has the number of samples, and its bytes. FFmpeg counts them if it is 0."""
_EMPTY_BYTES: Final = 8
"""The object of samples of an empty AIFF file has this size."""
_MIN_LONGER_BYTES: Final = 16 * 1024
_NAME: Final = re.compile(rb"[ -~]{4}")
_USUAL_NAMES: Final = frozenset({b"LIST", b"id3 ", b"ID3 ", b"JUNK", b"junk", b"iXML", b"bext", b"_PMX", b"APET"})
"""Of chunks and tags after the sound, which may be cut off."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A file whose header declares all of its sound."""

    source: Source
    declared_share: float | None
    """How much of the sound the header declared. None if it had a placeholder."""


def corrected(source: Source) -> Corrected | None:
    """Return the file with the true size of its sound, or None if it needs none. Moves the position.

    Knows WAV, RF64, AIFF, W64 and CAF.
    """
    head = read_at(source, 0, 12)
    kind = _KINDS.get(head[:4])
    if kind is None or (kind.forms and head[8:12] not in kind.forms):
        return None
    at = kind.first
    others: dict[bytes, int] = {}
    for _ in range(_MAX_OBJECTS):
        header = read_at(source, at, _HEADER_BYTES)
        if len(header) < kind.layout.header_bytes:
            return None
        if header.startswith(kind.sound):
            return _corrected(source, kind, at, others)
        others[header[:4]] = at
        n_bytes = kind.layout.object_bytes(header)
        if n_bytes <= 0:
            return None
        at += n_bytes
    return None


def _corrected(source: Source, kind: _Kind, at: int, others: dict[bytes, int]) -> Corrected | None:
    """Correct the object of samples at this position. `others` has the positions of the objects before it."""
    size = size_of(source)
    body_at = at + kind.layout.header_bytes
    layout, sizes_at = (_LARGE, others[_LARGE_SIZES]) if _LARGE_SIZES in others else (kind.layout, at)
    field_at = sizes_at + layout.size_at
    declared = layout.body_bytes(read_at(source, sizes_at, _HEADER_BYTES))
    is_placeholder = declared <= _EMPTY_BYTES or declared >= kind.placeholder
    if declared < kind.placeholder:
        end = body_at + max(declared, 0)
        n_min = 1 if is_placeholder else _MIN_LONGER_BYTES
        if end + n_min > size or not _is_sound(source, end, kind.layout):
            return None
    n_bytes = size - body_at
    patches = {field_at: layout.size_field(n_bytes)}
    patches |= {others[name] + place: bytes(n) for name, (place, n) in _COUNTS.items() if name in others}
    if kind.has_size:
        patches[kind.layout.size_at] = kind.layout.size_field(size - kind.layout.header_bytes)
    return Corrected(Patched(source, patches), None if is_placeholder else declared / n_bytes)


def _is_sound(source: Source, end: int, layout: Layout) -> bool:
    """Return whether what follows behind the declared end looks like samples.

    It does not if it is an object, a tag, text, another recording, or only zero bytes.
    """
    at = first_other(source, end, b"\x00")
    if at < 0:
        return False
    head = read_at(source, at, HEAD_BYTES)
    if container_by_signature(head) is not None or describe(head) != UNKNOWN or frames_behind(source, at - 1, b""):
        return False
    size = size_of(source)
    return not any(_begins_object(read_at(source, at, _HEADER_BYTES), size - at, layout) for at in {end, end + 1, at})


def _begins_object(header: bytes, n_left: int, layout: Layout) -> bool:
    name = header[:4]
    return name in _USUAL_NAMES or (_NAME.fullmatch(name) is not None and 0 < layout.object_bytes(header) <= n_left + 1)
