"""Measure how soon the first words of a ten-minute recording arrive in an OpenAI stream.

    python -m benchmarks.load.first_delta --audio FOLDER --model base

Both times start with the first byte sent. One ends with the first delta, the other with the event that ends the stream.
The target is on their ratio; the exit code is 1 if it is missed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from benchmarks.common import arguments
from benchmarks.common.machine import Watch, machine, wait_for_quiet
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import facts, save, table
from benchmarks.common.servers import SERVICE, ServerConfig, exit_on_sigterm, running

TARGET = 0.2

_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """The times of one streamed transcript."""

    first_delta_s: float
    whole_s: float
    n_deltas: int
    n_characters: int
    others_cores: float = 0.0
    """Cores that other processes used meanwhile."""

    @property
    def ratio(self) -> float:
        return self.first_delta_s / self.whole_s


def stream(url: str, path: Path) -> Streamed:
    """Send the file and read the events of its stream.

    Raises RuntimeError: when the stream ends with an error, or its text is not the joined deltas.
    """
    watch, first_s, deltas = Watch.start(), None, []
    with path.open("rb") as file, httpx.Client(base_url=url, timeout=600) as client:
        fields = {"model": "whisper-1", "stream": "true"}
        began = time.monotonic()
        with client.stream("POST", "/v1/audio/transcriptions", files={"file": file}, data=fields) as answer:
            answer.raise_for_status()
            for event in (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line):
                if event["type"] == "transcript.text.delta":
                    first_s = first_s or time.monotonic() - began
                    deltas.append(event["delta"])
        whole_s = time.monotonic() - began
    if first_s is None or event.get("text") != "".join(deltas):
        raise RuntimeError(f"The stream did not end with a whole transcript. Its last event: {event}.")
    return Streamed(first_s, whole_s, len(deltas), len(event["text"]), watch.others_cores())


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="asr-first-delta-") as folder:
        config = ServerConfig(model_folder(args.model), args.compute_type, Path(folder), device=args.device)
        clips = material(recordings(args.audio), 1)
        long = joined(clips.joinable, args.seconds, Path(folder) / "long.flac")
        with running(SERVICE, config) as server:
            stream(server.url, clips.clip.path)
            rounds = [_measure(server.url, long.path) for _ in range(args.rounds)]
    about = {**machine(), "model": f"{args.model}, {args.compute_type}", "recording": f"{long.seconds:.0f} s of speech"}
    ratio = statistics.median(each.ratio for each in rounds)
    data = {"about": about, "rounds": [asdict(each) for each in rounds], "ratio": ratio, "target": TARGET}
    save(args.out, data, markdown(about, rounds, ratio))
    print(markdown(about, rounds, ratio))
    sys.exit(ratio > TARGET)


def _measure(url: str, path: Path) -> Streamed:
    wait_for_quiet(_PATIENCE_S)
    return stream(url, path)


def markdown(about: dict[str, str], rounds: list[Streamed], ratio: float) -> str:
    rows = [
        (
            str(number),
            f"{each.first_delta_s:.2f}",
            f"{each.whole_s:.2f}",
            f"**{each.ratio:.3f}**",
            str(each.n_deltas),
            f"{each.others_cores:.2f}",
        )
        for number, each in enumerate(rounds, start=1)
    ]
    heads = ("round", "first delta, s", "whole stream, s", "ratio", "deltas", "others' cores")
    verdict = "met" if ratio <= TARGET else "missed"
    conclusion = f"Median ratio: **{ratio:.3f}**. The target of at most {TARGET} is {verdict}."
    return "\n\n".join(["# The first delta of a long recording", facts(about), table(heads, rows), conclusion]) + "\n"


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu", help="`cpu`, `cuda:0`")
    parser.add_argument("--seconds", type=float, default=600.0, help="minimum length of the recording")
    parser.add_argument("--rounds", type=int, default=3)
    arguments.add_out(parser, "first_delta")
    return parser.parse_args()


if __name__ == "__main__":
    main()
