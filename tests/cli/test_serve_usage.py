"""What `asr-service serve` prints on a terminal when it is ready."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from asr_service.cli import serve


@pytest.mark.parametrize(("address", "names_port"), [("http://127.0.0.1:8000", True), ("unix:/run/a.sock", False)])
def test_the_usage_names_the_setting_of_the_port(address, names_port, monkeypatch, capsys):
    """A socket has no port."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    plan: Any = SimpleNamespace(addresses=(address,))
    serve._print_usage(plan)
    printed = capsys.readouterr().out
    assert "curl -F file=@speech.flac" in printed
    assert ("set ASR_PORT" in printed) == names_port
