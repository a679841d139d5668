"""Text alone, and a table of times and text."""

from asr_service.formats.cues import cues
from asr_service.transcript import Transcript


def render_text(transcript: Transcript) -> str:
    """Write what was said, ended by a newline; nothing at all where nothing was said."""
    text = transcript.text.strip()
    return text + "\n" if text else ""


def render_tsv(transcript: Transcript) -> str:
    """Write a line of headings, then `start`, `end` (whole milliseconds) and `text` a segment."""
    lines = ["start\tend\ttext"]
    lines += ["\t".join((str(cue.start_ms), str(cue.end_ms), cue.text.replace("\t", " "))) for cue in cues(transcript)]
    return "\n".join(lines) + "\n"
