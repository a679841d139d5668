"""Measurement of a stream: the time of the first delta, and failed streams."""

import pytest

from api.live import serving, two_windows
from benchmarks.load.first_delta import stream
from fakes import Call


def test_a_stream_is_timed_from_the_first_byte_sent(tmp_path):
    """The first delta arrives before the end of the stream. The joined deltas are the text."""
    (tmp_path / "long.wav").write_bytes(two_windows())
    with serving(vad_filter=False) as live:
        streamed = stream(live.url, tmp_path / "long.wav")
    assert 0 < streamed.first_delta_s < streamed.whole_s
    assert (streamed.n_deltas, streamed.n_characters) == (2, len("hello hello"))


def test_a_failed_stream_is_not_measured(tmp_path):
    """A stream that ends with an error raises RuntimeError."""

    def before(call: Call) -> None:
        if call.stage == "generate" and call.n_frames < 2000:
            raise ValueError("broken")

    (tmp_path / "long.wav").write_bytes(two_windows())
    with serving(vad_filter=False) as live:
        live.model.before = before
        with pytest.raises(RuntimeError, match="inference"):
            stream(live.url, tmp_path / "long.wav")
