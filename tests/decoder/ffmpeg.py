"""Media files for the tests that only the ffmpeg program can write: tracks of every kind, late starts, holes."""

import subprocess
from pathlib import Path

from decoder import media
from programs import find_program

VIDEO = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=5:d={seconds}")
SUBTITLES = "1\n00:00:00,000 --> 00:00:01,000\nhello\n\n2\n00:00:01,000 --> 00:00:02,000\nworld\n"


def ffmpeg(folder: Path, *arguments: str, name: str) -> bytes:
    """Run ffmpeg in the folder and return the file `name` that it wrote there."""
    program = find_program("ffmpeg")
    assert program is not None
    command = [program, "-nostdin", "-v", "error", "-y", *arguments, name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return (folder / name).read_bytes()


def video(seconds: float) -> tuple[str, ...]:
    """Return the arguments of an input with a video of this duration."""
    return (*VIDEO[:-1], VIDEO[-1].format(seconds=seconds))


def write_inputs(folder: Path) -> None:
    """Write a.wav (a tone of 3 s), b.wav (3 s of another tone), s.srt and c.txt into the folder."""
    tone = media.warble(3)
    (folder / "a.wav").write_bytes(media.wav(tone))
    (folder / "b.wav").write_bytes(media.wav(tone[::-1].copy()))
    (folder / "s.srt").write_text(SUBTITLES, encoding="ascii")
    (folder / "c.txt").write_text(";FFMETADATA1\n[CHAPTER]\nSTART=0\nEND=1000\ntitle=one\n", encoding="ascii")
