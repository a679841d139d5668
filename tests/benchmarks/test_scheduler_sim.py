"""The simulator's arithmetic: what it says of loads of which the answer is known beforehand."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from asr_service.engine.model.stages import Stage
from benchmarks.simulation.__main__ import clips_first, first_come, round_robin
from benchmarks.simulation.arrivals import Arrival, clips_and_files, recorded
from benchmarks.simulation.costs import Cost, Costs, assumed_gpu
from benchmarks.simulation.events import Cores, Events
from benchmarks.simulation.fleet import Autoscaler, FleetSim, latencies, percentile, wanted_pods
from benchmarks.simulation.report import Row, Table, markdown
from benchmarks.simulation.slot import Policy, present

SIMPLE = Costs(
    source="made up",
    on_gpu=False,
    threads=1,
    cores=2,
    calls=(Cost(Stage.ENCODE, 1000, 1, 0.5), Cost(Stage.GENERATE, 1000, 1, 1.0), Cost(Stage.GENERATE, 1000, 4, 1.0)),
    crowding=1.0,
    spread=(1.0,),
    before_fixed_s=0.1,
    before_per_audio_s=0.01,
    hop_s=0.0,
    coalesce_wait_s=0.0,
    redone=0.0,
    load_s=1.0,
    priority_thread=False,
)
"""Whatever its length, a window is encoded in half a second and decoded in one."""


def one_slot(load: list[Arrival], policy: Policy = present, costs: Costs = SIMPLE) -> list[float]:
    """Latencies in the order of arrival."""
    answers = FleetSim(costs, n_pods=1, policy=policy).run(load).answers
    return [each.latency_s for each in sorted(answers, key=lambda answer: answer.arrival.at_s)]


def test_a_clip_alone_takes_what_its_steps_take():
    """Received and made ready, encoded, decoded; a window that is done again pays for both once more."""
    assert one_slot([Arrival(0.0, 10.0)]) == pytest.approx([0.1 + 0.1 + 0.5 + 1.0])
    assert one_slot([Arrival(0.0, 10.0)], costs=replace(SIMPLE, redone=1.0)) == pytest.approx([0.2 + 2 * 1.5])


def test_clips_of_one_length_share_a_call_and_others_do_not():
    """What waits together is decoded together; a window of another shape has a call of its own."""
    calls = replace(SIMPLE, calls=(Cost(Stage.ENCODE, 1000, 1, 0.01), *SIMPLE.calls[1:]))
    alike = one_slot([Arrival(0.0, 3.0), Arrival(0.001, 3.0)], costs=calls)
    other = one_slot([Arrival(0.0, 3.0), Arrival(0.001, 20.0)], costs=calls)
    assert max(alike) == pytest.approx(0.13 + 1.0, abs=0.1)
    assert max(other) == pytest.approx(0.13 + 2.0, abs=0.1)


def test_processors_are_shared():
    """Three pieces on two processors take half as long again; crowding is paid where all are busy."""
    ends: list[float] = []
    events = Events()
    cores = Cores(events, 2)
    for _ in range(3):
        cores.start(1.0, lambda: ends.append(events.now_s))
    events.run()
    assert ends == pytest.approx([1.5] * 3)
    events, ends = Events(), []
    crowded = Cores(events, 2, crowding=1.5)
    crowded.start(1.0, lambda: ends.append(events.now_s))
    crowded.start(2.0, lambda: ends.append(events.now_s))
    events.run()
    assert ends == pytest.approx([1.5, 1.5 + 1.0])


@pytest.mark.parametrize("policy", [present, round_robin, clips_first])
def test_clips_pass_a_long_file(policy):
    """Under each rule but the plain one a clip waits for what runs, not for the file's windows that came before it."""
    load = [Arrival(0.0, 1000.0), *(Arrival(20.0 + 15 * k, 5.0) for k in range(5))]
    own_s = one_slot([Arrival(0.0, 5.0)])[0]
    fast = one_slot(load, policy)[1:]
    slow = one_slot(load, first_come)[1:]
    assert percentile(sorted(fast), 50) < percentile(sorted(slow), 50)
    assert min(fast) >= own_s - 1e-6


def test_a_clip_waits_for_no_call_of_a_long_file():
    """With the priority thread and a core for it, a clip beside a file takes hardly longer than alone."""
    load = [Arrival(0.0, 1000.0), *(Arrival(20.0 + 15 * k, 5.0) for k in range(5))]
    costs = replace(SIMPLE, priority_thread=True)
    assert one_slot(load, costs=costs)[1:] == pytest.approx(one_slot([Arrival(0.0, 5.0)]) * 5, abs=0.3)


