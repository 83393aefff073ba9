"""Faults of what a point serves, as registers on the wire; golden words, not our own encoder."""

import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from drivers.profile import Profile
from firmware_sim.faults import FaultBoard
from firmware_sim.modbus_server import ModbusServer
from firmware_sim.modbus_unit import ModbusUnit
from firmware_sim.value_faults import ValueFaults, traits_of

Connect = Callable[[int], Awaitable[Any]]
PROFILE = Profile.model_validate(
    {
        "schema": 1, "kind": "meter", "model": "m", "source": "s",
        "point": [
            {"name": "power_w", "type": "float32", "address": 0},
            {"name": "voltage_v", "type": "float64", "address": 2, "order": "cdab"},
            {"name": "energy_total_wh", "type": "int64", "address": 6, "invalid": 0x8000_0000_0000_0000},
            {"name": "count", "type": "uint16", "address": 10, "invalid": 0xFFFF},
            {"name": "vessel", "type": "string", "address": 11, "length": 2},
        ],
    }
)  # fmt: skip


class Meter:
    def __init__(self) -> None:
        self.board = FaultBoard({"meter": traits_of(PROFILE, "modbus-tcp")})
        self.values: dict[str, Any] = {
            "power_w": 1.5, "voltage_v": -2.0, "energy_total_wh": 0x0102_0304_0506_0708, "count": 300,
            "vessel": "ABCD",
        }  # fmt: skip
        faults = ValueFaults(self.board, "meter", PROFILE, lambda: 0, seed=3)
        self.server = ModbusServer({1: ModbusUnit(PROFILE, lambda: dict(self.values), faults)})
        self.client: Any = None

    def on(self, name: str, **options: float | str) -> None:
        self.board.on(name, "meter", **options)

    async def seen(self) -> dict[str, str]:
        """Registers by point, as hex digits."""
        data = (await self.client.registers(0, 13)).hex()
        return {p.name: data[4 * p.address : 4 * (p.address + p.words)] for p in PROFILE.points}


RIGHT = {
    "power_w": "3fc00000",
    "voltage_v": "000000000000c000",  # -2.0 is c000…; the words of cdab come last first
    "energy_total_wh": "0102030405060708",
    "count": "012c",
    "vessel": "41424344",
}


@pytest.fixture
async def meter(raw: Connect) -> AsyncIterator[Meter]:
    meter = Meter()
    meter.client = await raw(await meter.server.start("127.0.0.1", 0))
    yield meter
    await meter.server.stop()


async def test_without_a_fault_all_is_right(meter: Meter) -> None:
    assert await meter.seen() == RIGHT


async def test_nan_in_every_float_or_in_one(meter: Meter) -> None:
    meter.on("nan")
    seen = await meter.seen()
    power = struct.unpack(">f", bytes.fromhex(seen["power_w"]))[0]
    assert power != power
    assert seen["voltage_v"] == "0000000000007ff8"
    assert {k: seen[k] for k in ("energy_total_wh", "count", "vessel")} == {
        k: RIGHT[k] for k in ("energy_total_wh", "count", "vessel")
    }
    meter.on("nan", point="voltage_v")
    assert (await meter.seen())["power_w"] == RIGHT["power_w"]


async def test_the_makers_value_for_unknown(meter: Meter) -> None:
    meter.on("sentinel")
    assert await meter.seen() == {**RIGHT, "energy_total_wh": "8000000000000000", "count": "ffff"}
    meter.on("sentinel", point="count")
    assert await meter.seen() == {**RIGHT, "count": "ffff"}


async def test_a_value_that_is_stuck_and_then_not(meter: Meter) -> None:
    meter.on("stuck", point="count")
    await meter.seen()
    meter.values.update(count=301, power_w=-1.5)
    assert await meter.seen() == {**RIGHT, "power_w": "bfc00000"}
    meter.on("stuck")
    await meter.seen()
    meter.values.update(count=302, power_w=9.0, vessel="WXYZ")
    assert await meter.seen() == {**RIGHT, "power_w": "bfc00000", "count": "012d"}
    meter.board.off("stuck")
    assert (await meter.seen())["count"] == "012e"


async def test_spikes_in_some_readings(meter: Meter) -> None:
    meter.on("spike", point="count", factor=10, rate=0.2)
    seen = [(await meter.seen())["count"] for _ in range(100)]
    assert set(seen) == {"012c", "0bb8"}
    assert 8 <= seen.count("0bb8") <= 35
    meter.on("spike", point="count", factor=1000, rate=1)
    assert (await meter.seen())["count"] == "ffff", "saturated, as in a PLC"


async def test_swapped_words(meter: Meter) -> None:
    meter.on("swapped-words")
    assert await meter.seen() == {
        **RIGHT,
        "power_w": "00003fc0",
        "voltage_v": "c000000000000000",
        "energy_total_wh": "0708050603040102",
    }
    meter.on("swapped-words", point="power_w")
    assert await meter.seen() == {**RIGHT, "power_w": "00003fc0"}
