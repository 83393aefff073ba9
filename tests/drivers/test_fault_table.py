"""What the drivers make of every fault of the simulator, over Modbus TCP, Modbus RTU and OPC UA.

Every cell is a device on a real socket or line that is read all the time: it is healthy, gets the fault, loses
it, and has to be healthy again. The cells of a protocol run side by side; the table in the README of `drivers` is
made of the same expectations: `python tests/drivers/test_fault_table.py` prints it.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_bench import FaultBench, Place, fault_bench

from drivers.row import Quality
from firmware_sim.fault_kinds import KINDS, OPCUA, SERIAL, TCP, FaultKind

README = Path(__file__).parents[2] / "drivers" / "README.md"
PROTOCOLS = {"tcp": TCP, "rtu": SERIAL, "opcua": OPCUA}
PERIOD_S = 0.25
WIRE_S, VALUE_S = 2.0, 0.6  # how long a fault stays
LETTERS = "0123456789abcdef"
MOST_TRIES = 3  # after the fault's end, the healthy one included
BACKOFF, PROBE, SCAN = "back-off", "probe", "scan"  # what a device is healthy again after

# quality of the points hit, the link's name for what went wrong, and after what it is healthy again
LOST = "b no_answer back-off"
SAYS = "0 - scan"  # the driver cannot know: the value is the device's own; see dsp for what finds it
NOT_EACH = "9? - scan"  # where the value leaves the profile's range
EXPECTED: dict[str, tuple[str, ...]] = {  # Modbus TCP, Modbus RTU, OPC UA; only those that the fault fits
    "silence": (LOST, LOST),
    "refuse-connections": ("b - back-off", "b - back-off"),
    "reset-connections": ("b connection_lost back-off",),
    "slow-bytes": (LOST, LOST),
    "half-frame": (LOST, LOST),
    "garbage": ("b undecodable back-off", LOST),
    "wrong-unit": (LOST, LOST),
    "wrong-transaction": (LOST,),
    "late-answer": (LOST, LOST),
    "doubled-answer": (SAYS, SAYS),
    "short-answer": ("d wrong_length probe", "bd wrong_length back-off"),
    "long-answer": ("d wrong_length probe", "bd wrong_length back-off"),
    "wrong-function": ("d wrong_function probe", "bd wrong_function back-off"),
    "exception": ("a exception_4 probe", "a exception_4 probe"),
    "busy-then-fine": ("a exception_6 probe", "a exception_6 probe"),
    "second-master": ("b - back-off",),
    "nan": ("8 - scan", "8 - scan", "8 - scan"),
    "sentinel": ("8 - scan", "8 - scan", "8 - scan"),
    "stuck": (SAYS, SAYS, SAYS),
    "spike": (NOT_EACH, NOT_EACH, NOT_EACH),
    "swapped-words": (NOT_EACH, NOT_EACH),
    "server-restart": ("b - back-off",),
    "session-drop": ("b - back-off",),
    "silent-subscription": ("0 - scan",),
    "unknown-node": ("a BadNodeIdUnknown probe",),  # a node is asked again after seconds: no matter of scans
    "bad-sensor-failure": ("8 BadSensorFailure scan",),
}


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
        if self.fault == "nan":
            return "meter"
        if self.fault == "sentinel":
            return "charger"
        return next(kind for kind in ("lock", "meter", "charger") if kind in self.kind.devices)

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
    tries_to_recover: int  # attempts after the fault's end until a healthy row, that one included
    wrong: list[str]  # good values that the device did not serve


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
    seen: dict[Cell, Seen] = {}
    async with fault_bench(places, folder, PERIOD_S) as bench:
        await asyncio.gather(*(run_lane(bench, lane, seen) for lane in lanes.values()))
    return seen


def expected(cell: Cell) -> tuple[str, str, str]:
    """Qualities, the link's name for the fault, and after what the device is healthy again."""
    fitting = [p for p, of in PROTOCOLS.items() if of in cell.kind.protocols]
    columns = EXPECTED.get(cell.fault, (SAYS,) * len(fitting))
    quality, fault, after = columns[fitting.index(cell.protocol)].split()
    return quality, fault, after


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[Cell, Seen]]:
    return {}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(cell: Cell, seen: dict[str, dict[Cell, Seen]], tmp_path_factory: pytest.TempPathFactory) -> None:
    if cell.protocol not in seen:
        seen[cell.protocol] = asyncio.run(run_all(cell.protocol, tmp_path_factory.mktemp(cell.protocol)))
    found = seen[cell.protocol][cell]
    quality, fault, after = expected(cell)
    bad = {letter for letter in found.qualities if letter not in "012"}
    assert bad <= set(quality), found
    assert bad or quality == "0" or quality.endswith("?"), found
    assert fault == "-" or found.faults[fault], found
    assert bool(found.faults["unreachable"]) == (after == BACKOFF), found
    assert found.tries_to_recover <= MOST_TRIES or (cell.protocol == "opcua" and after == PROBE), found
    assert not found.wrong, found


NAMES = {"8": "unknown", "9": "out of range", "a": "refused", "b": "no answer", "d": "nonsense"}
AFTERWARDS = {
    BACKOFF: "connects again after its back-off",
    PROBE: "asked again after its own back-off",
    SCAN: "the next scan",
}


def cell_text(cell: Cell) -> str:
    quality, fault, after = expected(cell)
    if quality == "0":
        return "good: read instead" if cell.fault == "silent-subscription" else "good: what it says"
    names = ", ".join(NAMES[letter] for letter in quality if letter in NAMES)
    maybe = "good, or " if quality.endswith("?") else ""
    return f"{maybe}{names}{'' if fault == '-' else f' (`{fault}`)'}; {AFTERWARDS[after]}"


def table() -> list[str]:
    """The table of the README."""
    lines = ["| fault | Modbus TCP | Modbus RTU | OPC UA |", "| --- | --- | --- | --- |"]
    for kind in KINDS.values():
        cells = {cell.protocol: cell_text(cell) for cell in CELLS if cell.fault == kind.name}
        lines.append(f"| `{kind.name}` | " + " | ".join(cells.get(p, "–") for p in PROTOCOLS) + " |")
    return lines


def test_the_readme_has_the_table() -> None:
    assert "\n".join(table()) in README.read_text(encoding="utf-8")


def test_every_fault_has_its_cells() -> None:
    for kind in KINDS.values():
        fitting = [p for p, of in PROTOCOLS.items() if of in kind.protocols]
        assert len(EXPECTED.get(kind.name, fitting)) == len(fitting), kind.name


def main(protocols: Sequence[str]) -> None:
    for protocol in protocols:
        with tempfile.TemporaryDirectory() as folder:
            for cell, found in asyncio.run(run_all(protocol, Path(folder))).items():
                print(cell, dict(found.qualities), dict(found.faults), found.tries_to_recover, found.wrong[:2])
    print("\n".join(table()))


if __name__ == "__main__":
    main(sys.argv[1:])
