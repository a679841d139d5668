"""The slot supervisor, without processes or clocks."""

from asr_service.hardware.devices import Device, Slot
from asr_service.serving.slots.supervisor import SlotSupervisor


def supervisor_of(n_slots: int) -> SlotSupervisor:
    return SlotSupervisor(
        tuple(Slot(index, Device("cpu")) for index in range(n_slots)), first_s=1, most_s=60, min_uptime_s=60
    )


def fail(
    supervisor: SlotSupervisor, index: int, *, now_s: float = 0, exit_code: int = 1, was_ready: bool = False
) -> float:
    supervisor.take(index, now_s)
    return supervisor.release(index, now_s, exit_code=exit_code, was_ready=was_ready)


def test_a_slot_that_never_becomes_ready_waits_twice_as_long_each_time():
    """The wait grows from 1 s to 60 s, and begins at 1 s again after the slot was ready."""
    supervisor = supervisor_of(1)
    assert [fail(supervisor, 0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert fail(supervisor, 0, was_ready=True) == 0
    assert fail(supervisor, 0) == 1


def test_a_slot_that_fails_soon_after_it_was_ready_waits_too():
    """It waits from the second failure on. Workers that were killed, or served for a while, do not count."""
    supervisor = supervisor_of(1)
    assert [fail(supervisor, 0, exit_code=70, was_ready=True) for _ in range(4)] == [0, 1, 2, 4]
    assert [fail(supervisor, 0, exit_code=code, was_ready=True) for code in (-9, -11, -11)] == [0, 0, 1]
    supervisor.take(0, 100)
    assert supervisor.release(0, 160, exit_code=70, was_ready=True) == 0
    assert [fail(supervisor, 0, exit_code=code, was_ready=True) for code in (70, 70, 0, 70)] == [0, 1, 0, 0]


def test_the_first_free_slot_whose_wait_is_over_is_next():
    """A waiting slot does not delay those after it, and is due when its wait is over."""
    supervisor = supervisor_of(3)
    supervisor.take(1, 0)
    fail(supervisor, 0)
    assert supervisor.next_due(0.9) == supervisor.slots[2]
    assert supervisor.next_due(1.0) == supervisor.slots[0]


def test_startup_has_failed_only_if_no_slot_can_start():
    """If one slot was ready, or failed for a reason that may pass, the master goes on."""
    supervisor = supervisor_of(2)
    fail(supervisor, 0, exit_code=69)
    assert supervisor.startup_failed() is None  # slot 1 may do better
    fail(supervisor, 1, exit_code=1)
    assert supervisor.startup_failed() is None
    fail(supervisor, 1, exit_code=78)
    assert supervisor.startup_failed() == 0
    fail(supervisor, 1, exit_code=0, was_ready=True)
    fail(supervisor, 1, exit_code=69)
    assert supervisor.startup_failed() is None
