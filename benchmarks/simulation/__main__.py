"""Simulate the queue's rule and fleets of slots: the latencies, and what another rule would change.

    python -m benchmarks.simulation    # five minutes, writes results/scheduler-sim.json and .md

The service's own `engine.schedule.batch.form_batch` forms the batches. The durations of model calls are in
results/sim-costs.json (measure.py). For a GPU they are assumed, as noted in every table. See benchmarks/README.md.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from benchmarks.common import arguments
from benchmarks.common.client import arrivals
from benchmarks.common.report import RESULTS, save
from benchmarks.simulation.arrivals import Arrival, clips_and_files, read_recording, waves
from benchmarks.simulation.costs import Costs, assumed_gpu
from benchmarks.simulation.fleet import Autoscaler, FleetResult, FleetSim, latencies, percentile
from benchmarks.simulation.policies import POLICIES, penalty_up_to
from benchmarks.simulation.report import Row, Table, markdown
from benchmarks.simulation.slot import Outcome, Policy

_HOUR_S = 3600.0
_RUSH_S = (300.0, 900.0)
_MEMO_S = 90.0
_GREEDY, _OTHER = Caller("greedy"), Caller("other")
_FLOOD_CLIP_S, _MEAN_CLIP_S = 29.0, 9.5


@dataclass(frozen=True, slots=True)
class Rates:
    """The load of one slot."""

    clips_per_s: float
    files_per_hour: float
    duration_s: float


def capacity_per_s(costs: Costs) -> float:
    """Return the clips a second that one slot answers if there are always more."""
    for_s = 120.0
    load = clips_and_files(400.0 if costs.on_gpu else 40.0, 0.0001, for_s, seed=5)
    result = FleetSim(costs, n_pods=1).run([each for each in load if not each.bulk])
    answered = [each for each in result.outcomes if not each.refused]
    return len(answered) / max(each.ended_s for each in answered)


def compare_policies(costs: Costs, rates: Rates, policies: Mapping[str, Policy]) -> list[Row]:
    load = _mixed(rates)
    return [_row(name, FleetSim(costs, n_pods=1, policy=policy).run(load)) for name, policy in policies.items()]


def _mixed(rates: Rates) -> list[Arrival]:
    """Make clips, long files, and a recording of 90 s once a minute."""
    load = clips_and_files(rates.clips_per_s, rates.files_per_hour, rates.duration_s, seed=3)
    memos = [Arrival(at_s, _MEMO_S) for at_s in arrivals(1 / 60, rates.duration_s, seed=8)]
    return sorted([*load, *memos], key=lambda arrival: arrival.at_s)


def _row(name: str, result: FleetResult, **more: float) -> Row:
    clips, files = latencies(result.outcomes, bulk=False), latencies(result.outcomes, bulk=True)
    memos = sorted(each.latency_s for each in result.outcomes if each.arrival.audio_s == _MEMO_S and not each.refused)
    answered = [each for each in result.outcomes if not each.refused]
    ended_s = max(each.ended_s for each in answered)
    numbers = {
        "clips p50 s": percentile(clips, 50),
        "p95 s": percentile(clips, 95),
        "p99 s": percentile(clips, 99),
        "90 s: p95 s": percentile(memos, 95),
        "files p50 s": percentile(files, 50),
        "files max s": percentile(files, 100),
        "longest wait of a window s": max(each.longest_wait_s for each in answered),
        "audio s/s": sum(each.arrival.audio_s for each in answered) / ended_s,
        "refused %": 100 * (1 - len(answered) / len(result.outcomes)),
        "model threads busy, %": 100 * result.busy_share,
    }
    return Row(name, numbers | more)


# -- the experiments


def validation(costs: Costs, recording: Path) -> Table:
    """Simulate the recorded arrivals, and compare with the latencies of the service."""
    kept = read_recording(recording)
    outcomes = FleetSim(costs, n_pods=1, policy=penalty_up_to(kept.max_penalty_s)).run(kept.arrivals).outcomes
    (file,) = [each for each in kept.arrivals if each.bulk]
    rows = []
    for name, phase in _phases(outcomes, file):
        real = sorted(each.arrival.took_s or 0.0 for each in phase)
        simulated = sorted(each.latency_s for each in phase)
        for share in (50, 95):
            took, said = percentile(real, share), percentile(simulated, share)
            rows.append(
                Row(
                    f"{name}, p{share}", {"n": len(phase), "service s": took, "simulated s": said, "ratio": said / took}
                )
            )
    note = f"Recorded on: {kept.source}; fairness penalty up to {kept.max_penalty_s:.0f} s."
    return Table("The simulator compared with the service", note, tuple(rows))


def _phases(outcomes: Sequence[Outcome], file: Arrival) -> Iterable[tuple[str, list[Outcome]]]:
    end_s = file.at_s + (file.took_s or 0.0)
    clips = [each for each in outcomes if not each.arrival.bulk]
    yield "clips alone", [each for each in clips if each.arrival.at_s < file.at_s]
    yield "clips during the file", [each for each in clips if file.at_s <= each.arrival.at_s < end_s - 3]
    yield "the file", [each for each in outcomes if each.arrival.bulk]
    yield "clips at random times", [each for each in clips if each.arrival.at_s >= end_s]


def policy_tables(costs: Costs, name: str, hours: float) -> Iterable[Table]:
    capacity = capacity_per_s(costs)
    files = 12.0 * (1.0 if not costs.on_gpu else 4.0)
    for share, label in ((0.35, "moderate load"), (0.6, "heavy load"), (0.8, "overload")):
        rates = Rates(share * capacity, files, hours * _HOUR_S)
        note = (
            f"{name}: {rates.clips_per_s:.2f} clips a second ({100 * share:.0f} % of its capacity for clips) and "
            f"{files:.0f} files of an hour each hour, a recording of 90 s a minute, for {hours:g} h. {costs.source}."
        )
        yield Table(f"Queue rules, {label}", note, tuple(compare_policies(costs, rates, POLICIES)))


def starvation(costs: Costs) -> Table:
    """Simulate one long file among more and more clips."""
    capacity = capacity_per_s(costs)
    rows = []
    chosen = {name: POLICIES[name] for name in list(POLICIES)[:4]}
    for share in (0.9, 1.0, 1.2):
        clips = [each for each in clips_and_files(share * capacity, 0.0001, 1200.0, seed=9) if not each.bulk]
        load = sorted([*clips, Arrival(60.0, 600.0)], key=lambda each: each.at_s)
        for name, policy in chosen.items():
            result = FleetSim(costs, n_pods=1, policy=policy).run(load)
            rows.append(_row(f"clips at {100 * share:.0f} %: {name}", result))
    note = f"A file of 10 min among clips at shares of one slot's capacity for clips, 20 min. {costs.source}."
    return Table("Does the long file starve?", note, tuple(rows))


def callers_table(costs: Costs) -> Table:
    """Simulate two callers. One sends an hour as clips, or a long file, and the other sends clips at the same time."""
    capacity = capacity_per_s(costs)
    flood_per_s = 3 * capacity * _MEAN_CLIP_S / _FLOOD_CLIP_S
    flood = [Arrival(at_s, _FLOOD_CLIP_S, caller=_GREEDY) for at_s in arrivals(flood_per_s, 300.0, seed=3)]
    few = [Arrival(30.0 + 5 * k, 5.0, caller=_OTHER) for k in range(50)]
    loads = {"flood of clips": [*flood, *few]}
    for share in (0.3, 0.45, 0.6):
        clips = [Arrival(at_s, _MEAN_CLIP_S, caller=_OTHER) for at_s in arrivals(share * capacity, 400.0, seed=5)]
        file = Arrival(60.0, 1800.0 if not costs.on_gpu else 18000.0, caller=_GREEDY)
        loads[f"file, other clips at {100 * share:.0f} %"] = [*clips, file]
    rows = []
    for name, load in loads.items():
        rows.append(_caller_row(f"{name}: as one caller", costs, load, are_known=False))
        rows.append(_caller_row(f"{name}: as two", costs, load, are_known=True))
    note = (
        f"Clips of {_FLOOD_CLIP_S:.0f} s at three times the capacity beside a clip of 5 s every 5 s; a file of "
        f"{18000 if costs.on_gpu else 1800} s beside clips at shares of the capacity. {costs.source}."
    )
    return Table("Two callers", note, tuple(rows))


def _caller_row(name: str, costs: Costs, load: Sequence[Arrival], *, are_known: bool) -> Row:
    """Return what the other caller sees, if the service knows the two callers or takes them for one."""
    seen = [each if are_known else replace(each, caller=UNKNOWN_CALLER) for each in load]
    others = {each.at_s for each in load if each.caller == _OTHER}
    outcomes = FleetSim(costs, n_pods=1).run(sorted(seen, key=lambda each: each.at_s)).outcomes
    other = [each for each in outcomes if each.arrival.at_s in others]
    greedy = [each for each in outcomes if each.arrival.at_s not in others]
    waits = sorted(each.latency_s for each in other if not each.refused)
    numbers = {
        "the other's p50 s": percentile(waits, 50),
        "p95 s": percentile(waits, 95),
        "max s": percentile(waits, 100),
        "refused %": 100 * sum(each.refused for each in other) / len(other),
        "the first's max s": max(each.latency_s for each in greedy if not each.refused),
        "the first's refused %": 100 * sum(each.refused for each in greedy) / len(greedy),
    }
    return Row(name, numbers)


def context_table(costs: Costs) -> Table:
    """Compare steps of the encoder context: finer ones save encoder time, and split decoder batches."""
    load = [each for each in clips_and_files(200.0 if costs.on_gpu else 10.0, 0.0001, 120.0, seed=6) if not each.bulk]
    calm = [each for each in clips_and_files(4.0 if costs.on_gpu else 1.0, 0.0001, 300.0, seed=6) if not each.bulk]
    rows = []
    for step, name in (
        (64, "0.64 s"),
        (128, "1.28 s"),
        (256, "2.56 s"),
        (512, "5.12 s"),
        (1024, "10.24 s"),
        (3000, "30 s"),
    ):
        result = FleetSim(costs, n_pods=1, step_frames=step).run(load)
        answered = [each for each in result.outcomes if not each.refused]
        solo = latencies(FleetSim(costs, n_pods=1, step_frames=step).run(calm).outcomes, bulk=False)
        numbers = {
            "max clips/s": len(answered) / max(each.ended_s for each in answered),
            "at low load: p50 s": percentile(solo, 50),
            "p95 s": percentile(solo, 95),
        }
        rows.append(Row(f"steps of {name}", numbers))
    note = (
        f"Clips of 2 to 29 s, more than the slot can do; then {'4' if costs.on_gpu else '1'} a second. {costs.source}."
    )
    return Table("Steps of the encoder context", note, tuple(rows))


def fleet_table(costs: Costs, share: float) -> Table:
    capacity = capacity_per_s(costs)
    rows = []
    for n in (1, 2, 4, 10, 30, 100):
        duration_s = max(60.0, 600.0 / n)
        load = clips_and_files(share * capacity * n, 0.0001, duration_s, seed=n)
        for balance in ("least connections", "round robin", "random") if n > 1 else ("least connections",):
            result = FleetSim(costs, n_pods=n, balance=balance).run([each for each in load if not each.bulk])
            rows.append(_row(f"{n} pods, {balance}", result))
    note = f"Clips at {100 * share:.0f} % of {capacity:.1f} a second for each pod. {costs.source}."
    return Table("From 1 to 100 pods, with the same load for each pod", note, tuple(rows))


def autoscaling_table(costs: Costs) -> Table:
    """Simulate a sudden tenfold load for 10 min and one long file: how many clips are late, and how many pods run."""
    capacity = capacity_per_s(costs)
    load = waves(1.2 * capacity, 12 * capacity, 2100.0, seed=4, from_s=_RUSH_S[0], until_s=_RUSH_S[1])
    load = sorted([*load, Arrival(30.0, 4 * _HOUR_S)], key=lambda each: each.at_s)
    rows = []

    def add(name: str, scaler: Autoscaler | None, n_pods: int = 2) -> None:
        result = FleetSim(costs, n_pods=n_pods, autoscaler=scaler).run(load)
        calm = [each for each in result.outcomes if each.arrival.at_s < _RUSH_S[0]]
        rush = [each for each in result.outcomes if _RUSH_S[0] <= each.arrival.at_s < _RUSH_S[1]]
        late = sum(each.refused or each.latency_s > 10 for each in rush)
        bad_until_s = max(
            (each.arrival.at_s for each in rush if each.refused or each.latency_s > 10), default=_RUSH_S[0]
        )
        numbers = {
            "refused in the rush, %": 100 * sum(each.refused for each in rush) / len(rush),
            "refused or over 10 s, %": 100 * late / len(rush),
            "last such, s after its start": bad_until_s - _RUSH_S[0],
            "clips p95 s": percentile(latencies(result.outcomes, bulk=False), 95),
            "p95 before it s": percentile(latencies(calm, bulk=False), 95),
            "max pods": float(result.max_pods),
            "pod hours": result.pod_hours,
            "audio lost s": result.lost_audio_s,
        }
        rows.append(Row(name, numbers))

    add("16 pods, no autoscaler", None, 16)
    base = Autoscaler("queue", 3.0, 2, 100, start_s=20.0)
    add("queue, target 3, ready in 20 s", base)
    for target in (1.0, 5.0, 10.0):
        add(f"queue, target {target:.0f}, ready in 20 s", replace(base, target=target))
    add("queue, target 3, ready in 60 s", replace(base, start_s=60.0))
    add("queue, target 3, ready in 180 s", replace(base, start_s=180.0))
    add("queue, at least 6 pods, ready in 60 s", replace(base, min_pods=6, start_s=60.0), 6)
    for target in (3.0, 5.0):
        add(
            f"queue capped at {2 * target:.0f} a pod, target {target:.0f}",
            replace(base, signal="capped queue", target=target),
        )
    for target in (8.0, 16.0):
        add(f"open requests, target {target:.0f}", replace(base, signal="open requests", target=target))
    note = (
        f"Clips at 1.2 pods' capacity, ten times as many from 5 to 15 min; one file of four hours from the start; "
        f"35 min, 100 pods at most. A new pod is ready after 20 s (loads the model; assumed), 60 or 180 s (a node, an "
        f"image). {costs.source}."
    )
    return Table("Autoscaling under a sudden load", note, tuple(rows))


def lone_file_table(costs: Costs) -> Table:
    """Simulate one file, which uses one slot, and count the pods that an autoscaler starts for it."""
    rows = []
    for signal in ("queue", "capped queue", "open requests"):
        for target in (1.0, 3.0, 5.0):
            scaler = Autoscaler(signal, target, 2, 100, start_s=20.0)
            result = FleetSim(costs, n_pods=2, autoscaler=scaler).run([Arrival(1.0, 24 * _HOUR_S), Arrival(600.0, 5.0)])
            rows.append(Row(f"{signal}, target {target:.0f}", {"max pods": float(result.max_pods)}))
    return Table("One file of a day, and no other load", f"{costs.source}.", tuple(rows))


def tables(costs: Costs, recording: Path, *, quick: bool) -> Iterable[Table]:
    gpu = assumed_gpu()
    yield validation(costs, recording)
    yield from policy_tables(costs, "CPU slot, Whisper base", 0.2 if quick else 2.0)
    yield from policy_tables(gpu, "GPU slot, assumed", 0.05 if quick else 1.0)
    yield starvation(costs)
    yield callers_table(costs)
    yield callers_table(gpu)
    yield context_table(costs)
    yield context_table(gpu)
    yield lone_file_table(gpu)
    if not quick:
        yield fleet_table(gpu, 0.7)
        yield autoscaling_table(gpu)


def main() -> None:
    parser = arguments.plain_parser(__doc__)
    parser.add_argument("--costs", type=Path, default=RESULTS / "sim-costs.json")
    parser.add_argument("--recording", type=Path, default=RESULTS / "sim-recorded.json")
    parser.add_argument("--quick", action="store_true", help="simulate shorter loads, and no fleets")
    arguments.add_out(parser, "scheduler-sim")
    args = parser.parse_args()
    began, made = time.monotonic(), []
    for table in tables(Costs.load(args.costs), args.recording, quick=args.quick):
        made.append(table)
        print(f"{time.monotonic() - began:.0f} s: {table.title}", flush=True)
        save(args.out, [each.to_json() for each in made], markdown(made))


if __name__ == "__main__":
    main()
