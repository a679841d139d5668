"""Recognises MPEG transport and program streams that end within a packet."""

from typing import Final

from asr_service.decoder.recording.containers.source import Source, read_at, size_of

_HEAD_BYTES: Final = 4096
_TS_SYNC: Final = 0x47
_TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
"""Size of a packet, and bytes before its first byte, which is always the same."""
_MIN_TS_PACKETS: Final = 4
_PACK: Final = b"\x00\x00\x01\xba"
_PACK_HEADER_BYTES: Final = 14
_MPEG1_PACK_HEADER_BYTES: Final = 12
_PS_PACKET_HEADER_BYTES: Final = 6
_PS_TAIL_BYTES: Final = 256 * 1024
_PS_END: Final = 0xB9


def is_ts_truncated(source: Source) -> bool:
    """Return whether an MPEG transport stream ends within a packet. All packets have one size. Moves the position."""
    size = size_of(source)
    head = read_at(source, 0, _HEAD_BYTES)
    for n_bytes, n_before in _TS_PACKETS:
        for at in range(n_before, n_bytes + n_before):
            marks = head[at::n_bytes]
            if len(marks) >= _MIN_TS_PACKETS and set(marks) == {_TS_SYNC}:
                return bool((size - at + n_before) % n_bytes)
    return False


def is_ps_truncated(source: Source) -> bool:
    """Return whether the last packet of an MPEG program stream extends past the file's end. Moves the position."""
    tail = read_at(source, max(0, size_of(source) - _PS_TAIL_BYTES), _PS_TAIL_BYTES)
    at = tail.find(_PACK)
    while at >= 0:
        end = _end_of_packets(tail, at)
        if end is not None:
            return end > len(tail)
        at = tail.find(_PACK, at + 1)
    return False


def _end_of_packets(data: bytes, at: int) -> int | None:
    """Follow the packets from a pack header on. Returns where they end, or None if one of them does not begin there."""
    while at < len(data):
        header = data[at : at + _PACK_HEADER_BYTES]
        if header[:3] != _PACK[: len(header[:3])]:
            return None
        if len(header) < _PACK_HEADER_BYTES:
            return at if header[3:4] == bytes([_PS_END]) else len(data) + 1
        kind = header[3]
        if kind == _PS_END:
            return len(data)
        if kind < _PACK[3]:
            return None
        if kind > _PACK[3]:
            at += _PS_PACKET_HEADER_BYTES + int.from_bytes(header[4:6], "big")
        else:
            is_mpeg2 = header[4] >> 6 == 1
            at += _PACK_HEADER_BYTES + (header[13] & 7) if is_mpeg2 else _MPEG1_PACK_HEADER_BYTES
    return at
