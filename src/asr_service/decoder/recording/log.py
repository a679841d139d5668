"""What FFmpeg logs about a recording: its demuxers and decoders report some problems only there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import av.logging

BAD_PAGE: Final = "CRC mismatch!"  # libavformat/oggdec.c, which leaves the page out
ENDED_EARLY: Final = "File ended prematurely"  # libavformat/matroskadec.c, before it returns its last packets


class Log:
    """The lines that FFmpeg has logged since the last `clear`."""

    def __init__(self, lines: list[tuple[int, str, str]]) -> None:
        self._lines = lines

    def __bool__(self) -> bool:
        return bool(self._lines)

    def has(self, *beginnings: str) -> bool:
        """Return whether a line begins with one of these texts."""
        return any(text.startswith(beginnings) for _, _, text in self._lines)

    def clear(self) -> None:
        """Forget the lines. Call it for each packet: a hostile file may make FFmpeg log without end."""
        self._lines.clear()


@contextmanager
def capture_log() -> Iterator[Log]:
    """Capture FFmpeg's warnings and errors within the context. `keep_errors` leaves out the warnings."""
    with av.logging.Capture(local=False) as lines:
        av.logging.set_skip_repeated(False)  # each problem counts, also if the one before it had the same message
        av.logging.set_level(av.logging.WARNING)
        yield Log(lines)


def keep_errors() -> None:
    """Capture only errors from now on. While a file is opened, estimates and problems of the demuxer are warnings."""
    av.logging.set_level(av.logging.ERROR)
