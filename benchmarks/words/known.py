"""Compare word times with known ones: those at which flite speaks the words of a text.

    python -m benchmarks.words.known --text FILE --model FOLDER_OR_NAME

The sentences of the text that have no digits are spoken in clips of one to five sentences. Each clip is transcribed at
the default context, at the full context and with faster-whisper. The times of the words that are correct are compared.
Needs flite. Writes the figures to benchmarks/results.
"""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import soundfile
import structlog

from asr_service.audio import SAMPLE_RATE
from benchmarks.common import arguments
from benchmarks.common.machine import machine
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.words.compare import Span, differences
from benchmarks.words.speech import Spoken, clips, sentences
from benchmarks.words.tables import HEADS, cells, figures
from benchmarks.words.ways import BASELINE, FULL, SHORT, transcribers

_VOICES: Final = ("slt", "rms")
_SENTENCES_IN_EACH: Final = (1, 2, 3, 5)


def main() -> None:
    args = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    texts = sentences(args.text.read_text())[: args.sentences]
    spoken = list(clips(texts, _VOICES, _SENTENCES_IN_EACH))
    measured = asyncio.run(_measure(model_folder(args.model), spoken))
    about = machine() | {
        "model": f"{Path(args.model).name}, int8, beam 5, language declared",
        "clips": f"{len(spoken)}, {sum(len(clip.samples) for clip in spoken) / SAMPLE_RATE / 60:.0f} min",
        "words": str(sum(len(clip.words) for clip in spoken)),
        "voices": f"{', '.join(_VOICES)} of flite",
    }
    rows = [(way, *cells(pairs)) for way, pairs in measured.items()]
    report = "\n\n".join(
        [
            "# Word times of speech with known times",
            facts(about),
            "Absolute differences between the times of the correct words and the times at which they are spoken:",
            table(("", "words", *HEADS), rows),
        ]
    )
    save(args.out, {"about": about, "figures": {way: figures(pairs) for way, pairs in measured.items()}}, report + "\n")
    print(report)


async def _measure(model: Path, spoken: Sequence[Spoken]) -> dict[str, list[Span]]:
    measured: dict[str, list[Span]] = {way: [] for way in (SHORT, FULL, BASELINE)}
    async with transcribers(model) as ways:
        for number, clip in enumerate(spoken):
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                soundfile.write(file.name, clip.samples, SAMPLE_RATE)
                for way, pairs in measured.items():
                    pairs.extend(differences(await ways.words(way, Path(file.name), "en"), clip.words))
            print(f"\r{number + 1} of {len(spoken)}", end="", flush=True)
    return measured


def _arguments() -> argparse.Namespace:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--text", type=Path, required=True, help="file with English text")
    parser.add_argument("--sentences", type=int, help="speak this many of its sentences")
    parser.add_argument("--model", default="base", help="a name, or a folder in CTranslate2 format")
    arguments.add_out(parser, "words_known")
    return parser.parse_args()


if __name__ == "__main__":
    main()
