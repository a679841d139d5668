"""The pages of an OGG file."""

import io

from asr_service.decoder.recording.containers.ogg import is_truncated
from decoder import media


def test_an_ogg_file_with_an_incomplete_last_page_is_truncated():
    """A file cut inside a page or its header is truncated; a complete file, or one cut between pages, is not."""
    complete = media.encode(media.Format("ogg", "libopus", 48_000), media.warble(1, 48_000))
    last_page = complete.rindex(b"OggS")
    assert not is_truncated(io.BytesIO(complete))
    assert is_truncated(io.BytesIO(complete[:-1]))
    assert is_truncated(io.BytesIO(complete[: last_page + 10]))
    assert not is_truncated(io.BytesIO(complete[:last_page]))
