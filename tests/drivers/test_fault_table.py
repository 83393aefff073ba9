"""What the drivers make of every fault of the simulator, over Modbus TCP, Modbus RTU and OPC UA.

Every cell is a device on a real socket or line that is read all the time: it is healthy, gets the fault, loses
it, and has to be healthy again. The cells of a protocol run side by side; the table in the README of `drivers` is
made of the same expectations: `python tests/drivers/test_fault_table.py` prints it.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fault_bench import FaultBench, Place, Watched, fault_bench

from drivers.row import Quality
from firmware_sim.fault_kinds import KINDS, OPCUA, SERIAL, TCP, FaultKind

README = Path(__file__).parents[2] / "drivers" / "README.md"
PROTOCOLS = {"tcp": TCP, "rtu": SERIAL, "opcua": OPCUA}
PERIOD_S = 0.2
WIRE_S, VALUE_S = 2.0, 0.6  # how long a fault stays
LETTERS = "0123456789abcdef"


@dataclass(frozen=True)
class Cell:
    """One fault over one protocol."""

    fault: str
    protocol: str

    @property
    def kind(self) -> FaultKind:
        return KINDS[self.fault]

    @property
    def device_kind(self) -> str:
        """The kind of device that shows it."""
        if self.fault == "nan" or self.fault.startswith("counter-"):
            return "meter"
        return "charger" if self.fault in ("clock-jump", "frozen-heartbeat", "sentinel") else "lock"

    @property
    def is_of_values(self) -> bool:
        return self.kind.scope in ("value", "plant") or self.fault in ("unknown-node", "bad-sensor-failure")

    @property
    def place(self) -> Place:
        """Faults of the wire have a device each; those of values share one, one after the other."""
        lane = f"{self.device_kind}-{self.kind.scope}" if self.is_of_values else self.fault
        if self.protocol == "opcua" and not self.is_of_values:
            lane = "session"
        name = f"{self.protocol}-{lane}"
        return Place(name, self.device_kind, self.protocol, name if self.protocol == "rtu" else "")

    def __str__(self) -> str:
        return f"{self.fault}-{self.protocol}"


CELLS = [Cell(kind.name, p) for kind in KINDS.values() for p, of in PROTOCOLS.items() if of in kind.protocols]


@dataclass
class Seen:
    """What came of a cell."""

    qualities: Counter[str]  # of scanned points while the fault was on, as hex digits
    faults: Counter[str]  # the link's, by name
    scans_to_recover: int  # scans and connections after the fault's end until a healthy row, that one included
    wrong: list[str]  # good values that the device did not serve
    neighbour_missed: int = 0  # bad rows of the other unit on the line


async def run_lane(bench: FaultBench, cells: list[Cell], seen: dict[Cell, Seen]) -> None:
    for cell in cells:
        seen[cell] = await run_cell(bench, cell)


async def run_cell(bench: FaultBench, cell: Cell) -> Seen:
    watched = bench.watched[cell.place.name]
    first = len(watched.rows)
    await bench.until(lambda: watched.is_healthy(first, 2), f"{cell}: healthy before")
    watched.wrong.clear()
    watched.take_faults()
    first = len(watched.rows)
    await bench.switch(cell.fault, watched.place.name, True)
    await asyncio.sleep(VALUE_S if cell.is_of_values else WIRE_S)
    last = len(watched.rows)
    await bench.switch(cell.fault, watched.place.name, False)
    faults = watched.take_faults()
    before = watched.counted()
    await bench.until(lambda: watched.is_healthy(last, 1), f"{cell}: healthy again")
    recovered = watched.tries_since(before)
    await bench.until(lambda: watched.is_healthy(last, 2), f"{cell}: healthy for good")
    qualities = Counter(
        LETTERS[int(q)]
        for _, row in watched.rows[first : last + 1]
        for q in row.quality
        if q != Quality.NOT_SCANNED
    )
    wrong = [] if cell.kind.scope == "value" else list(watched.wrong)
    return Seen(qualities, faults + watched.take_faults(), recovered, wrong)


async def run_all(protocol: str, folder: Path) -> dict[Cell, Seen]:
    cells = [cell for cell in CELLS if cell.protocol == protocol]
    lanes: dict[str, list[Cell]] = {}
    for cell in cells:
        lanes.setdefault(cell.place.name, []).append(cell)
    places = [lane[0].place for lane in lanes.values()]
    if protocol == "rtu":
        places += [Place(f"{place.name}-2", place.kind, "rtu", place.bus, 2) for place in places]
    seen: dict[Cell, Seen] = {}
    async with fault_bench(places, folder, PERIOD_S) as bench:
        await asyncio.gather(*(run_lane(bench, lane, seen) for lane in lanes.values()))
    return seen


if __name__ == "__main__":
    import sys

    for protocol in sys.argv[1:] or PROTOCOLS:
        with tempfile.TemporaryDirectory() as folder:
            for cell, found in asyncio.run(run_all(protocol, Path(folder))).items():
                print(cell, dict(found.qualities), dict(found.faults), found.scans_to_recover, found.wrong[:2])
