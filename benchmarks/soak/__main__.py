"""Run the service under a mixed load, and test whether memory, file descriptors or latency grow.

    python -m benchmarks.soak --model base --minutes 60

Nginx, Gunicorn and two CPU slots receive clips with various options, streams, sometimes a long file, files that are not
audio, invalid parameters, and clients that disconnect. The resident memory of each process is related to the number of
answered requests. The limit is 1 MB per 100 requests after the warm-up. The exit code is 1 if it is exceeded or a
response is not as expected.
"""

import argparse
import itertools
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
from benchmarks.common.report import facts, save, table
from benchmarks.common.sender import DISCONNECTED, GOOD, Load, Outcome, Sender
from benchmarks.common.servers import exit_on_sigterm
from benchmarks.common.stack import Stack, require_nginx, running
from benchmarks.soak.watch import MAX_MB_PER_100_REQUESTS, Trend, Watch, slope

_N_CLIENTS = 4
_MINUTE_S, _LONG_S = 50.0, 200.0
_LAST_RESPONSES_S = 300.0
_WARM_UP_RATIO = 0.25
_DISCONNECT_AFTER_S = 0.3
_LATENCY_KIND = "clip"


@dataclass(frozen=True, slots=True)
class RequestKind:
    """One kind of request of the mixed load."""

    name: str
    share: int
    """Number of requests per cycle."""
    send: Callable[[str], Outcome]
    """Sends one with the given request id. Streams and disconnecting clients use an id of their own."""
    expected: str = GOOD


@dataclass(frozen=True, slots=True)
class Done:
    kind: RequestKind
    outcome: Outcome


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    require_nginx()
    others = MachineWatch.start()
    with tempfile.TemporaryDirectory(prefix="asr-soak-") as name:
        folder = Path(name)
        with running(model_folder(args.model), folder) as stack:
            done, watch, n_warm_up = _soak(stack, _kinds(args, folder, stack), args.minutes * 60)
            exited = watch.exited()
        trends = watch.trends(n_warm_up)
    about = {
        **machine(),
        "model": f"{args.model_name or args.model}, int8, two CPU slots behind Nginx",
        "load": f"{len(done)} requests by {_N_CLIENTS} clients in {args.minutes:g} min",
        "others' cores": f"{others.others_cores():.1f}",
    }
    problems = [*_problems(done, trends), *(f"{role} exited" for role in exited)]
    data = {
        "about": about,
        "trends": [asdict(each) for each in trends],
        "requests_and_mb": watch.series(),
        "requests": _counts(done),
        "latency": _latency(done),
        "max_mb_per_100_requests": MAX_MB_PER_100_REQUESTS,
        "problems": problems,
    }
    text = markdown(about, trends, _counts(done), _latency(done), problems)
    save(args.out, data, text)
    print(text)
    sys.exit(bool(problems))


def _soak(stack: Stack, kinds: Sequence[RequestKind], duration_s: float) -> tuple[list[Done], Watch, int]:
    """Run the load. Returns the requests after the warm-up, all samples, and the number of requests of the warm-up."""
    done: list[Done] = []
    order, lock = _order(kinds), threading.Lock()

    def send_next(request_id: str) -> Outcome:
        with lock:
            kind = next(order)
        outcome = kind.send(request_id)
        done.append(Done(kind, outcome))
        watch.set_answered(len(done))
        return outcome

    with Watch(stack) as watch, Load(send_next, _N_CLIENTS) as load:
        load.resume()
        time.sleep(duration_s * _WARM_UP_RATIO)
        n_warm_up = len(done)
        time.sleep(duration_s * (1 - _WARM_UP_RATIO))
        load.pause(_LAST_RESPONSES_S)
    return done[n_warm_up:], watch, n_warm_up


def _order(kinds: Sequence[RequestKind]) -> Iterator[RequestKind]:
    """Yield the kinds in random order, each as often as its share, without end.

    The rarest, most expensive kinds come first, so that the warm-up reaches the peak memory.
    """
    yield from sorted(kinds, key=lambda kind: kind.share)[:_N_CLIENTS]
    shuffled = random.Random(1)
    cycle = [kind for kind in kinds for _ in range(kind.share)]
    while True:
        shuffled.shuffle(cycle)
        yield from cycle


