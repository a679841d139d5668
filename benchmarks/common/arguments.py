"""What the commands of several benchmarks have in common."""

import argparse
import os
from pathlib import Path

_MODEL = "a name, or a folder in CTranslate2's form"


def parser(description: str | None, *, model_is: str = "", needs_audio: bool = False) -> argparse.ArgumentParser:
    """A parser that has `--audio` and `--model`; `model_is` says whose model, where it is not the service's."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    audio = os.environ.get("BENCH_AUDIO")
    found.add_argument(
        "--audio",
        type=Path,
        default=Path(audio) if audio else None,
        required=needs_audio and not audio,
        help="by default $BENCH_AUDIO",
    )
    found.add_argument("--model", default="base", help=f"{model_is}{_MODEL}")
    return found
