"""Faults of counters, heartbeats and locks, in the registers that a client reads."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from firmware_sim.bench import Bench
from firmware_sim.faults import FaultBoard, FaultError
from firmware_sim.scenario import Loaded, load_scenario
from firmware_sim.scenario_tables import FaultTable
from firmware_sim.serve import Ports, serving

Connect = Callable[[int], Awaitable[Any]]
NS = 10**9
START = 1000  # simulated second at which a fault begins


class Wire:
    """A device of the demo port: the clock is set, then its registers are read."""

    def __init__(self, client: Any, clock: Any) -> None:
        self._client, self._clock = client, clock

    async def number(self, second: float, address: int, registers: int) -> int:
        self._clock.t_ns = round(second * NS)
        return int.from_bytes(await self._client.registers(address, registers), "big")

    async def bytes(self, second: float, address: int, registers: int) -> bytes:
        self._clock.t_ns = round(second * NS)
        data: bytes = await self._client.registers(address, registers)
        return data


@pytest.fixture
async def wire(raw: Connect, served: dict[str, Any], clock: Any) -> Callable[[str], Awaitable[Wire]]:
    async def wire(device: str) -> Wire:
        return Wire(await raw(served["devices"][device]["port"]), clock)

    return wire


def plan(served: dict[str, Any], name: str, device: str, for_s: int | None = None, **options: float | str) -> None:
    until_ns = None if for_s is None else (START + for_s) * NS
    served["bench"].board.plan(name, device, START * NS, until_ns, options)


IMPORT = (40, 4)  # int64 of the generic meter
FIRST_WH = 1_843_275_410


async def test_a_register_that_rolls_over(wire: Any, served: dict[str, Any]) -> None:
    plan(served, "counter-rollover", "meter-1", after_wh=5000)
    meter = await wire("meter-1")
    seen = [await meter.number(second, *IMPORT) for second in range(START - 50, START + 1600, 10)]
    falls = [(a, b) for a, b in pairwise(seen) if b < a]
    assert len(falls) == 1, "nothing jumps when the fault begins"
    before, after = falls[0]
    assert before > FIRST_WH
    assert after < 25_000, "from zero on: 10 s of 7.5 MW are 21 kWh"


@pytest.mark.parametrize(
    ("fault", "options", "least", "most"),
    [
        ("counter-reset", {"to_wh": 0}, 0, 30_000),
        ("counter-replacement", {"to_wh": 17}, 17, 30_000),
        ("counter-backwards", {"by_wh": 100_000}, FIRST_WH - 100_000, None),
    ],
)
async def test_a_register_that_falls_once_and_stays_there_when_the_fault_ends(
    wire: Any, served: dict[str, Any], fault: str, options: dict[str, float], least: int, most: int | None
) -> None:
    plan(served, fault, "meter-1", for_s=20, **options)
    meter = await wire("meter-1")
    seconds = range(START - 100, START + 400, 5)
    seen = [await meter.number(second, *IMPORT) for second in seconds]
    falls = [second for second, a, b in zip(seconds[1:], seen, seen[1:], strict=False) if b < a]
    assert falls == [START]
    assert least <= seen[seconds.index(START)] <= (most if most is not None else FIRST_WH + 500_000)


async def test_a_heartbeat_that_stands_and_one_that_jumps(wire: Any, served: dict[str, Any]) -> None:
    plan(served, "frozen-heartbeat", "charger-1", for_s=100)
    plan(served, "clock-jump", "lock-1", for_s=100, by_s=-600)
    charger, lock = await wire("charger-1"), await wire("lock-1")
    seconds = (START - 1, START + 1, START + 60, START + 99, START + 101)
    assert [await charger.number(s, 1, 1) for s in seconds] == [999, 1000, 1000, 1000, 1101]
    assert [await lock.number(s, 0, 1) for s in seconds] == [999, 401, 460, 499, 1101]


ESTOP, CC, WELDED, PRESSED = 98, 7, 16, 1  # states; bits of the alarm word


async def tower(raw: Connect, clock: Any, bench: Bench, *seconds: int) -> list[tuple[int, int, int]]:
    """State, alarm word and power in tens of watts, as registers 0 to 5 of the generic charger hold them."""
    seen = []
    async with serving(bench, clock, Ports(), asyncio.Event()) as ready:
        client = await raw(ready["devices"]["charger-1"]["port"])
        for second in seconds:
            clock.t_ns = second * NS
            state, _, _, alarm, power = struct.unpack(">HHHHi", await client.registers(0, 6))
            seen.append((state, alarm, power))
    return seen


async def test_a_welded_breaker_lets_power_flow_in_an_emergency_stop(raw: Connect, clock: Any) -> None:
    loaded = load_scenario("channel-berth")
    devices = tuple(d for d in loaded.scenario.device if d.name == "charger-1")
    script = (FaultTable(name="breaker-welded", device="charger-1", at_s=3000, for_s=60, options={}),)
    bench = Bench(
        replace(loaded, scenario=loaded.scenario.model_copy(update={"device": devices, "fault": script}))
    )
    before, *during, after = await tower(raw, clock, bench, 2990, 3002, 3059, 3063)
    assert (before[0], before[1]) == (CC, 0)
    for state, alarm, power in during:
        assert (state, alarm & WELDED, alarm & PRESSED) == (ESTOP, WELDED, PRESSED)
        assert power > 2_900_000, "29 MW in an emergency stop"
    assert after == (ESTOP, 0, 0), "it opens at last, and the reset takes its time"


def test_a_tower_that_replays_a_recording_has_no_breaker_to_weld(demo_port: Loaded) -> None:
    board = FaultBoard(Bench(demo_port).traits())
    with pytest.raises(FaultError, match="does not fit charger-1: its berth replays a recording"):
        board.on("breaker-welded", "charger-1")


@dataclass(frozen=True)
class Row:
    """What the lock shows at an instant, decoded here by hand from its register map. Levels in mm."""

    mode: int
    reach: dict[str, int]
    chamber: int
    gate: dict[str, int]
    sluice: dict[str, int]
    green: dict[str, bool]

    @classmethod
    def of(cls, data: bytes) -> "Row":
        mode, up, down, chamber, *rest = struct.unpack(">HiiiHHHHHHHHHHHH", data)
        gate_up, _, sluice_up, _, gate_down, _, sluice_down, _, *lights = rest
        return cls(
            mode,
            {"up": up, "down": down},
            chamber,
            {"up": gate_up, "down": gate_down},
            {"up": sluice_up, "down": sluice_down},
            {"up": 2 in lights[:2], "down": 2 in lights[2:]},
        )

    @property
    def all_closed(self) -> bool:
        return not any((*self.gate.values(), *self.sluice.values()))


OTHER = {"up": "down", "down": "up"}
CLOSED, OPENING, CLOSING = 0, 1, 3


def opposite_sluice(rows: list[Row]) -> bool:
    return any(r.sluice[h] and r.gate[OTHER[h]] for r in rows for h in OTHER)


def sluice_at_closing_gate(rows: list[Row]) -> bool:
    return any(r.gate[h] == CLOSING and r.sluice[h] for r in rows for h in OTHER)


def both_gates(rows: list[Row]) -> bool:
    return any(r.gate["up"] and r.gate["down"] for r in rows)


def both_sluices(rows: list[Row]) -> bool:
    return any(r.gate["up"] == r.gate["down"] == CLOSED and r.sluice["up"] and r.sluice["down"] for r in rows)


def opens_under_head(rows: list[Row]) -> bool:
    return any(r.gate[h] == OPENING and abs(r.chamber - r.reach[h]) > 100 for r in rows for h in OTHER)


def green_at_closed_gate(rows: list[Row]) -> bool:
    return any(r.green[h] and r.gate[h] == CLOSED for r in rows for h in OTHER)


def moves_all_closed(rows: list[Row]) -> bool:
    stretch: list[Row] = []
    for row in rows:
        stretch = [*stretch, row] if row.all_closed else []
        if stretch and abs(row.chamber - stretch[0].chamber) > 30:
            return True
    return False


def still_with_open_sluice(rows: list[Row]) -> bool:
    """Half a minute with an open sluice, more than half a metre of head, and no movement."""
    for first, last in zip(rows, rows[15:], strict=False):
        for head in OTHER:
            apart = abs(first.chamber - first.reach[head]) > 500
            if first.sluice[head] == last.sluice[head] == 2 and apart and abs(first.chamber - last.chamber) < 20:
                return True
    return False


def mode_changes(rows: list[Row]) -> bool:
    return len({row.mode for row in rows}) > 1


LOCK_FAULTS: dict[str, Callable[[list[Row]], bool]] = {
    "lock-opposite-sluice-open": opposite_sluice,
    "lock-sluice-open-while-gate-closes": sluice_at_closing_gate,
    "lock-opposite-gates-open": both_gates,
    "lock-opposite-sluices-open": both_sluices,
    "lock-gate-opens-under-head": opens_under_head,
    "lock-green-light-gate-closed": green_at_closed_gate,
    "lock-level-moves-all-closed": moves_all_closed,
    "lock-level-still-sluice-open": still_with_open_sluice,
    "lock-mode-change-in-cycle": mode_changes,
}


async def an_hour(lock: Wire) -> list[Row]:
    """The lock's first twenty registers, every other second, from a minute before the fault on."""
    return [Row.of(await lock.bytes(second, 1, 19)) for second in range(START - 60, START + 3540, 2)]


async def test_a_lock_without_faults_shows_none_of_them(wire: Any) -> None:
    rows = await an_hour(await wire("lock-1"))
    assert {name for name, seen in LOCK_FAULTS.items() if seen(rows)} == set()
    assert len({row.chamber // 1000 for row in rows}) > 3, "boats went through meanwhile"


@pytest.mark.parametrize(
    "fault",
    LOCK_FAULTS,
)
async def test_each_incoherence_of_a_lock_is_in_its_registers(
    wire: Any, served: dict[str, Any], fault: str
) -> None:
    plan(served, fault, "lock-1")
    assert LOCK_FAULTS[fault](await an_hour(await wire("lock-1")))
