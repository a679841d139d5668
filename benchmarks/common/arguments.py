"""Command-line arguments that several benchmarks have."""

import argparse
import os
from pathlib import Path

from benchmarks.common.report import RESULTS


def plain_parser(description: str | None) -> argparse.ArgumentParser:
    """Create a parser that prints the description as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_out(parser: argparse.ArgumentParser, name: str) -> None:
    """Add `--out`, by default `benchmarks/results/NAME`."""
    parser.add_argument(
        "--out",
        type=Path,
        default=RESULTS / name,
        help=f"output path without the suffix (default: benchmarks/results/{name})",
    )


def parser(
    description: str | None, *, model_used_by: str = "the service", needs_audio: bool = False
) -> argparse.ArgumentParser:
    """Create a parser with `--audio` and `--model`.

    The default of `--audio` is the environment variable BENCH_AUDIO. `model_used_by` names the program that loads the
    model.
    """
    found = plain_parser(description)
    audio = os.environ.get("BENCH_AUDIO")
    found.add_argument(
        "--audio",
        type=Path,
        default=Path(audio) if audio else None,
        required=needs_audio and not audio,
        help="folder with a manifest.jsonl (default: $BENCH_AUDIO)",
    )
    found.add_argument(
        "--model", default="base", help=f"model of {model_used_by}: a name, or a folder in CTranslate2 format"
    )
    return found
