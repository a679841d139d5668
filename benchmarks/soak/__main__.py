"""The service under a mixed load for a while: whether memory, descriptors or latency grow.

    python -m benchmarks.soak --model base --minutes 60

Nginx, Gunicorn and two CPU slots get clips with several options, streams, a long file now and then, what is no audio,
wrong parameters, and clients that leave. Resident memory of each process is set against requests answered; the bar is
1 MB per 100 requests, after the warm-up. Exit code 1 where it is missed, or an answer is not what it should be.
"""

import argparse
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.common import arguments
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch as MachineWatch
from benchmarks.common.machine import machine
from benchmarks.common.material import joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import RESULTS
from benchmarks.common.sender import GOOD, LEFT, Load, Outcome, Sender
from benchmarks.common.servers import leave_on_sigterm
from benchmarks.common.stack import NGINX, Stack, running
from benchmarks.soak.watch import BAR_MB_PER_100, Trend, Watch, slope

_N_CLIENTS = 4
_MINUTE_S, _LONG_S = 50.0, 200.0
_PATIENCE_S = 300.0
_WARM_UP = 0.25
_LEAVES_AFTER_S = 0.3
_PROBE = "clip"


@dataclass(frozen=True, slots=True)
class Errand:
    """One kind of request of the mixture."""

    name: str
    share: int
    """How often it is in the deck."""
    run: Callable[[str], Outcome]
    """Given a request's id, which those that stream or leave do not use."""
    wanted: str = GOOD


@dataclass(frozen=True, slots=True)
class Done:
    errand: Errand
    outcome: Outcome


def main() -> None:
    leave_on_sigterm()
    args = _arguments()
    if NGINX is None:
        sys.exit("needs Nginx: apt-get install nginx-light")
    others = MachineWatch.start()
    with tempfile.TemporaryDirectory(prefix="asr-soak-") as name:
        folder = Path(name)
        with running(model_folder(args.model), folder) as stack:
            done, watch, n_warm = _soak(stack, _errands(args, folder, stack), args.minutes * 60)
            ended = watch.ended()
        trends = watch.trends(n_warm)
    about = {
        **machine(),
        "model": f"{args.model_name or args.model}, int8, two CPU slots behind Nginx",
        "load": f"{len(done)} requests of {_N_CLIENTS} clients in {args.minutes:g} min; others used"
        f" {others.others_cores():.1f} cores meanwhile",
    }
    problems = [*_problems(done, trends), *(f"{role} ended" for role in ended)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "about": about,
        "trends": [asdict(each) for each in trends],
        "requests_and_mb": watch.series(),
        "answers": _answers(done),
        "latency": _latency(done),
        "bar_mb_per_100": BAR_MB_PER_100,
        "problems": problems,
    }
    args.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = markdown(about, trends, _answers(done), _latency(done), problems)
    args.out.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(bool(problems))


def _soak(stack: Stack, errands: Sequence[Errand], lasts_s: float) -> tuple[list[Done], Watch, int]:
    """What was answered after the warm-up, what the processes held all the time, and how much the warm-up answered."""
    done: list[Done] = []
    deck, taking = _deck(errands), threading.Lock()

    def next_errand(request_id: str) -> Outcome:
        with taking:
            errand = next(deck)
        outcome = errand.run(request_id)
        done.append(Done(errand, outcome))
        watch.answered(len(done))
        return outcome

    with Watch(stack) as watch, Load(next_errand, _N_CLIENTS) as load:
        load.resume()
        time.sleep(lasts_s * _WARM_UP)
        n_warm = len(done)
        time.sleep(lasts_s * (1 - _WARM_UP))
        load.pause(_PATIENCE_S)
    return done[n_warm:], watch, n_warm


def _deck(errands: Sequence[Errand]) -> Iterator[Errand]:
    """Each as often as its share says, in an order that looks like none, over and over; the heaviest first of all, so
    that the warm-up has the most that is held at once.
    """
    yield from sorted(errands, key=lambda errand: errand.share)[:_N_CLIENTS]
    shuffled = random.Random(1)
    deck = [errand for errand in errands for _ in range(errand.share)]
    while True:
        shuffled.shuffle(deck)
        yield from deck


