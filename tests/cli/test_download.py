"""The progress of a model's download."""

import io
import sys

import pytest
from structlog.testing import capture_logs

from asr_service.cli.download import download_progress


class Terminal(io.StringIO):
    """A standard error that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_from_the_first_byte(monkeypatch: pytest.MonkeyPatch):
    """Nothing is written if nothing is downloaded."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with download_progress():
        pass
    assert terminal.getvalue() == ""
    with download_progress() as report:
        report("model.bin", 50, 100)
        report("model.bin", 100, 100)
    assert "model.bin" in terminal.getvalue()


def test_elsewhere_each_tenth_of_a_file_is_logged():
    """One line for each tenth, however many reports there are."""
    with capture_logs() as lines, download_progress() as report:
        for done_bytes in range(0, 1001, 5):
            report("model.bin", done_bytes, 1000)
    assert [line["done_bytes"] for line in lines] == list(range(0, 1001, 100))
    assert {line["file"] for line in lines} == {"model.bin"}
