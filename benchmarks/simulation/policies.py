"""The rules of the queue that the simulation compares."""

from collections.abc import Mapping

from asr_service.engine.schedule.batch import MAX_FAIRNESS_PENALTY_S
from benchmarks.simulation.arrivals import Arrival
from benchmarks.simulation.slot import Policy, service_rule


def first_come(_arrival: Arrival, _served_audio_s: float) -> float:
    """Give no penalty: windows run in the order in which they were queued."""
    return 0.0


def least_audio_first(_arrival: Arrival, served_audio_s: float) -> float:
    """Run the request with the least decoded audio first, however long another one has waited."""
    return served_audio_s * 1e6


def clips_first(arrival: Arrival, _served_audio_s: float) -> float:
    """Run long files only when no clip waits. The rule knows the length beforehand, and the service does not."""
    return 1e9 if arrival.bulk else 0.0


def penalty_up_to(max_s: float, audio_s_per_s: float = 6.0) -> Policy:
    """Return the service's rule with other numbers."""
    return lambda _, served_audio_s: min(served_audio_s / audio_s_per_s, max_s)


POLICIES: Mapping[str, Policy] = {
    f"the service's rule (penalty up to {MAX_FAIRNESS_PENALTY_S:.0f} s)": service_rule,
    "first come, first served": first_come,
    "least decoded audio first": least_audio_first,
    "clips strictly first": clips_first,
    "penalty up to 5 s": penalty_up_to(5.0),
    "penalty up to 10 s": penalty_up_to(10.0),
    "penalty up to 20 s": penalty_up_to(20.0),
    "penalty up to 60 s": penalty_up_to(60.0),
    "penalty up to 30 s, six times as fast": penalty_up_to(30.0, 1.0),
}
