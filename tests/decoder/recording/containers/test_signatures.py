"""What a file looks like by its signature."""

import pytest

from asr_service.decoder.recording.containers.signatures import describe
from decoder import media


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
