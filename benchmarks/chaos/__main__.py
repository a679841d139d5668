"""Inject faults into the running service: Nginx, Gunicorn, two CPU slots and real weights, under a constant load.

    python -m benchmarks.chaos --model base

Injects one fault after the other (`chaos.faults`) while clients send clips, and writes a table to benchmarks/results.
The exit code is 1 if an expectation is missed:

- A request is lost only if it is inside a worker that is killed. Its client receives a 502 within a second.
- A slot is ready again within 10 s after its model can be loaded.
- No request is sent to two slots or transcribed twice, and each has one response.

Needs Nginx. The faults that fill a disk need root.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.chaos.faults import FAULTS, Fault, NotPossible, Scene
from benchmarks.chaos.report import Injection, Routing, Row, check, markdown, row
from benchmarks.common import arguments
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch, machine
from benchmarks.common.material import RATE, joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import RESULTS, save
from benchmarks.common.sender import DISCONNECTED, GOOD, Load, Outcome, Sender
from benchmarks.common.servers import exit_on_sigterm
from benchmarks.common.stack import Stack, require_nginx, running, until

_SETTINGS = {"ASR_UPLOAD_TIMEOUT_S": "3", "ASR_MAX_OPEN_REQUESTS": "10"}
_MINUTE_S, _LONG_S, _LARGE_S = 50.0, 150.0, 3000.0
_CAPACITY_TEST_S = 6.0
_N_CLIENTS = 3
_THINK_TIME_S = 0.5


def main() -> None:
    exit_on_sigterm()
    args = _arguments()
    require_nginx()
    began, watch = time.monotonic(), Watch.start()
    with tempfile.TemporaryDirectory(prefix="asr-chaos-") as folder:
        rows = _rows(args, Path(folder))
    about = {
        **machine(),
        "model": f"{args.model_name or args.model}, int8, two CPU slots behind Nginx",
        "load": f"{_N_CLIENTS} clients that send clips with pauses of {_THINK_TIME_S:g} s",
        "duration": f"{time.monotonic() - began:.0f} s",
        "others' cores": f"{watch.others_cores():.1f}",
    }
    save(args.out, {"about": about, "rows": [each.to_json() for each in rows]}, markdown(about, rows))
    print(markdown(about, rows))
    sys.exit(any(not each.ok for each in rows))


def _rows(args: argparse.Namespace, folder: Path) -> list[Row]:
    chosen = [fault for fault in FAULTS if (fault.in_smoke or not args.smoke) and args.only in fault.name]
    rows = []
    with _scene(args, folder) as scene:
        for fault in chosen:
            rows.append(_try(fault, scene))
            print(" | ".join(rows[-1].cells()), flush=True)
    return rows


@contextmanager
def _scene(args: argparse.Namespace, folder: Path) -> Iterator[Scene]:
    clips = material(recordings(args.audio), 1)
    minute, long, large = (folder / f"{name}.flac" for name in ("minute", "long", "large"))
    joined(clips.joinable, _MINUTE_S, minute)
    joined(clips.joinable, _LONG_S / (2 if args.smoke else 1), long)
    large.write_bytes(b"RIFF" + bytes(int(_LARGE_S * RATE * 2)))
    with (
        running(model_folder(args.model), folder, _SETTINGS) as stack,
        ThreadPoolExecutor(16) as pool,
    ):
        sender = Sender(stack.url, stack.trust)
        with Load(partial(_post, sender, clips.short), _N_CLIENTS) as load:
            yield Scene(
                stack, load, sender, pool, clips.short.path, minute, long, large, _capacity(load),
                n_kills=6 if args.smoke else args.kills,
            )  # fmt: skip


def _post(sender: Sender, clip: Clip, request_id: str) -> Outcome:
    return sender.post(clip.path, request_id, language=clip.language or "en")


def _capacity(load: Load) -> float:
    """Measure the responses per second without pauses between requests.

    Raises RuntimeError: when a request fails, although there is no fault.
    """
    load.resume()
    time.sleep(_CAPACITY_TEST_S)
    load.pause()
    if any(each.kind != GOOD for each in load.outcomes):
        kinds = dict(Counter(each.kind for each in load.outcomes))
        raise RuntimeError(f"Requests failed before any fault was injected: {kinds}.")
    load.think_time_s = _THINK_TIME_S
    duration_s = max(each.ended_s for each in load.outcomes) - min(each.sent_s for each in load.outcomes)
    return len(load.outcomes) / duration_s


def _try(fault: Fault, scene: Scene) -> Row:
    """Inject the fault under load, and wait until every request has a response and both slots are ready."""
    load, stack = scene.load, scene.stack
    before = len(load.outcomes)
    load.resume()
    until(lambda: len(load.outcomes) >= before + _N_CLIENTS, what="A response to every client")
    try:
        injection = fault.inject(scene)
    except NotPossible as reason:
        load.pause()
        return Row(fault=fault.name, skipped=str(reason))
    except TimeoutError as error:
        injection = Injection(problems=(str(error),))
    stack.wait_until_ready()
    after = len(load.outcomes)
    until(lambda: len(load.outcomes) >= after + 2 * _N_CLIENTS, what="A response after the fault")
    load.pause()
    outcomes = load.outcomes[before:]
    everything = [*outcomes, *injection.own]
    problems = check(outcomes, injection, fault.allowed, *_observed(stack, everything))
    return row(fault.name, load.n_sent - before + len(injection.own), everything, injection, problems)


def _observed(stack: Stack, outcomes: Sequence[Outcome]) -> tuple[dict[str, Routing], Counter[str]]:
    """Return how Nginx routed these requests, and how often each was transcribed, when Nginx has logged all of them."""
    names = {each.request_id for each in outcomes if each.kind != DISCONNECTED}
    until(lambda: names <= stack.nginx_log().keys(), what="A line of every request in Nginx's log")
    log = stack.nginx_log()
    routings = {name: routing(log[name]) for name in names}
    return routings, Counter(line.fields["request_id"] for line in stack.lines("transcribed"))


def routing(rows: list[dict[str, str]]) -> Routing:
    """Read the routing of a request from its lines in Nginx's log.

    The connect time of a slot that refused the connection is a dash.
    """
    tried = [pair for each in rows for pair in zip(*(each[name].split(", ") for name in _UPSTREAM), strict=True)]
    slots = [int(Path(address).stem.removeprefix("slot-")) for address, took in tried if address and took != "-"]
    return Routing(len(rows), tuple(slots))


_UPSTREAM = ("upstream", "upstream_connect_s")


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--model-name", help="name of the model in the report")
    parser.add_argument("--smoke", action="store_true", help="inject only the quicker faults, for a minute and a half")
    parser.add_argument("--only", default="", help="inject only faults with this text in their names")
    parser.add_argument("--kills", type=int, default=50, help="number of kills of the last fault, at least 2")
    parser.add_argument("--out", type=Path, help="output path without the suffix (default: results/chaos[-smoke])")
    args = parser.parse_args()
    args.out = args.out or RESULTS / ("chaos-smoke" if args.smoke else "chaos")
    return args


if __name__ == "__main__":
    main()
