"""Compare throughput, latency and word error rate of the service with faster-whisper behind FastAPI.

    python -m benchmarks.load --audio FOLDER --model base

Starts the service and the baselines, measures them in turn with the same files, and writes JSON, Markdown tables and
plots to benchmarks/results. Without `--audio` it sends the recordings of the project's tests. See README.md.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.common import arguments
from benchmarks.common.machine import machine
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import RESULTS, save_json
from benchmarks.common.servers import BATCHED, ServerConfig, exit_on_sigterm, running
from benchmarks.load import scenarios
from benchmarks.load.report import write_report
from benchmarks.load.results import Results
from benchmarks.load.scenarios import SMOKE, Bench, Plan
from benchmarks.load.targets import regressions

EXPECTATIONS = Path(__file__).parent / "expectations.json"

_LETTERS = "abcdefgh"
_SMOKE_LETTERS = "abc"


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    plan = _plan(args)
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as folder, _bench(args, plan, Path(folder)) as bench:
        results = Results({**machine(), **_about(args, bench)})
        _measure(bench, results, set(args.only), lambda: save_json(args.out, results.to_json()))
    save_json(args.out, results.to_json())
    print(write_report(results, args.out))
    if args.smoke:
        sys.exit(_check(results, json.loads(EXPECTATIONS.read_text(encoding="utf-8"))))


def _check(results: Results, expectations: dict[str, float]) -> int:
    """Compare the ratios with the stored expectations. Returns the exit code: 1 if one is worse."""
    worse = regressions(results, expectations)
    print("\n".join(worse) or "All ratios are as expected or better.")
    return 1 if worse else 0


def _measure(bench: Bench, results: Results, only: set[str], save_results: Callable[[], None]) -> None:
    """Run the chosen scenarios, the most important first, and save the results after each."""
    scenarios.warm(bench)
    steps: dict[str, Callable[[], None]] = {
        "a": lambda: _one_clip(bench, results),
        "c": lambda: results.rounds.update({"solo": scenarios.solo(bench)}),
        "b": lambda: results.rounds.update({"mixed": scenarios.mixed(bench)}),
        "h": lambda: results.numbers.update({"engine": scenarios.beside_the_engine(bench)}),
        "d": lambda: _long(bench, results),
        "g": lambda: results.numbers.update({"first answer": scenarios.first_answer(bench)}),
        "e": lambda: _short_beside_long(bench, results),
        "f": lambda: _offered_load(bench, results),
    }
    for letter, step in steps.items():
        if letter in only:
            began = time.monotonic()
            step()
            save_results()
            print(f"({letter}) took {time.monotonic() - began:.0f} s", flush=True)


def _one_clip(bench: Bench, results: Results) -> None:
    for concurrency in bench.plan.concurrencies:
        results.rounds[f"clip c{concurrency}"] = scenarios.one_clip(bench, concurrency)
    results.stages = scenarios.stages(bench)


def _long(bench: Bench, results: Results) -> None:
    clip = joined(bench.material.joinable, bench.plan.long_s, bench.config.folder / "long.flac")
    results.about["long file"] = f"{clip.seconds:.0f} s"
    results.rounds["long file"] = scenarios.one_file(bench, clip)
    if BATCHED in bench.servers:
        longer = joined(bench.material.joinable, bench.plan.half_hour_s, bench.config.folder / "half-hour.flac")
        results.rounds["half an hour"] = scenarios.half_an_hour(bench, longer)


def _short_beside_long(bench: Bench, results: Results) -> None:
    hour = joined(bench.material.joinable, bench.plan.hour_s, bench.config.folder / "hour.flac")
    results.numbers["short beside long"] = scenarios.short_beside_long(bench, hour)


def _offered_load(bench: Bench, results: Results) -> None:
    highest = f"clip c{max(bench.plan.concurrencies)}"
    rounds = results.rounds.get(highest) or scenarios.one_clip(bench, max(bench.plan.concurrencies))
    capacity = scenarios.capacity(rounds)
    results.about["capacity for the open loop"] = f"{capacity:.2f} requests/s"
    results.rounds.update(scenarios.offered_load(bench, capacity))


@contextmanager
def _bench(args: argparse.Namespace, plan: Plan, folder: Path) -> Iterator[Bench]:
    config = ServerConfig(model_folder(args.model), args.compute_type, folder, args.device)
    clips = material(recordings(args.audio), plan.n_mixed)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(name, config)) for name in plan.servers}
        yield Bench(plan, config, clips, servers, time.monotonic() + args.minutes * 60)


def _plan(args: argparse.Namespace) -> Plan:
    plan = SMOKE if args.smoke else Plan()
    concurrencies = tuple(args.concurrencies or plan.concurrencies)
    n_probes = plan.n_probes * (args.rounds or 1)
    return replace(plan, rounds=args.rounds or plan.rounds, concurrencies=concurrencies, n_probes=n_probes)


def _about(args: argparse.Namespace, bench: Bench) -> dict[str, str]:
    clips = bench.material
    languages = sorted({clip.language or "" for clip in clips.mixed})
    return {
        "model": f"{args.model}, {args.compute_type}, beam 5, on {args.device}",
        "one clip": f"{clips.clip.seconds:.1f} s, {clips.clip.path.suffix[1:]}",
        "short clip": f"{clips.short.seconds:.1f} s",
        "mixed clips": f"{len(clips.mixed)} of {min(clip.seconds for clip in clips.mixed):.0f} to "
        f"{max(clip.seconds for clip in clips.mixed):.0f} s, languages {' '.join(languages)}, not declared",
    }


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--rounds", type=int, help="rounds per scenario (default: as many as fit in ten minutes)")
    parser.add_argument(
        "--concurrencies", type=int, nargs="+", help="of the closed loops; other scenarios use the highest"
    )
    parser.add_argument("--minutes", type=float, default=4.0, help="no further round begins after this time")
    parser.add_argument("--smoke", action="store_true", help="run for two minutes and compare with expectations.json")
    parser.add_argument("--only", help=f"letters of the scenarios to run, of {_LETTERS}; README.md lists them")
    parser.add_argument(
        "--out", type=Path, help="output path without the suffix (default: benchmarks/results/load or .../smoke)"
    )
    args = parser.parse_args()
    args.only = args.only or (_SMOKE_LETTERS if args.smoke else _LETTERS)
    args.out = args.out or RESULTS / ("smoke" if args.smoke else "load")
    return args


if __name__ == "__main__":
    main()
