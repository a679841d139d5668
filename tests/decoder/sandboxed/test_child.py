"""The file that a decoder child reads."""

import pytest

from asr_service.decoder.sandboxed.child import UnnamedFile
from decoder import media
from decoder.decoding import upload


@pytest.mark.parametrize("offset", [-1, 2**62])
def test_an_impossible_seek_returns_a_negative_errno(offset):
    """Damaged headers lead to such offsets. FFmpeg gets an error code, and the child raises no exception."""
    with upload(media.wav(media.warble(1))) as file:
        source = UnnamedFile(file.fileno())
        assert source.seek(offset) < 0
        assert source.seek(10) == 10
