"""The fixture that writes media files with ffmpeg."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from decoder.ffmpeg import ffmpeg, write_inputs


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., bytes]:
    """Give `ffmpeg` for a folder with the inputs of `write_inputs`."""
    write_inputs(tmp_path)
    return functools.partial(ffmpeg, tmp_path)
