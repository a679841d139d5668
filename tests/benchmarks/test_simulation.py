"""The simulator, with loads whose result is known."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from asr_service.access.caller import UNKNOWN_CALLER, Caller
from asr_service.engine.model.stages import Stage
from benchmarks.simulation.arrivals import Arrival, clips_and_files, recorded
from benchmarks.simulation.costs import Cost, Costs, assumed_gpu
from benchmarks.simulation.events import Cores, Events
from benchmarks.simulation.fleet import Autoscaler, FleetSim, latencies, percentile, wanted_pods
from benchmarks.simulation.policies import clips_first, first_come, least_audio_first
from benchmarks.simulation.report import Row, Table, markdown
from benchmarks.simulation.slot import Policy, service_rule

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
"""A window of any length is encoded in half a second and decoded in one."""


def one_slot(load: list[Arrival], policy: Policy = service_rule, costs: Costs = SIMPLE) -> list[float]:
    """Latencies in the order of arrival."""
    outcomes = FleetSim(costs, n_pods=1, policy=policy).run(load).outcomes
    return [each.latency_s for each in sorted(outcomes, key=lambda outcome: outcome.arrival.at_s)]


def test_the_latency_of_a_single_clip_is_the_sum_of_its_steps():
    """It is received, decoded, encoded and generated; a window that is decoded again takes the model's time twice."""
    assert one_slot([Arrival(0.0, 10.0)]) == pytest.approx([0.1 + 0.1 + 0.5 + 1.0])
    assert one_slot([Arrival(0.0, 10.0)], costs=replace(SIMPLE, redone=1.0)) == pytest.approx([0.2 + 2 * 1.5])


def test_only_clips_of_one_length_share_a_call():
    """A window of another length has a call of its own."""
    calls = replace(SIMPLE, calls=(Cost(Stage.ENCODE, 1000, 1, 0.01), *SIMPLE.calls[1:]))
    alike = one_slot([Arrival(0.0, 3.0), Arrival(0.001, 3.0)], costs=calls)
    other = one_slot([Arrival(0.0, 3.0), Arrival(0.001, 20.0)], costs=calls)
    assert max(alike) == pytest.approx(0.13 + 1.0, abs=0.1)
    assert max(other) == pytest.approx(0.13 + 2.0, abs=0.1)


def test_cores_are_shared():
    """Three computations on two cores take half as long again; crowding slows them only while all cores are busy."""
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


@pytest.mark.parametrize("policy", [service_rule, least_audio_first, clips_first])
def test_clips_overtake_a_long_file(policy):
    """Under each rule but first come, first served, a clip does not wait for the windows that were queued before it."""
    load = [Arrival(0.0, 1000.0), *(Arrival(20.0 + 15 * k, 5.0) for k in range(5))]
    own_s = one_slot([Arrival(0.0, 5.0)])[0]
    fast = one_slot(load, policy)[1:]
    slow = one_slot(load, first_come)[1:]
    assert percentile(sorted(fast), 50) < percentile(sorted(slow), 50)
    assert min(fast) >= own_s - 1e-6


def test_with_a_priority_thread_a_clip_does_not_wait_for_a_call_of_a_long_file():
    """If the thread has a core, the clip takes hardly longer than alone."""
    load = [Arrival(0.0, 1000.0), *(Arrival(20.0 + 15 * k, 5.0) for k in range(5))]
    costs = replace(SIMPLE, priority_thread=True)
    assert one_slot(load, costs=costs)[1:] == pytest.approx(one_slot([Arrival(0.0, 5.0)]) * 5, abs=0.3)


def test_a_stream_of_clips_does_not_starve_a_file():
    """The service's rule bounds the wait of a window; a strict rule does not."""
    clips = [Arrival(k * 1.3, 5.0) for k in range(300)]
    load = sorted([*clips, Arrival(5.0, 300.0)], key=lambda each: each.at_s)

    def file_s(policy: Policy) -> float:
        return latencies(FleetSim(SIMPLE, n_pods=1, policy=policy).run(load).outcomes, bulk=True)[0]

    assert file_s(service_rule) < file_s(clips_first) / 2


def test_an_hour_cut_into_clips_does_not_delay_another_caller():
    """Its clips wait for running calls only. Taken for the same caller, they wait for the whole queue."""
    flood = [Arrival(0.3 * k, 20.0, caller=Caller("greedy")) for k in range(40)]
    clips = [Arrival(12.0 + 9 * k, 5.0, caller=Caller("other")) for k in range(4)]

    def longest_s(load: list[Arrival]) -> float:
        outcomes = FleetSim(SIMPLE, n_pods=1).run(sorted(load, key=lambda each: each.at_s)).outcomes
        return max(each.latency_s for each in outcomes if each.arrival.audio_s < 20)

    assert longest_s([*flood, *clips]) < 4
    assert longest_s([replace(each, caller=UNKNOWN_CALLER) for each in [*flood, *clips]]) > 30


