"""Time that never steps back, and the simulator's time."""

import json
import time
from pathlib import Path

import pytest

from edge import clock
from edge.clock import SimulatedClock, WallClock


class Machine:
    """A machine whose clocks the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mono_ns, self.utc_ns = 5_000_000_000, 1_790_000_000_000_000_000
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.mono_ns)
        monkeypatch.setattr(time, "time_ns", lambda: self.utc_ns)

    def passes(self, seconds: float, step_s: float = 0.0) -> None:
        self.mono_ns += int(seconds * 1e9)
        self.utc_ns += int((seconds + step_s) * 1e9)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_an_hour_forward_is_followed_and_told(machine: Machine) -> None:
    wall = WallClock()
    machine.passes(1.0, step_s=3600.0)
    assert wall.now_ns() == machine.utc_ns
    assert wall.take_step_s() == pytest.approx(3600.0)
    assert wall.take_step_s() == 0.0


def test_an_hour_back_is_told_and_time_goes_on(machine: Machine) -> None:
    wall = WallClock()
    before_ns = wall.now_ns()
    machine.passes(1.0, step_s=-3600.0)
    assert wall.now_ns() == pytest.approx(before_ns + 1_000_000_000, abs=500_000)
    assert wall.take_step_s() == pytest.approx(-3600.0, abs=0.01)
    assert not wall.trusted()
    for _ in range(60):
        machine.passes(1.0)
        wall.now_ns()
    assert wall.take_step_s() == 0.0  # one step is one event
    machine.passes(0.0, step_s=3600.0)  # the time daemon thinks better of it
    wall.now_ns()
    assert wall.take_step_s() == 0.0


def test_a_start_goes_on_after_the_newest_row_on_disk(machine: Machine) -> None:
    wall = WallClock()
    wall.not_before(machine.utc_ns + 3600 * 10**9)
    first_ns = wall.now_ns()
    assert first_ns >= machine.utc_ns + 3600 * 10**9
    machine.passes(10.0)
    assert wall.now_ns() - first_ns == pytest.approx(10 * 10**9, rel=0.001)


def test_a_start_with_older_rows_changes_nothing(machine: Machine) -> None:
    wall = WallClock()
    machine.passes(3.0)  # kernels are loaded
    wall.not_before(machine.utc_ns - 3600 * 10**9)
    assert wall.now_ns() == machine.utc_ns
    assert wall.take_step_s() == 0.0


def test_time_that_waits_for_trust_follows_no_step_and_then_all_of_them(machine: Machine) -> None:
    wall = WallClock()
    wall.wait()
    begin_ns, offset_ns = machine.utc_ns, wall.now_ns() - wall.mono_ns()
    for step_s in (3600.0, -7200.0, 0.3):
        machine.passes(10.0, step_s)
        assert wall.now_ns() - wall.mono_ns() == offset_ns, "rows keep their distances"
    assert wall.now_ns() == begin_ns + 30 * 10**9
    wall.settle()
    assert wall.now_ns() == machine.utc_ns
    assert wall.take_step_s() == 0.0  # not a step of a clock that anybody believed
    machine.passes(10.0, -3600.0)
    assert wall.now_ns() >= machine.utc_ns + 3600 * 10**9 - 10**9  # from here on never back
    assert wall.take_step_s() == pytest.approx(-3600.0, abs=0.01)


def test_a_small_error_is_slewed(machine: Machine) -> None:
    wall = WallClock()
    machine.passes(1.0, step_s=-0.2)
    first_ns = wall.now_ns()
    for _ in range(1000):
        machine.passes(1.0)
        now_ns = wall.now_ns()
        assert now_ns - first_ns >= 0.9994e9
        first_ns = now_ns
    assert abs(now_ns - machine.utc_ns) < 1_000_000
    assert wall.take_step_s() == 0.0


def write(path: Path, origin_ns: int | None, speed: float = 60.0, **more: object) -> None:
    path.write_text(json.dumps({"epoch_ns": 10**18, "speed": speed, "origin_monotonic_ns": origin_ns} | more))


async def test_simulated_time_stands_still_until_it_has_an_origin(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write(path, None)
    simulated = SimulatedClock(path)
    assert simulated.now_ns() == 10**18 == simulated.now_ns()
    write(path, time.monotonic_ns())
    await simulated.sleep_until(10**18 + 3_000_000_000)
    assert simulated.now_ns() >= 10**18 + 3_000_000_000


def test_two_processes_share_simulated_time(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "clock.json"
    write(path, machine.mono_ns)
    first = SimulatedClock(path)
    machine.passes(2.0)
    assert first.now_ns() == SimulatedClock(path).now_ns() == 10**18 + 120 * 10**9


def test_the_simulators_clock_can_be_one_that_nobody_has_set(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "clock.json"
    write(path, machine.mono_ns, trusted=False, error_s=-3600.0, boot="b1")
    clock_ = SimulatedClock(path)
    assert not clock_.trusted() and clock_.boot_id() == "b1"
    clock_.wait()
    assert clock_.now_ns() == 10**18 - 3600 * 10**9
    write(path, machine.mono_ns, trusted=True)
    assert clock_.trusted()
    clock_.settle()
    assert clock_.now_ns() == 10**18


def test_the_simulators_clock_can_be_set_wrong_and_steps_like_a_real_one(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "clock.json"
    write(path, machine.mono_ns)
    clock_ = SimulatedClock(path)
    write(path, machine.mono_ns, step_s=3600.0)
    assert clock_.now_ns() == 10**18 + 3600 * 10**9  # forward is followed
    assert clock_.take_step_s() == pytest.approx(3600.0)
    write(path, machine.mono_ns)
    assert clock_.now_ns() == 10**18 + 3600 * 10**9  # back is not
    assert clock_.take_step_s() == pytest.approx(-3600.0) and not clock_.trusted()
    machine.passes(1.0)
    assert clock_.now_ns() == pytest.approx(10**18 + 3660 * 10**9, abs=60 * 10**9 * clock.SLEW + 1)


def test_a_file_that_is_no_clock_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="it holds epoch_ns, speed, origin_monotonic_ns"):
        SimulatedClock(path)


@pytest.mark.parametrize(("state", "trusted"), [(0, True), (5, False), (-1, False)])
def test_trust_is_read_from_the_kernel(monkeypatch: pytest.MonkeyPatch, state: int, trusted: bool) -> None:
    monkeypatch.setattr(clock, "_kernel_clock_state", lambda: state)
    assert WallClock().trusted() is trusted


def test_the_kernel_is_asked_without_changing_its_clock() -> None:
    assert 0 <= clock._kernel_clock_state() <= clock.TIME_ERROR
