"""Every profile against documents, and through a real socket: the simulator serves, the driver reads it back."""

import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.codec import Decoder
from drivers.devices import Device, open_device
from drivers.plan import plan
from drivers.profile import Point, Profile, load_profile, parse_profile, shipped_profiles
from drivers.profile_doc import FILE, document
from drivers.profile_toml import as_toml
from drivers.row import Quality, Row
from drivers.sunspec import Found, make_profile
from firmware_sim.encode import FORMATS, words_of
from firmware_sim.modbus_server import ModbusServer, ModbusUnit
from firmware_sim.opcua_server import OpcUaServer

GOLDEN = Path(__file__).parent / "golden"
MODBUS = [name for name in shipped_profiles() if load_profile(name).protocol == "modbus"]
NS = 1_000_000_000
SUNSPEC = {
    f"sunspec-{number}": make_profile(
        Found(number, 40_070, length), Found(1, 40_002, 66), "Quayline M9", [1, number]
    )
    for number, length in ((103, 50), (203, 105), (213, 124), (802, 62))
}


def profile_named(name: str) -> Profile:
    return SUNSPEC.get(name) or load_profile(name)


# --- golden words ---


def goldens() -> list[Any]:
    found = []
    for file in sorted(GOLDEN.glob("*.toml")):
        for i, case in enumerate(tomllib.loads(file.read_text(encoding="utf-8"))["golden"]):
            found.append(pytest.param(file.stem, case, id=f"{file.stem}-{case['point']}-{i}"))
    return found


def test_every_modbus_profile_has_golden_words() -> None:
    assert {file.stem for file in GOLDEN.glob("*.toml")} == set(MODBUS)


@pytest.mark.parametrize(("name", "case"), goldens())
def test_golden_words(name: str, case: dict[str, Any]) -> None:
    """The words of a document at the address of a document, read by the driver and written by the simulator."""
    profile = load_profile(name)
    index = profile.index[case["point"]]
    point = profile.points[index]
    decoder = Decoder(profile, plan(profile, point.scan))
    answers = []
    for block in decoder.plan.blocks:
        image = [0] * block.count
        for i, word in enumerate(case["words"], case["address"] - block.address):
            if block.table == case.get("table", "holding") and 0 <= i < block.count:
                image[i] = word
        answers.append(np.array(image, ">u2").tobytes())
    row = decoder.decode(answers, 0)
    if "unknown" in case:
        assert np.isnan(row.values[index]) and row.quality[index] == Quality.UNKNOWN
        assert words_of(point, None) == case["words"]
    elif isinstance(case["value"], str):
        assert row.text[index] == case["value"]
        assert words_of(point, case["value"]) == case["words"]
    else:
        assert row.values[index] == pytest.approx(case["value"], rel=1e-7)
        if point.bit is None:  # a register of bits holds the others, too
            assert words_of(point, case["value"]) == case["words"]


# --- through a socket ---


def own_value(index: int, point: Point) -> float | int | str:
    """A value that no other point of the profile has, exact in the point's encoding and within its range."""
    if point.type == "string":
        return f"TEXT {index}"[: 2 * point.length]
    if point.type == "bool":
        return index % 2
    if point.type.startswith("float"):
        low, high = point.range or (0.0, 1e6)
        share = (index + 1) / 256  # few binary digits, so that any float holds it
        value = (
            low + share * (high - low) if high - low <= 4 else min(high, max(low, 1000.0 * point.scale * share))
        )
        return float(np.float32(value / point.scale)) * point.scale if point.type == "float32" else value
    if point.codes:
        return int(sorted(point.codes, key=int)[index % len(point.codes)])
    step = abs(point.scale)
    low, high = point.range or (0.0, 60_000 * step)
    steps = 3 * index + 2
    while point.scale_from is None and steps * step > high and steps > 1:
        steps //= 2
    return max(low, steps * step) * (1 if high > 0 else -1)


def expected_raw(point: Point, value: float, power: int) -> float:
    """What is left of a value once the device has put it into its register."""
    if point.type.startswith("float"):
        return value
    scale = point.scale * 10.0**power
    return round((value - point.offset) / scale) * scale + point.offset


