"""Signatures and headers of files."""

import io

import pytest

from asr_service.decoder.sandboxed.sniff import describe
from asr_service.decoder.sandboxed.truncation import is_ogg_truncated, mpeg_frame_bytes, wav_header_duration_s
from decoder import media


@pytest.mark.parametrize(
    ("declared_bytes", "seconds"), [(320_000, 10.0), (0, 0.0), (0xFFFF_FFFF, None), (0x7FFF_FFFF, None)]
)
def test_a_wav_header_declares_its_duration(declared_bytes, seconds):
    """The placeholder of a streaming writer declares nothing."""
    data = media.wav(media.warble(0.1), declared_bytes=declared_bytes)
    listed = data[:12] + b"LIST\x05\x00\x00\x00title\x00" + data[12:]
    assert wav_header_duration_s(io.BytesIO(listed)) == seconds


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVE", b"RIFF\x00\x00\x00\x00WAVEdata\x01\x00\x00\x00"]
)
def test_an_incomplete_wav_header_declares_no_duration(data):
    """The header is truncated, or has no byte rate."""
    assert wav_header_duration_s(io.BytesIO(data)) is None


def test_an_ogg_file_with_an_incomplete_last_page_is_truncated():
    """A file cut inside a page or its header is truncated; a complete file, or one cut between pages, is not."""
    complete = media.encode(media.Format("ogg", "libopus", 48_000), media.warble(1, 48_000))
    last_page = complete.rindex(b"OggS")
    assert not is_ogg_truncated(io.BytesIO(complete))
    assert is_ogg_truncated(io.BytesIO(complete[:-1]))
    assert is_ogg_truncated(io.BytesIO(complete[: last_page + 10]))
    assert not is_ogg_truncated(io.BytesIO(complete[:last_page]))


@pytest.mark.parametrize(
    ("header", "n_bytes"),
    [
        ("fffb9000", 417),  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz
        ("fff38462", 192),  # MPEG-2 layer III, 64 kbit/s, 24 kHz
        ("ffe318c4", 72),  # MPEG-2.5 layer III, 8 kbit/s, 8 kHz
        ("fffd8404", 384),  # MPEG-1 layer II, 128 kbit/s, 48 kHz
        ("ffff1800", 48),  # MPEG-1 layer I, 32 kbit/s, 32 kHz
        ("fffb0000", 0),
        ("fffbf000", None),
        ("49443304", None),
        ("fffb", None),
    ],
)
def test_a_frame_of_mpeg_audio_has_its_size_in_its_header(header, n_bytes):
    """Free format has none, and a reserved bit rate or something else is no frame."""
    assert mpeg_frame_bytes(bytes.fromhex(header)) == n_bytes


@pytest.mark.parametrize(
    ("head", "description"),
    [
        (b"\xef\xbb\xbf#EXTM3U\n", "playlist"),
        (b"  <!DOCTYPE HTML>", "web page"),
        (b'<?xml version="1.0"?><MPD/>', "XML"),
        (b"Sehr geehrte Frau M\xc3\xbcller,", "text"),
        ("Привет, это письмо.".encode()[:-1], "text"),
        (media.noise(400).translate(None, bytes(range(0x20))), "raw samples"),
        (bytes(40), "zero bytes"),
        (b"\x1f\x43\xb6\x75\x01\xff", "piece of a WebM recording"),
        (b"\x00\x00\x01\x00moof", "piece of an MP4 recording"),
        (media.noise(400), "raw samples"),
    ],
)
def test_an_unsupported_file_is_described(head, description):
    """The description ignores a byte order mark and spaces before the signature."""
    assert description in describe(head)
