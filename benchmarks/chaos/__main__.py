"""The service under faults: Nginx, Gunicorn, two CPU slots and real weights, with clients that never cease.

    python -m benchmarks.chaos --model base

One fault after the other while clips are sent (chaos_faults.py), then a table to benchmarks/results. Exit code 1 where
a goal is missed: no request is lost but those inside a worker that is killed, which are told so with a 502 within a
second; a slot is ready again within 10 s of its model being loadable; no request is sent to two slots or transcribed
twice; each has one answer. Needs Nginx; the full disks need root.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.chaos.faults import FAULTS, Fault, Scene, Skip
from benchmarks.chaos.report import Blow, Passing, Row, judge, line, markdown, row
from benchmarks.common import arguments
from benchmarks.common.corpus import Clip
from benchmarks.common.machine import Watch, machine
from benchmarks.common.material import RATE, joined, material, recordings
from benchmarks.common.models import model_folder
from benchmarks.common.report import RESULTS
from benchmarks.common.sender import GOOD, LEFT, Load, Outcome, Sender
from benchmarks.common.servers import leave_on_sigterm
from benchmarks.common.stack import NGINX, Stack, running, until

_SETTINGS = {"ASR_UPLOAD_TIMEOUT_S": "3", "ASR_MAX_OPEN_REQUESTS": "10"}
_MINUTE_S, _LONG_S, _LARGE_S = 50.0, 150.0, 3000.0
_CALM_S = 6.0
_N_CLIENTS = 3
_THINK_S = 0.5


def main() -> None:
    leave_on_sigterm()
    args = _arguments()
    if NGINX is None:
        sys.exit("needs Nginx: apt-get install nginx-light")
    began, watch = time.monotonic(), Watch.start()
    with tempfile.TemporaryDirectory(prefix="asr-chaos-") as folder:
        rows = _rows(args, Path(folder))
    about = {
        **machine(),
        "model": f"{args.model_name or args.model}, int8, two CPU slots behind Nginx",
        "load": f"{_N_CLIENTS} clients, each with a clip and half a second of rest after the other",
        "took": f"{time.monotonic() - began:.0f} s; others used {watch.others_cores():.1f} cores meanwhile",
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    kept = {"about": about, "rows": [each.to_json() for each in rows]}
    args.out.with_suffix(".json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(markdown(about, rows), encoding="utf-8")
    print(markdown(about, rows))
    sys.exit(any(not each.ok for each in rows))


def _rows(args: argparse.Namespace, folder: Path) -> list[Row]:
    chosen = [fault for fault in FAULTS if (fault.in_smoke or not args.smoke) and args.only in fault.name]
    rows = []
    with _scene(args, folder) as scene:
        for fault in chosen:
            rows.append(_try(fault, scene))
            print(line(rows[-1]), flush=True)
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
        post = partial(_post, sender, clips.short)
        with Load(post, _N_CLIENTS) as load:
            yield Scene(
                stack, load, sender, pool, clips.short.path, minute, long, large, _capacity(load),
                n_kills=6 if args.smoke else args.kills,
            )  # fmt: skip


def _post(sender: Sender, clip: Clip, request_id: str) -> Outcome:
    return sender.post(clip.path, request_id, language=clip.language or "en")


def _capacity(load: Load) -> float:
    """Answers a second of clients that do not rest yet. Raises RuntimeError: not all are good, without any fault."""
    load.resume()
    time.sleep(_CALM_S)
    load.pause()
    if any(each.kind != GOOD for each in load.outcomes):
        raise RuntimeError(f"without a fault: {Counter(each.kind for each in load.outcomes)}")
    load.think_s = _THINK_S
    lasted_s = max(each.ended_s for each in load.outcomes) - min(each.sent_s for each in load.outcomes)
    return len(load.outcomes) / lasted_s


def _try(fault: Fault, scene: Scene) -> Row:
    """Make the fault under load, and wait until everything that was sent is answered and both slots serve."""
    load, stack = scene.load, scene.stack
    before = len(load.outcomes)
    load.resume()
    until(lambda: len(load.outcomes) >= before + _N_CLIENTS, what="the load")
    try:
        blow = fault.inject(scene)
    except Skip as why:
        load.pause()
        return Row(fault.name, skipped=str(why))
    except TimeoutError as error:
        blow = Blow(problems=(str(error),))
    stack.wait_until_answering()
    after = len(load.outcomes)
    until(lambda: len(load.outcomes) >= after + 2 * _N_CLIENTS, what="answers after the fault")
    load.pause()
    outcomes = load.outcomes[before:]
    problems = judge(outcomes, blow, fault.allowed, *_seen(stack, [*outcomes, *blow.own]))
    return row(fault.name, load.n_sent - before + len(blow.own), [*outcomes, *blow.own], blow, problems)


def _seen(stack: Stack, outcomes: Sequence[Outcome]) -> tuple[dict[str, Passing], Counter[str]]:
    """What Nginx and the slots say of these requests, once Nginx has written down the last."""
    names = {each.request_id for each in outcomes if each.kind != LEFT}
    until(lambda: names <= stack.passed_on().keys(), what="Nginx' lines")
    passed_on = stack.passed_on()
    passings = {name: passing_of(passed_on[name]) for name in names}
    return passings, Counter(line.fields["request_id"] for line in stack.lines("transcribed"))


def passing_of(rows: list[dict[str, str]]) -> Passing:
    """A slot that could not be connected to has a dash for the time that it took."""
    tried = [pair for each in rows for pair in zip(*(each[name].split(", ") for name in _UPSTREAM), strict=True)]
    slots = [int(Path(address).stem.removeprefix("slot-")) for address, took in tried if address and took != "-"]
    return Passing(len(rows), tuple(slots))


_UPSTREAM = ("upstream", "upstream_connect_s")


def _arguments() -> argparse.Namespace:
    parser = arguments.parser(__doc__)
    parser.add_argument("--model-name", help="what the report calls it")
    parser.add_argument("--smoke", action="store_true", help="the quicker faults, in a minute and a half")
    parser.add_argument("--only", default="", help="faults with this in their names")
    parser.add_argument("--kills", type=int, default=50, help="of the last fault, 2 at least")
    parser.add_argument("--out", type=Path, help="without its suffix; by default results/chaos")
    args = parser.parse_args()
    args.out = args.out or RESULTS / ("chaos-smoke" if args.smoke else "chaos")
    return args


if __name__ == "__main__":
    main()
