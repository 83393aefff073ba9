"""Time that processes share through a file."""

import json
import time
from pathlib import Path

import pytest

from firmware_sim.clock import ClockError, SimClock


def write(path: Path, origin: int | None, speed: float = 60.0) -> Path:
    path.write_text(json.dumps({"epoch_ns": 10**18, "speed": speed, "origin_monotonic_ns": origin}))
    return path


def test_time_stands_until_somebody_starts_it(tmp_path: Path) -> None:
    file = write(tmp_path / "clock.json", None)
    clock = SimClock.from_file(file)
    assert clock.now_ns() == 10**18
    time.sleep(0.03)
    assert clock.now_ns() == 10**18
    file.write_text("{")  # half written: time goes on standing
    time.sleep(0.03)
    assert clock.now_ns() == 10**18
    write(file, time.monotonic_ns())
    time.sleep(0.03)
    assert 0 < clock.elapsed_ns() < 60 * 10**9


def test_a_process_that_comes_later_is_in_the_same_time(tmp_path: Path) -> None:
    file = write(tmp_path / "clock.json", time.monotonic_ns() - 10**9)
    first, second = SimClock.from_file(file), SimClock.from_file(file)
    assert second.now_ns() - first.now_ns() < 60 * 50_000_000
    assert first.elapsed_ns() >= 60 * 10**9
    assert first.real_s(60.0) == 1.0


@pytest.mark.parametrize("text", ["", "[]", '{"epoch_ns": 1}', '{"epoch_ns": 1, "speed": "x"}'])
def test_a_clock_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clock.json"
    file.write_text(text)
    with pytest.raises(ClockError, match=r"clock.json: .* is not .*epoch_ns.*speed.*origin_monotonic_ns"):
        SimClock.from_file(file)


def test_speed_and_absence_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ClockError, match="speed = 0"):
        SimClock.from_file(write(tmp_path / "clock.json", None, speed=0.0))
    with pytest.raises(ClockError, match="cannot be read"):
        SimClock.from_file(tmp_path / "none.json")
