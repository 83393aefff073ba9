"""An edge agent that is killed twice in the middle of a call, and the shore side with its SQLite store between."""

from pathlib import Path

import pytest
from demo_run import LATE_KWH, demo, finish, kill

SLOWER = 120  # an agent starts again: 15 simulated minutes of silence would end the call


def test_a_killed_edge_loses_its_scans_and_nothing_else(tmp_path: Path) -> None:
    with demo(tmp_path, speed=SLOWER) as process:
        kill(process, tmp_path, [("edge", 22.0), ("shore", 30.0), ("edge", 38.0)], SLOWER)
        figures = finish(process, tmp_path)
    assert figures.lost_and_doubled == (0, 0)
    assert figures.minutes_kwh == pytest.approx(figures.plant_kwh, abs=LATE_KWH)  # the register counted on
    assert figures.plant_kwh > 3000
    covered_s = figures.number(r"covered ([\d,.]+) s of")
    assert covered_s < figures.number(r"covered [\d,.]+ s of ([\d,.]+) s") - 120  # the holes stay holes
    assert figures.number(r"held the truth on ([\d.]+) %") > 80
    # The hole is as long as this machine takes to start an agent, 120 times: that much of the call nobody saw.
    assert figures.number(r"RMSE ([\d.]+) %") < 5
