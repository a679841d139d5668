"""How soon the first words of a long recording are there: OpenAI's stream of a ten-minute file, delta by delta.

    python -m benchmarks.load.first_delta --audio FOLDER --model base

From the first byte sent: to the first delta, and to the event that ends the stream. The bar is on their ratio.
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
from benchmarks.common.report import RESULTS
from benchmarks.common.servers import SERVICE, Stage, leave_on_sigterm, running

BAR = 0.2

_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Streamed:
    """One recording's answer."""

    first_delta_s: float
    whole_s: float
    n_deltas: int
    n_characters: int
    others_cores: float = 0.0
    """Cores that others took meanwhile."""

    @property
    def ratio(self) -> float:
        return self.first_delta_s / self.whole_s


def stream(url: str, path: Path) -> Streamed:
    """Send the file and read its events. Raises RuntimeError: they end in an error, or the text is not the deltas'."""
    watch, first_s, deltas = Watch.start(), None, []
    with path.open("rb") as file, httpx.Client(base_url=url, timeout=600) as client:
        asked = {"model": "whisper-1", "stream": "true"}
        began = time.monotonic()
        with client.stream("POST", "/v1/audio/transcriptions", files={"file": file}, data=asked) as answer:
            answer.raise_for_status()
            for event in (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line):
                if event["type"] == "transcript.text.delta":
                    first_s = first_s or time.monotonic() - began
                    deltas.append(event["delta"])
        whole_s = time.monotonic() - began
    if first_s is None or event.get("text") != "".join(deltas):
        raise RuntimeError(f"no whole transcript: {event}")
    return Streamed(first_s, whole_s, len(deltas), len(event["text"]), watch.others_cores())


def main() -> None:
    leave_on_sigterm()
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="asr-first-delta-") as folder:
        stage = Stage(model_folder(args.model), args.compute_type, Path(folder), device=args.device)
        clips = material(recordings(args.audio), 1)
        long = joined(clips.joinable, args.seconds, Path(folder) / "long.flac")
        with running(SERVICE, stage) as server:
            stream(server.url, clips.clip.path)
            rounds = [_in_quiet(server.url, long.path) for _ in range(args.rounds)]
    about = {**machine(), "model": f"{args.model}, {args.compute_type}", "recording": f"{long.seconds:.0f} s of speech"}
    ratio = statistics.median(each.ratio for each in rounds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    kept = {"about": about, "rounds": [asdict(each) for each in rounds], "ratio": ratio, "bar": BAR}
    args.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(markdown(about, rounds, ratio), encoding="utf-8")
    print(markdown(about, rounds, ratio))
    sys.exit(ratio > BAR)


def _in_quiet(url: str, path: Path) -> Streamed:
    wait_for_quiet(_PATIENCE_S)
    return stream(url, path)


def markdown(about: dict[str, str], rounds: list[Streamed], ratio: float) -> str:
    lines = ["# The first delta of a long recording", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| round | first delta, s | whole, s | ratio | deltas | others' cores |", "| --- " * 6 + "|"]
    lines += [
        f"| {at} | {each.first_delta_s:.2f} | {each.whole_s:.2f} | **{each.ratio:.3f}** | {each.n_deltas} |"
        f" {each.others_cores:.2f} |"
        for at, each in enumerate(rounds, start=1)
    ]
    verdict = "met" if ratio <= BAR else "missed"
    return "\n".join([*lines, "", f"Median of the ratios: **{ratio:.3f}**; the bar is {BAR}: {verdict}.", ""])


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu", help="`cpu`, `cuda:0`")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the recording, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "first_delta", help="without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