def _kinds(args: argparse.Namespace, folder: Path, stack: Stack) -> list[RequestKind]:
    clips = material(recordings(args.audio), 8)
    minute = joined(clips.joinable, _MINUTE_S, folder / "minute.flac").path
    long = joined(clips.joinable, _LONG_S, folder / "long.flac").path
    not_audio = folder / "notes.txt"
    not_audio.write_text("This is not a recording.\n" * 1000)
    sender = Sender(stack.url, stack.trust)
    languages = itertools.cycle(clips.mixed)
    clip = clips.clip.path

    def disconnect(_: str) -> Outcome:
        return sender.disconnect(clip, partial(time.sleep, _DISCONNECT_AFTER_S))

    def stream(_: str) -> Outcome:
        return sender.stream(minute)

    def mixed(request_id: str) -> Outcome:
        return sender.post(next(languages).path, request_id)

    word_times = partial(sender.post, clip, response_format="verbose_json", word_timestamps="true")
    return [
        RequestKind(_LATENCY_KIND, 24, partial(_post, sender, clips.short)),
        RequestKind("clips in many languages", 8, mixed),
        RequestKind("word timestamps", 5, word_times),
        RequestKind("translation", 3, partial(sender.post, clip, endpoint="/translate")),
        RequestKind("stream", 2, stream),
        RequestKind("long file", 1, partial(sender.post, long)),
        RequestKind("not audio", 6, partial(sender.post, not_audio), "415 unsupported_audio"),
        RequestKind("invalid parameter", 4, partial(sender.post, clip, beam_size="99"), "422 invalid_parameter"),
        RequestKind("client that disconnects", 7, disconnect, DISCONNECTED),
    ]


def _post(sender: Sender, clip: Clip, request_id: str) -> Outcome:
    return sender.post(clip.path, request_id)


def _problems(done: Sequence[Done], trends: Sequence[Trend]) -> list[str]:
    wrong = Counter(
        f"{each.kind.name}: {each.outcome.kind}" for each in done if each.outcome.kind != each.kind.expected
    )
    grown = [f"{each.role} grows by {each.slope_mb:.2f} MB per 100 requests" for each in trends if not each.ok]
    leaked = [
        f"{each.role}: descriptors grew from {each.first_descriptors:.0f} to {each.last_descriptors:.0f}"
        for each in trends
        if each.last_descriptors > 1.5 * each.first_descriptors + 10
    ]
    return [*(f"{count} x {what}" for what, count in wrong.items()), *grown, *leaked]


def _counts(done: Sequence[Done]) -> dict[str, int]:
    return dict(Counter(each.kind.name for each in done).most_common())


def _latency(done: Sequence[Done]) -> dict[str, float]:
    """Return the latency in seconds of the most frequent kind, and its trend."""
    latencies = [
        (number, each.outcome.duration_s) for number, each in enumerate(done) if each.kind.name == _LATENCY_KIND
    ]
    third = max(1, len(latencies) // 3)
    drift, error = slope([number / 100 for number, _ in latencies], [seconds for _, seconds in latencies])
    return {
        "median of the first third": median(seconds for _, seconds in latencies[:third]),
        "median of the last third": median(seconds for _, seconds in latencies[-third:]),
        "growth per 100 requests": drift,
        "standard error of the growth": error,
    }


def markdown(
    about: Mapping[str, str],
    trends: Sequence[Trend],
    counts: Mapping[str, int],
    latency: Mapping[str, float],
    problems: Sequence[str],
) -> str:
    rows = [
        (
            each.role,
            f"{each.first_mb:.1f}",
            f"{each.last_mb:.1f}",
            f"{each.most_mb:.1f}",
            f"**{each.slope_mb:+.2f}** ± {each.error_mb:.2f}",
            f"{each.first_descriptors:.0f}, then {each.last_descriptors:.0f}",
        )
        for each in trends
    ]
    heads = ("process", "first, MB", "last, MB", "most, MB", "MB per 100 requests", "descriptors")
    conclusion = "; ".join(problems) or "not exceeded, and every response was as expected"
    parts = [
        "# Memory under a long mixed load",
        facts(about),
        table(heads, rows),
        "Resident memory after a warm-up of a quarter of the time. First and last: medians of a fifth of the samples.",
        "Requests: " + ", ".join(f"{name} {count}" for name, count in counts.items()) + ".",
        "Latency of one clip, s: " + ", ".join(f"{name} {value:.2f}" for name, value in latency.items()) + ".",
        f"The limit of {MAX_MB_PER_100_REQUESTS:g} MB per 100 requests: {conclusion}.",
    ]
    return "\n\n".join(parts) + "\n"


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--model-name", help="name of the model in the report")
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments.add_out(parser, "soak")
    return parser.parse_args()


if __name__ == "__main__":
    main()
