"""Each lock fault of the simulator turns its own case red; a lock without faults turns none."""

from collections.abc import Callable

import pytest

from drivers.profile import load_profile
from firmware_sim.encode import Values
from firmware_sim.faults import KINDS, FaultBoard
from firmware_sim.hil.cases import common, lock
from firmware_sim.hil.trace import Trace
from firmware_sim.plant.disturb import disturbed
from firmware_sim.plant.lock import Lock, LockSize

EXPECTED: dict[str, tuple[Callable[..., None], str]] = {
    "lock-opposite-sluice-open": (
        lock.test_no_sluice_is_open_while_the_opposite_gate_is_not_closed,
        "opposite_sluice",
    ),
    "lock-sluice-open-while-gate-closes": (
        lock.test_no_sluice_is_open_while_the_gate_of_its_head_moves,
        "same_sluice",
    ),
    "lock-opposite-gates-open": (lock.test_the_two_gates_are_never_open_together, "both_gates"),
    "lock-opposite-sluices-open": (lock.test_the_sluices_of_both_heads_are_never_open_together, "both_sluices"),
    "lock-gate-opens-under-head": (lock.test_no_gate_opens_under_a_difference_of_level, "opens_under_head"),
    "lock-green-light-gate-closed": (lock.test_no_light_is_green_at_a_gate_that_is_not_open, "green_closed"),
    "lock-level-moves-all-closed": (lock.test_the_level_stands_when_all_is_closed, "moves_closed"),
    "lock-level-still-sluice-open": (lock.test_the_level_moves_when_a_sluice_is_open_under_head, "still_open"),
    "lock-mode-change-in-cycle": (lock.test_the_mode_stays_during_a_lockage, "mode_change"),
    "frozen-heartbeat": (common.test_the_heartbeat_moves, "heartbeat_stood"),
}
ALL = [value for name, value in vars(lock).items() if name.startswith("test_")]


def watched(record: Callable[..., Trace], fault: str | None) -> Trace:
    plant = Lock(LockSize(), seed=7)
    board = FaultBoard()
    plant.board, plant.device = board, "lock-1"
    if fault is not None:
        board.plan(fault, "lock-1", 60_000_000_000, None, {})

    def values(t_ns: int) -> Values:
        return disturbed("lock", plant.values(t_ns), t_ns, board.at("lock-1", t_ns))

    return record(load_profile("generic-lock"), values, 3600)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.__name__)
def test_a_lock_without_faults_turns_no_case_red(
    case: Callable[..., None], recorded: Callable[[str], Trace], judge: Callable[..., tuple[str, str]]
) -> None:
    assert judge(case, recorded("lock"))[0] in ("passed", "not_evaluated")


def test_every_lock_fault_has_its_case() -> None:
    assert {name for name in KINDS if name.startswith("lock-")} <= set(EXPECTED)


FAULTS = list(EXPECTED)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lock_fault_turns_its_case_red(
    fault: str, make_record: Callable[..., Trace], judge: Callable[..., tuple[str, str]]
) -> None:
    case, key = EXPECTED[fault]
    assert judge(case, watched(make_record, fault)) == ("failed", key)
