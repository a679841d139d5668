"""The recordings that tests transcribe, and the texts spoken in them."""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.scoring import count_errors

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of tests/data. Its source is in tests/data/SOURCES.md."""

    name: str
    path: Path
    seconds: float
    language: str | None
    """None if nobody speaks."""
    text: str
    """The text spoken, from the source; empty if nobody speaks."""
    base_wer: float
    """Word error rate of faster-whisper 1.2.1 with the base model in int8, beam width 5 and VAD, for comparison."""
    english: str | None = None
    """The English translation from the source, if there is one."""
    base_english_wer: float | None = None

    def wer(self, hypothesis: str) -> float:
        assert self.language
        return word_error_rate(self.text, hypothesis, self.language)


def word_error_rate(reference: str, hypothesis: str, language: str) -> float:
    """Return the errors per word after Whisper's normalizer, or per character for languages without spaces."""
    return count_errors(reference, hypothesis, language).rate


def _recordings() -> dict[str, Recording]:
    rows = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    return {Path(row["file"]).stem: _recording(**row) for row in rows}


def _recording(file: str, **fields) -> Recording:
    return Recording(name=Path(file).stem, path=DATA / file, **fields)


RECORDINGS = _recordings()
"""All recordings by name, such as `en-sonnet`."""

SPEECH = {name: recording for name, recording in RECORDINGS.items() if recording.language}
WORDLESS = {name: recording for name, recording in RECORDINGS.items() if not recording.language}