async def read_all(device: Device) -> Row:
    """All scan classes, put together into one row."""
    async with device.open() as link:
        rows = [await link.scan(scan, lambda: NS) for scan in device.profile.scans]
    whole = rows[0]
    for row in rows[1:]:
        scanned = row.quality != Quality.NOT_SCANNED
        whole.values[scanned], whole.quality[scanned] = row.values[scanned], row.quality[scanned]
        whole.text |= row.text
    return whole


def compare(profile: Profile, values: dict[str, Any], row: Row, powers: dict[str, int]) -> None:
    for i, point in enumerate(profile.points):
        assert row.quality[i] == Quality.GOOD, point.name
        if point.type == "string":
            assert row.text[i] == values[point.name]
        else:
            power = powers.get(point.scale_from or "", 0)
            assert row.values[i] == pytest.approx(expected_raw(point, values[point.name], power)), point.name


@pytest.mark.parametrize("name", [*MODBUS, *SUNSPEC])
async def test_the_driver_reads_back_every_point_that_the_simulator_serves(name: str) -> None:
    profile = profile_named(name)
    values = {point.name: own_value(i, point) for i, point in enumerate(profile.points)}
    factors = sorted({point.scale_from for point in profile.points if point.scale_from})
    powers = {factor: -(i % 3) for i, factor in enumerate(factors)}
    for i, point in enumerate(profile.points):
        if point.scale_from:  # few enough digits for 16 bits, whatever the power
            values[point.name] = (3 * i + 2) * point.scale * 10.0 ** powers[point.scale_from]
    values |= powers
    server = ModbusServer({7: ModbusUnit(profile, lambda: values)})
    try:
        port = await server.start("127.0.0.1", 0)
        device = open_device(profile, host="127.0.0.1", port=port, unit_id=7, timeout_s=10.0)
        compare(profile, values, await read_all(device), powers)
    finally:
        await server.stop()


async def test_the_driver_reads_back_every_node_that_the_simulator_serves() -> None:
    profile = load_profile("generic-bms")
    values = {point.name: own_value(i, point) for i, point in enumerate(profile.points)}
    server = OpcUaServer("bms", profile, lambda: values)
    url = await server.start("127.0.0.1", 0, NS)
    try:
        compare(profile, values, await read_all(open_device(profile, url=url, timeout_s=10.0)), {})
    finally:
        await server.stop()


def test_a_swapped_pair_would_show() -> None:
    """Points of one encoding have words of their own; a share of 0..1, a bit or a state code has too few."""
    for name in (*MODBUS, *SUNSPEC):
        profile = profile_named(name)
        seen: dict[tuple[str, float, tuple[int, ...]], str] = {}
        for i, point in enumerate(profile.points):
            if point.type in FORMATS and not point.codes and not point.name.endswith("_sf"):
                words = tuple(words_of(point, own_value(i, point)))
                other = seen.setdefault((point.type, point.scale, words), point.name)
                assert other == point.name, f"{name}: {other} and {point.name} are both {words}"


# --- what holds for all of them ---


def test_a_name_has_one_type_and_one_unit_in_all_profiles_of_a_kind() -> None:
    """The stores hold a field's type for ever, also between gateways."""
    types: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in (*shipped_profiles(), *SUNSPEC):
        profile = profile_named(name)
        for point in profile.points:
            types[profile.kind, point.name][point.wire_type].append(name)
    assert {key: dict(seen) for key, seen in types.items() if len(seen) > 1} == {}


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_profile_names_its_source_its_caveats_and_every_point_in_both_languages(name: str) -> None:
    profile = load_profile(name)
    assert len(profile.source) > 20 and profile.caveats
    assert all(point.fr and point.en for point in profile.points)


def test_meters_have_what_the_computations_ask_for() -> None:
    for name in shipped_profiles():
        profile = load_profile(name)
        if profile.kind == "meter":
            assert {"power_w", "energy_import_total_wh", "frequency_hz", "voltage_l1_v"} <= profile.index.keys()


@pytest.mark.parametrize("name", [*shipped_profiles(), *SUNSPEC])
def test_a_profile_can_be_written_as_a_file(name: str) -> None:
    profile = profile_named(name)
    again = parse_profile(as_toml(profile), "again.toml")
    assert again == profile and again.hash == profile.hash


def test_the_reference_of_all_profiles_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == document(), "run python -m drivers.profile_doc"
