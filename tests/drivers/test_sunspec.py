"""A SunSpec device tells what it is; what it tells becomes a profile whose every point can be read."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from drivers.address import ModbusAddress
from drivers.devices import open_device
from drivers.errors import DeviceRefused, ReadingRejected
from drivers.profile import Profile, Table, parse_profile
from drivers.row import Quality
from drivers.sunspec import BASES, discover, discover_at, main
from drivers.sunspec_models import MODELS

LENGTHS = {1: 66, 103: 50, 201: 105, 202: 105, 203: 105, 204: 105, 213: 124, 802: 62}  # as the standard has them
Registers = dict[int, int]


def words(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data))


def common(maker: str, model: str) -> list[int]:
    """Model 1: its texts, padded with NUL."""
    texts = ((maker, 32), (model, 32), ("", 16), ("1.2", 16), ("SN-42", 32))
    return [*words(b"".join(text.encode().ljust(size, b"\0") for text, size in texts)), 1, 0]


def device(models: list[tuple[int, list[int]]], base: int = 40_000) -> Registers:
    """Registers of a device with these models, behind the mark and before the end."""
    row = words(b"SunS")
    for number, body in models:
        row += [number, len(body), *body]
    return {base + i: word for i, word in enumerate([*row, 0xFFFF, 0])}


def asks(registers: Registers) -> Callable[[Table, int, int], Awaitable[bytes]]:
    async def ask(table: Table, address: int, count: int) -> bytes:
        assert table == "holding"
        if not all(a in registers for a in range(address, address + count)):
            raise DeviceRefused("exception 2")
        return struct.pack(f">{count}H", *(registers[a] for a in range(address, address + count)))

    return ask


METER = device([(1, common("Quayline", "M9")), (203, [0] * 105)])


@pytest.mark.parametrize("number", LENGTHS)
def test_no_point_lies_outside_its_model(number: int) -> None:
    fields = MODELS[number]
    assert max(f.offset + f.words for f in fields) <= LENGTHS[number] + 2
    assert all(f.factor in {g.name for g in fields} for f in fields if f.factor)


@pytest.mark.parametrize("base", BASES)
async def test_the_mark_is_looked_for_at_three_addresses(base: int) -> None:
    profile = await discover(asks(device([(1, common("Quayline", "M9")), (203, [0] * 105)], base)))
    assert profile.kind == "meter" and profile.model == "Quayline M9, SunSpec model 203"
    power = profile.points[profile.index["power_w"]]
    assert power.address == base + 2 + 68 + 18 and power.scale_from == "w_sf"  # behind the mark and model 1
    assert profile.points[profile.index["serial"]].length == 16


async def test_a_device_that_answers_zeros_where_the_mark_may_be_is_asked_on() -> None:
    profile = await discover(asks(dict.fromkeys(range(40_000, 40_300), 0) | device([(213, [0] * 124)], 50_000)))
    assert profile.points[profile.index["frequency_hz"]].type == "float32"


async def test_a_float_meter_needs_no_factors() -> None:
    profile = await discover(asks(device([(213, [0] * 124)])))
    assert not any(p.scale_from or p.name.endswith("_sf") for p in profile.points)
    assert profile.points[profile.index["energy_import_total_wh"]].wire_type == "int"


async def test_a_battery_gives_fractions_and_state_codes() -> None:
    profile = await discover(asks(device([(802, [0] * 62)])))
    soc = profile.points[profile.index["soc_bms"]]
    assert profile.kind == "battery" and soc.scale == 0.01 and soc.scale_from == "soc_sf"
    assert profile.points[profile.index["bank_state"]].codes["3"] == "CONNECTED"


async def test_an_inverter_exports() -> None:
    profile = await discover(asks(device([(103, [0] * 50)])))
    assert profile.kind == "meter" and profile.points[profile.index["power_w"]].scale == -1.0
    assert "energy_import_total_wh" not in profile.index


async def test_the_kind_chooses_among_several_models() -> None:
    several = asks(device([(1, common("a", "b")), (103, [0] * 50), (802, [0] * 62), (203, [0] * 105)]))
    assert (await discover(several)).model.endswith("203")
    assert (await discover(several, "battery")).model.endswith("802")
    with pytest.raises(DeviceRefused, match=r"models \[1, 103, 802, 203\] at 40000; none of"):
        await discover(asks(device([(1, common("a", "b")), (103, [0] * 50), (802, [0] * 62), (203, [])])), "lock")


async def test_an_older_and_shorter_model_lacks_its_last_points() -> None:
    shorter = await discover(asks(device([(203, [0] * 60)])))
    assert "energy_import_total_wh" in shorter.index and "event_word" not in shorter.index


async def test_the_profile_and_its_hash_are_the_same_every_time() -> None:
    first, second = [await discover(asks(METER)) for _ in range(2)]
    assert first.hash == second.hash and isinstance(first, Profile)


async def test_a_device_is_discovered_over_a_socket(plc: Any) -> None:
    plc.registers |= METER
    profile = await discover_at(ModbusAddress("127.0.0.1", plc.port, 7), timeout_s=10.0)
    assert profile == await discover(asks(METER))
    assert {request[7] for request in plc.received} == {3} and {request[6] for request in plc.received} == {7}


async def test_golden_words_of_a_meter(plc: Any) -> None:
    """Words by hand, at the offsets that SunSpec's model 203 prints."""
    body = [0x8000] * 105  # int16 and scale factors: not implemented
    for offset, word in {
        3: 0x04D2, 6: 0xFFFE,  # AphA 1234, A_SF -2
        16: 0x1389, 17: 0xFFFE,  # Hz 5001, Hz_SF -2
        18: 0xFA24, 22: 0x0001,  # W -1500 (1500 = 0x05DC), W_SF 1
        28: 0x0064,  # VAR 100, but VAR_SF is not implemented
        33: 0xFC4A, 37: 0xFFFF,  # PF -950 per mille of 100: -95.0 %, PF_SF -1
        46: 0x075B, 47: 0xCD15, 54: 0x0001,  # TotWhImp 123 456 789, TotWh_SF 1
    }.items():  # fmt: skip
        body[offset - 2] = word
    plc.registers |= device([(1, common("Quayline", "M9")), (203, body)])
    address = ModbusAddress("127.0.0.1", plc.port)
    profile = await discover_at(address, timeout_s=10.0)
    async with open_device(profile, address, timeout_s=10.0).open() as link:
        row = await link.scan("live", lambda: 0)
    expected = {
        "current_l1_a": 12.34, "frequency_hz": 50.01, "power_w": -15_000.0, "power_factor": -0.95,
        "energy_import_total_wh": 1_234_567_890.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert row.values[profile.index[name]] == pytest.approx(value), name
        assert row.quality[profile.index[name]] == Quality.GOOD, name
    for name in ("reactive_power_var", "current_l2_a", "apparent_power_va"):
        assert np.isnan(row.values[profile.index[name]]) and row.quality[profile.index[name]] == Quality.UNKNOWN


async def test_a_discovered_device_is_printed_as_a_profile_file(
    plc: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plc.registers |= METER
    assert await asyncio.to_thread(main, ["127.0.0.1", str(plc.port), "7"]) == 0
    assert parse_profile(capsys.readouterr().out, "meter.toml") == await discover(asks(METER))


@pytest.mark.parametrize("arguments", [[], ["host", "port"], ["127.0.0.1", "1"]])
def test_what_cannot_be_asked_is_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) != 0
    said = capsys.readouterr()
    assert not said.out and said.err


@pytest.mark.parametrize(
    ("registers", "error", "message"),
    [
        ({}, DeviceRefused, "no 'SunS' at 40000, 50000, 0"),
        (device([(1, common("a", "b")), (64_001, [0] * 4)]), DeviceRefused, r"models \[1, 64001\] at 40000"),
        (device([(203, [])] * 70), ReadingRejected, "more than 64 SunSpec models"),
        (
            {50_000: 0x5375, 50_001: 0x6E53, 50_002: 203, 50_003: 20_000},
            ReadingRejected,
            "model 203 at 50002 says it has 20000 registers",
        ),
    ],
)
async def test_what_is_no_sunspec_device_is_named(
    registers: Registers, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await discover(asks(registers))
