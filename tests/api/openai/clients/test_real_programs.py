"""The real client programs against the real application: `make clients`, then `pytest -m clients`."""

from pathlib import Path

import pytest

from api.live import Live, tone
from api.openai.clients.programs import PROGRAMS, Program


@pytest.mark.clients
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_real_program_gets_every_text(named: Live, tmp_path: Path, program: Program) -> None:
    """It prints the text of each answer, and reports no error."""
    if missing := program.missing():
        pytest.fail(missing)
    audio = tmp_path / "speech.wav"
    audio.write_bytes(tone(0.2, rate=8000))
    assert program.run(named.url, audio).count("hello") == program.n_answers
