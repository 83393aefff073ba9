"""Lockages from a small lock whose truth is known."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from dsp import lock_cycle
from dsp.lock_cycle import DOWN, PHASES, UP

pytestmark = pytest.mark.usefixtures("kernels")
S = 1_000_000_000
START_NS = 1_790_000_000 * S
AREA_M2 = 1735.0
LEVEL_M = {UP: 10.0, DOWN: 5.1}
NAN = float("nan")


@dataclass
class Lock:
    """Two gates, two sluices, a chamber at the level of `head`; one row a second."""

    head: int = UP
    state: Any = field(default_factory=lock_cycle.init)
    second: int = 0
    blind: range = range(0)
    unknown: frozenset[str] = frozenset()
    found: list[Any] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    gate: dict[int, int] = field(default_factory=dict)
    level_m: float = 0.0
    vessel: float = 0.0

    def __post_init__(self) -> None:
        self.gate = {self.head: 2, -self.head: 0}
        self.level_m = LEVEL_M[self.head]

    def run(self, seconds: int, sluice: int = 0) -> None:
        for _ in range(seconds):
            self.second += 1
            if sluice:
                self.level_m += (LEVEL_M[sluice] - self.level_m) * 0.02
            if self.second in self.blind:
                continue
            values = [
                self.gate[UP], self.gate[DOWN], float(sluice == UP), float(sluice == DOWN),
                LEVEL_M[UP], self.level_m, LEVEL_M[DOWN], self.vessel,
            ]  # fmt: skip
            names = ["gate", "gate", "sluice", "sluice", "level", "level", "level", "vessel"]
            values = [NAN if name in self.unknown else value for name, value in zip(names, values, strict=True)]
            out = np.zeros(1, lock_cycle.OUT)
            t_ns = START_NS + self.second * S
            if lock_cycle.step(self.state, t_ns, *map(float, values), AREA_M2, out):
                self.found.append(out[0].copy())
            phase = PHASES[int(self.state["phase"][0])]
            if not self.phases or self.phases[-1] != phase:
                self.phases.append(phase)

    def lockage(self, vessel: bool) -> None:
        target = -self.head
        self.run(60)
        if vessel:
            self.vessel = 1.0
            self.run(120)
        self.gate[self.head] = 3
        self.run(50)
        self.gate[self.head] = 0
        self.run(300, sluice=target)
        self.level_m = LEVEL_M[target]
        self.gate[target] = 1
        self.run(40)
        self.gate[target] = 2
        self.run(90)
        self.vessel = 0.0
        self.run(30)
        self.head = target


@pytest.mark.parametrize("head", [UP, DOWN])
def test_a_lockage_is_told_with_its_phases(head: int) -> None:
    lock = Lock(head)
    lock.lockage(vessel=True)
    (cycle,) = lock.found
    assert int(cycle["direction"]) == -head
    durations = [float(cycle[f"{name}_s"]) for name in ("entry", "closing", "levelling", "opening", "exit")]
    assert durations == [120, 50, 300, 40, 89]  # it was last seen 89 s after the gate stood open
    assert float(cycle["volume_m3"]) == pytest.approx(4.9 * AREA_M2, rel=0.01)
    assert float(cycle["head_m"]) == pytest.approx(4.9)
    assert (int(cycle["complete"]), int(cycle["vessel_seen"])) == (1, 1)
    idle = {UP: "idle_up", DOWN: "idle_down"}
    steps = ["entry", "closing", "levelling", "opening", "exit"]
    assert lock.phases == [idle[head], *steps, idle[-head]]


def test_an_empty_lockage_counts_as_such() -> None:
    lock = Lock()
    lock.lockage(vessel=False)
    (cycle,) = lock.found
    assert (int(cycle["vessel_seen"]), int(cycle["complete"])) == (0, 1)
    assert math.isnan(cycle["entry_s"]) and math.isnan(cycle["exit_s"])


def test_a_day_of_lockages_is_counted_exactly() -> None:
    lock = Lock()
    for k in range(24):
        lock.lockage(vessel=k % 3 != 0)
    assert [int(cycle["direction"]) for cycle in lock.found] == [DOWN, UP] * 12
    assert [int(cycle["vessel_seen"]) for cycle in lock.found] == [0, 1, 1] * 8


def test_a_gate_that_closes_and_opens_again_is_no_lockage() -> None:
    lock = Lock()
    lock.run(60)
    for code, seconds in ((3, 40), (2, 60), (3, 50), (0, 100), (1, 40), (2, 60)):
        lock.gate[UP] = code
        lock.run(seconds)
    assert lock.found == []
    lock.lockage(vessel=True)
    assert [int(cycle["complete"]) for cycle in lock.found] == [1]


def test_a_lock_closed_for_the_night_rests() -> None:
    lock = Lock()
    lock.run(60)
    for code, seconds in ((3, 50), (0, 3600)):
        lock.gate[UP] = code
        lock.run(seconds)
    assert lock.phases[-1] == "idle_up"
    for code, seconds in ((1, 40), (2, 60)):
        lock.gate[UP] = code
        lock.run(seconds)
    assert lock.found == []


def test_a_silence_over_the_whole_lockage_still_tells_that_it_was() -> None:
    lock = Lock(blind=range(100, 620))
    lock.lockage(vessel=True)
    (cycle,) = lock.found
    assert (int(cycle["direction"]), int(cycle["complete"])) == (DOWN, 0)
    assert float(cycle["volume_m3"]) == pytest.approx(4.9 * AREA_M2, rel=0.01)


def test_a_start_in_mid_lockage_is_told_as_incomplete() -> None:
    lock = Lock(blind=range(300))
    lock.lockage(vessel=True)
    lock.lockage(vessel=True)
    assert [int(cycle["complete"]) for cycle in lock.found] == [0, 1]
    assert int(lock.found[0]["direction"]) == DOWN


def test_without_levels_or_presence_a_lockage_is_told_by_its_gates() -> None:
    lock = Lock(unknown=frozenset({"level", "vessel", "sluice"}))
    lock.lockage(vessel=True)
    (cycle,) = lock.found
    assert int(cycle["direction"]) == DOWN
    assert int(cycle["vessel_seen"]) == -1
    assert math.isnan(cycle["volume_m3"]) and math.isnan(cycle["exit_s"])


def test_without_gates_the_phase_is_unknown() -> None:
    lock = Lock(unknown=frozenset({"gate"}))
    lock.lockage(vessel=True)
    assert (lock.found, lock.phases) == ([], ["unknown"])


def test_a_kill_in_mid_lockage_changes_nothing() -> None:
    whole, lock = Lock(), Lock()
    whole.lockage(vessel=True)
    run = lock.run

    def run_and_restart(seconds: int, sluice: int = 0) -> None:
        run(seconds, sluice)
        lock.state = np.frombuffer(lock.state.tobytes(), lock_cycle.STATE).copy()

    lock.run = run_and_restart  # type: ignore[method-assign]
    lock.lockage(vessel=True)
    assert [cycle.tobytes() for cycle in lock.found] == [cycle.tobytes() for cycle in whole.found]
