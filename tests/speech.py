"""The recordings that the tests transcribe, with what is said in them, and how far a transcript may be from it."""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.scoring import count_errors

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of tests/data; tests/data/SOURCES.md says whose it is."""

    name: str
    path: Path
    seconds: float
    language: str | None
    """None where nobody speaks."""
    text: str
    """What is said, by its source; empty where nobody speaks."""
    base_wer: float
    """What faster-whisper 1.2.1 makes of it with the base model in int8, beam 5, VAD: a yardstick for ours."""
    english: str | None = None
    """The same in English, by its source, where it has one."""
    base_english_wer: float | None = None

    def wer(self, hypothesis: str) -> float:
        assert self.language
        return word_error_rate(self.text, hypothesis, self.language)


def word_error_rate(reference: str, hypothesis: str, language: str) -> float:
    """Errors a word, 0 for none, after Whisper's normalizer; by character for languages written without spaces."""
    return count_errors(reference, hypothesis, language).rate


def _recordings() -> dict[str, Recording]:
    rows = json.loads((DATA / "manifest.json").read_text(encoding="utf-8"))
    return {Path(row["file"]).stem: _recording(**row) for row in rows}


def _recording(file: str, **fields) -> Recording:
    return Recording(name=Path(file).stem, path=DATA / file, **fields)


RECORDINGS = _recordings()
"""By name, such as `en-sonnet`."""

SPEECH = {name: recording for name, recording in RECORDINGS.items() if recording.language}
WORDLESS = {name: recording for name, recording in RECORDINGS.items() if not recording.language}