def test_no_stream_of_clips_starves_a_file():
    """The present rule bounds a window's wait by the handicap and what then stands before it; strict rules do not."""
    clips = [Arrival(k * 1.3, 5.0) for k in range(300)]
    load = sorted([*clips, Arrival(5.0, 300.0)], key=lambda each: each.at_s)

    def file_s(policy: Policy) -> float:
        return latencies(FleetSim(SIMPLE, n_pods=1, policy=policy).run(load).answers, bulk=True)[0]

    assert file_s(present) < file_s(clips_first) / 2


def test_costs_are_read_between_the_lines_of_the_table():
    """By length and by number, in straight lines; and a table is kept as it was."""
    costs = assumed_gpu()
    one, eight = (costs.seconds(Stage.ENCODE, 3000, n) for n in (1, 8))
    assert costs.seconds(Stage.ENCODE, 3000, 4) == pytest.approx(one + 3 / 7 * (eight - one))
    short, full = (costs.seconds(Stage.GENERATE, n, 1) for n in (1000, 3000))
    assert costs.seconds(Stage.GENERATE, 2000, 1) == pytest.approx((short + full) / 2)
    assert Costs.from_json(json.loads(json.dumps(costs.to_json()))) == costs


def test_arrivals_are_read_from_the_log():
    """When a request came is when its line was written less what it took; what gave no transcript is left out."""
    lines = [
        "not of ours",
        '{"event": "transcribed", "request_id": "b", "speech_s": 8.5}',
        '{"event": "request", "request_id": "b", "seconds": 2.0, "timestamp": "2026-11-21T10:00:04.500000Z"}',
        '{"event": "request", "request_id": "refused", "seconds": 0.1, "timestamp": "2026-11-21T10:00:05Z"}',
        '{"event": "transcribed", "request_id": "a", "speech_s": 300.0}',
        '{"event": "request", "request_id": "a", "seconds": 9.0, "timestamp": "2026-11-21T10:00:10Z"}',
    ]
    assert recorded(lines) == [Arrival(0.0, 300.0, 9.0), Arrival(1.5, 8.5, 2.0)]


def test_made_arrivals_are_as_many_as_asked_for():
    """In order of time, clips and files at their own rates, the same for one seed."""
    load = clips_and_files(2.0, 30.0, 3600.0, seed=1)
    assert all(before.at_s <= after.at_s for before, after in pairwise(load))
    assert sum(not each.bulk for each in load) == pytest.approx(7200, rel=0.05)
    assert sum(each.bulk for each in load) == pytest.approx(30, rel=0.4)
    assert load == clips_and_files(2.0, 30.0, 3600.0, seed=1)


def test_two_slots_answer_twice_as_much():
    """The balancer by connections gives each its half: what is too much for one is done by two as it comes."""
    load = [Arrival(k * 0.8, 15.0) for k in range(100)]
    one, two = (FleetSim(SIMPLE, n_pods=n).run(load) for n in (1, 2))
    assert max(each.latency_s for each in two.answers) < 5
    assert max(each.latency_s for each in one.answers) > 20
    assert len(one.answers) == len(two.answers) == 100


def test_an_autoscaler_wants_what_an_hpa_wants():
    """The total over the target, rounded up, within bounds; pods are ready when they have loaded, and go when idle."""
    scaler = Autoscaler("queue", 3.0, 2, 20, start_s=30.0)
    assert [wanted_pods(total, scaler) for total in (0, 6, 7, 1000)] == [2, 2, 3, 20]
    rush = [Arrival(100 + k * 0.2, 5.0) for k in range(600)]
    quiet = [Arrival(1000 + k * 20.0, 5.0) for k in range(100)]
    result = FleetSim(SIMPLE, n_pods=2, autoscaler=scaler).run([*rush, *quiet])
    assert 8 <= result.most_pods <= 20
    assert result.pod_hours < result.most_pods * 3000 / 3600 * 0.7
    assert result.lost_audio_s == 0


def test_what_is_too_much_is_refused():
    """By the service's own admission: no more than its open requests, whatever comes."""
    result = FleetSim(SIMPLE, n_pods=1).run([Arrival(0.0, 5.0)] * 80)
    assert sum(each.refused for each in result.answers) == 80 - 64


def test_percentiles_and_tables():
    """The nearest rank; a table says what there is and a dash where there is nothing."""
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (50, 95, 100)] == [50, 95, 100]
    table = Table("A title", "A note.", (Row("one", {"p50 s": 0.5, "files s": float("nan")}),))
    assert "| one | 0.50 | - |" in markdown([table])
    assert table.to_json()["rows"] == [{"name": "one", "p50 s": 0.5, "files s": None}]
