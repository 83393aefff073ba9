"""Which tests `pytest -n` gives to one worker, and which start first.

Tests of a module stay together, so that a server that they share is started once; the benches of the fault table
are one unit each. What is long starts first, or it would run on alone when everything else is done. Left to itself
xdist deals out single tests in the order of their files, and its marker `xdist_group` goes unseen with pytest 9.2.
"""

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling

FAULT_TABLE = "tests/drivers/test_fault_table.py"
WITH_INFLUX = (  # one server for all of them
    "tests/gateway/test_demo_shore.py", "tests/gateway/test_store.py", "tests/gateway/test_influx_setup.py",
    "tests/gateway/test_pattern.py", "tests/gateway/report/test_render.py",
)  # fmt: skip
FIRST = (  # how they start, the longest first
    "tests/drivers/test_fault_soak.py", *WITH_INFLUX, "tests/gateway/test_demo_edge.py", FAULT_TABLE,
    "tests/drivers/test_bus.py", "tests/firmware_sim/hil/test_run.py", "tests/firmware_sim/test_peers.py",
    "tests/gateway/test_demo", "tests/test_read_only", "tests/drivers/", "tests/edge/", "tests/firmware_sim/",
    "tests/dsp/test_lock_rules.py", "tests/test_wheel.py", "tests/gateway/test_battery.py",
)  # fmt: skip


def unit(nodeid: str) -> str:
    """The name of what goes to one worker together."""
    module = nodeid.partition("::")[0]
    if module in WITH_INFLUX:
        return "influx"
    protocol = re.search(r"-(\w+)\]$", nodeid) if module == FAULT_TABLE else None
    return f"{module}-{protocol[1]}" if protocol else module


def rank(nodeid: str) -> int:
    """Lower starts earlier."""
    return next((i for i, start in enumerate(FIRST) if nodeid.startswith(start)), len(FIRST))


class Scheduler(LoadScopeScheduling):
    """xdist's own, with our units."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def scheduler(config: Any, log: Any) -> Scheduler:
    config.option.loadscopereorder = False  # it would start with the module of the most tests
    return Scheduler(config, log)
