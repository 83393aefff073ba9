"""Random faults over a running system, and nothing is lost. `make chaos SEED=… FAULTS=…` runs more of them."""

import os
from pathlib import Path

import pytest
from chaos import driver
from chaos.disk import compiler

SEED = int(os.environ.get("BOLLARD_CHAOS_SEED") or "1")
FAULTS = int(os.environ.get("BOLLARD_CHAOS_FAULTS") or "50")


@pytest.mark.mosquitto
@pytest.mark.influx
@pytest.mark.skipif(not compiler(), reason="no C compiler here: apt-get install gcc")
async def test_nothing_is_lost_and_nothing_is_doubled_whatever_breaks(tmp_path: Path) -> None:
    made = await driver.run(tmp_path, SEED, FAULTS)
    assert not made.problems, "\n".join(made.problems)
    assert sum(verdict.sealed for verdict in made.verdicts) > 20 * FAULTS