def test_costs_are_interpolated_in_the_table():
    """Linearly, by length and by number of windows. A table survives the round trip through JSON."""
    costs = assumed_gpu()
    one, eight = (costs.seconds(Stage.ENCODE, 3000, n) for n in (1, 8))
    assert costs.seconds(Stage.ENCODE, 3000, 4) == pytest.approx(one + 3 / 7 * (eight - one))
    short, full = (costs.seconds(Stage.GENERATE, n, 1) for n in (1000, 3000))
    assert costs.seconds(Stage.GENERATE, 2000, 1) == pytest.approx((short + full) / 2)
    assert Costs.from_json(json.loads(json.dumps(costs.to_json()))) == costs


def test_arrivals_are_read_from_the_log():
    """A request arrived when its line was written, minus its duration. Requests without a transcript are left out."""
    lines = [
        "not a log line",
        '{"event": "transcribed", "request_id": "b", "speech_s": 8.5}',
        '{"event": "request", "request_id": "b", "seconds": 2.0, "timestamp": "2026-11-21T10:00:04.500000Z"}',
        '{"event": "request", "request_id": "refused", "seconds": 0.1, "timestamp": "2026-11-21T10:00:05Z"}',
        '{"event": "transcribed", "request_id": "a", "speech_s": 300.0}',
        '{"event": "request", "request_id": "a", "seconds": 9.0, "timestamp": "2026-11-21T10:00:10Z"}',
    ]
    assert recorded(lines) == [Arrival(0.0, 300.0, 9.0), Arrival(1.5, 8.5, 2.0)]


def test_random_arrivals_have_the_given_rates():
    """They are in order of time, and the same for one seed."""
    load = clips_and_files(2.0, 30.0, 3600.0, seed=1)
    assert all(before.at_s <= after.at_s for before, after in pairwise(load))
    assert sum(not each.bulk for each in load) == pytest.approx(7200, rel=0.05)
    assert sum(each.bulk for each in load) == pytest.approx(30, rel=0.4)
    assert load == clips_and_files(2.0, 30.0, 3600.0, seed=1)


def test_two_slots_have_twice_the_capacity():
    """The balancer sends half of the requests to each, so a load that is too high for one slot has short latencies."""
    load = [Arrival(k * 0.8, 15.0) for k in range(100)]
    one, two = (FleetSim(SIMPLE, n_pods=n).run(load) for n in (1, 2))
    assert max(each.latency_s for each in two.outcomes) < 5
    assert max(each.latency_s for each in one.outcomes) > 20
    assert len(one.outcomes) == len(two.outcomes) == 100


def test_an_autoscaler_follows_the_rule_of_an_hpa():
    """It wants the total divided by the target, rounded up, within bounds. Pods start slowly, and idle pods end."""
    scaler = Autoscaler("queue", 3.0, 2, 20, start_s=30.0)
    assert [wanted_pods(total, scaler) for total in (0, 6, 7, 1000)] == [2, 2, 3, 20]
    rush = [Arrival(100 + k * 0.2, 5.0) for k in range(600)]
    quiet = [Arrival(1000 + k * 20.0, 5.0) for k in range(100)]
    result = FleetSim(SIMPLE, n_pods=2, autoscaler=scaler).run([*rush, *quiet])
    assert 8 <= result.max_pods <= 20
    assert result.pod_hours < result.max_pods * 3000 / 3600 * 0.7
    assert result.lost_audio_s == 0


def test_requests_past_the_limit_of_open_requests_are_refused():
    """The service's own admission decides."""
    result = FleetSim(SIMPLE, n_pods=1).run([Arrival(0.0, 5.0)] * 80)
    assert sum(each.refused for each in result.outcomes) == 80 - 64


def test_percentiles_and_tables():
    """Percentiles have the nearest rank; a table shows a dash for a number that does not apply."""
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (50, 95, 100)] == [50, 95, 100]
    table = Table("A title", "A note.", (Row("one", {"p50 s": 0.5, "files s": float("nan")}),))
    assert "| one | 0.50 | - |" in markdown([table])
    assert table.to_json()["rows"] == [{"name": "one", "p50 s": 0.5, "files s": None}]