def _errands(args: argparse.Namespace, folder: Path, stack: Stack) -> list[Errand]:
    clips = material(recordings(args.audio), 8)
    minute = joined(clips.joinable, _MINUTE_S, folder / "minute.flac").path
    long = joined(clips.joinable, _LONG_S, folder / "long.flac").path
    not_audio = folder / "notes.txt"
    not_audio.write_text("no recording at all\n" * 1000)
    sender = Sender(stack.url, stack.trust)
    languages = itertools.cycle(clips.mixed)
    clip = clips.clip.path

    def leave(_: str) -> Outcome:
        return sender.leave(clip, partial(time.sleep, _LEAVES_AFTER_S))

    def stream(_: str) -> Outcome:
        return sender.stream(minute)

    def mixed(request_id: str) -> Outcome:
        return sender.post(next(languages).path, request_id)

    return [
        Errand(_PROBE, 24, partial(_post, sender, clips.short)),
        Errand("clips of many languages", 8, mixed),
        Errand("word times", 5, partial(sender.post, clip, response_format="verbose_json", word_timestamps="true")),
        Errand("translation", 3, partial(sender.post, clip, endpoint="/translate")),
        Errand("stream", 2, stream),
        Errand("a long file", 1, partial(sender.post, long)),
        Errand("no audio", 6, partial(sender.post, not_audio), "415 unsupported_audio"),
        Errand("a wrong parameter", 4, partial(sender.post, clip, beam_size="99"), "422 invalid_parameter"),
        Errand("a client that leaves", 7, leave, LEFT),
    ]


def _post(sender: Sender, clip: Clip, request_id: str) -> Outcome:
    return sender.post(clip.path, request_id)


def _problems(done: Sequence[Done], trends: Sequence[Trend]) -> list[str]:
    wrong = Counter(
        f"{each.errand.name}: {each.outcome.kind}" for each in done if each.outcome.kind != each.errand.wanted
    )
    grown = [f"{each.role} grows by {each.slope_mb:.2f} MB per 100 requests" for each in trends if not each.ok]
    leaked = [
        f"{each.role} has {each.last_descriptors:.0f} descriptors after {each.first_descriptors:.0f}"
        for each in trends
        if each.last_descriptors > 1.5 * each.first_descriptors + 10
    ]
    return [*(f"{count} x {what}" for what, count in wrong.items()), *grown, *leaked]


def _answers(done: Sequence[Done]) -> dict[str, int]:
    return dict(Counter(each.errand.name for each in done).most_common())


def _latency(done: Sequence[Done]) -> dict[str, float]:
    """Of the one clip that is sent most, in seconds."""
    lasted = [(number, each.outcome.lasted_s) for number, each in enumerate(done) if each.errand.name == _PROBE]
    third = max(1, len(lasted) // 3)
    drift, error = slope([number / 100 for number, _ in lasted], [seconds for _, seconds in lasted])
    return {
        "median of the first third": median(seconds for _, seconds in lasted[:third]),
        "median of the last third": median(seconds for _, seconds in lasted[-third:]),
        "gain per 100 requests": drift,
        "standard error of that": error,
    }


def markdown(
    about: Mapping[str, str],
    trends: Sequence[Trend],
    answers: Mapping[str, int],
    latency: Mapping[str, float],
    problems: Sequence[str],
) -> str:
    lines = ["# Memory under a long mixed load", "", *(f"- {key}: {value}" for key, value in about.items()), ""]
    lines += ["| process | first, MB | last, MB | most, MB | MB per 100 requests | descriptors |", "| --- " * 6 + "|"]
    lines += [
        f"| {each.role} | {each.first_mb:.1f} | {each.last_mb:.1f} | {each.most_mb:.1f} |"
        f" **{each.slope_mb:+.2f}** ± {each.error_mb:.2f} |"
        f" {each.first_descriptors:.0f}, then {each.last_descriptors:.0f} |"
        for each in trends
    ]
    lines += [
        "",
        "Resident memory after the warm-up, a quarter of the time; the median of the first and last fifth.",
        "",
    ]
    lines += ["Sent: " + ", ".join(f"{name} {count}" for name, count in answers.items()) + ".", ""]
    lines += ["One clip's latency, s: " + ", ".join(f"{name} {value:.2f}" for name, value in latency.items()) + ".", ""]
    verdict = "; ".join(problems) or "met, and every answer was what it should be"
    return "\n".join([*lines, f"The bar is {BAR_MB_PER_100:g} MB per 100 requests: {verdict}.", ""])


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--model-name", help="what the report calls it")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=RESULTS / "soak", help="without its suffix")
    return parser.parse_args()


if __name__ == "__main__":
    main()
