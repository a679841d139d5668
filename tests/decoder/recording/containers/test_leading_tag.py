"""Tags before a container that has none at its start."""

import pytest

from decoder import media
from decoder.decoding import decode, sentences, similarity
from decoder.media import FLAC, MP3, Format

TONE = media.warble(3)
TAG = b"ID3\x03\x00\x00" + bytes([0, 0, 2, 44]) + bytes(300)


@pytest.mark.parametrize("n_tags", [1, 2])
@pytest.mark.parametrize(
    "fmt",
    [
        Format("wav", "pcm_s16le"),
        Format("aiff", "pcm_s16be"),
        Format("ogg", "flac"),
        Format("au", "pcm_s16be"),
        FLAC,
        MP3,
    ],
    ids=lambda fmt: fmt.muxer,
)
def test_a_recording_behind_a_tag_is_decoded(fmt, n_tags):
    """Some programs write an ID3 tag before any file."""
    samples, audio = decode(n_tags * TAG + media.encode(fmt, TONE))
    assert similarity(samples, TONE) > 0.98
    assert sentences(audio.warnings) == ()
