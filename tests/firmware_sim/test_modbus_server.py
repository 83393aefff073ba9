"""What an independent client sees on the wire, byte by byte."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.profile import Point, Profile, load_profile, shipped_profiles
from firmware_sim.modbus_server import ModbusServer, ModbusUnit

Connect = Callable[[int], Awaitable[Any]]


def bits(table: str, first: int, pattern: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    points = [
        {"name": f"{table}{first + i}", "type": "bool", "address": first + i, "table": table}
        for i in range(len(pattern))
    ]
    return points, {p["name"]: int(bit) for p, bit in zip(points, pattern, strict=True)}


# The examples of MODBUS Application Protocol 1.1b3, sections 6.1-6.4, on one device.
COILS, COIL_VALUES = bits("coil", 19, "1011001111010110101")
DISCRETES, DISCRETE_VALUES = bits("discrete", 196, "0011010111011011101011")
SPEC_POINTS = [
    *COILS,
    *DISCRETES,
    {"name": "r108", "type": "uint16", "address": 107},
    {"name": "r109", "type": "uint16", "address": 108},
    {"name": "r110", "type": "uint16", "address": 109},
    {"name": "i9", "type": "uint16", "address": 8, "table": "input"},
]
SPEC_VALUES = {**COIL_VALUES, **DISCRETE_VALUES, "r108": 555, "r109": 0, "r110": 100, "i9": 10}


@pytest.fixture
async def unit() -> ModbusUnit:
    head = {"schema": 1, "kind": "lock", "model": "m", "source": "s"}
    return ModbusUnit(Profile.model_validate({**head, "point": SPEC_POINTS}), lambda: SPEC_VALUES)


@pytest.fixture
async def port(unit: ModbusUnit) -> AsyncIterator[int]:
    server = ModbusServer({1: unit})
    yield await server.start("127.0.0.1", 0)
    await server.stop()


@pytest.mark.parametrize(
    ("request_pdu", "response_pdu"),
    [
        ("01 00 13 00 13", "01 03 CD 6B 05"),
        ("02 00 C4 00 16", "02 03 AC DB 35"),
        ("03 00 6B 00 03", "03 06 02 2B 00 00 00 64"),
        ("04 00 08 00 01", "04 02 00 0A"),
    ],
)
async def test_the_examples_of_the_specification(
    raw: Connect, port: int, request_pdu: str, response_pdu: str
) -> None:
    assert await (await raw(port)).pdu(bytes.fromhex(request_pdu)) == bytes.fromhex(response_pdu)


@pytest.mark.parametrize(
    ("request_pdu", "response_pdu", "why"),
    [
        ("03 00 6B 00 04", "83 02", "one register beyond the last"),
        ("03 00 6B 00 00", "83 03", "no register"),
        ("03 00 6B 00 7E", "83 03", "126 registers"),
        ("03 00 6B 00", "83 03", "a request cut short"),
        ("06 00 6B 00 01", "86 01", "a write"),
        ("10 00 6B 00 01 02 00 01", "90 01", "a write of many"),
        ("11", "91 01", "a function that it has not"),
    ],
)
async def test_what_it_has_not_is_refused_with_the_right_exception(
    raw: Connect, port: int, request_pdu: str, response_pdu: str, why: str
) -> None:
    assert await (await raw(port)).pdu(bytes.fromhex(request_pdu)) == bytes.fromhex(response_pdu), why


async def test_another_unit_is_refused_as_by_a_gateway(raw: Connect, port: int) -> None:
    assert await (await raw(port)).pdu(bytes.fromhex("03 00 6B 00 01"), unit=2) == b"\x83\x0b"


async def test_requests_in_one_segment_are_all_answered_in_order(raw: Connect, port: int) -> None:
    client = await raw(port)
    ask = bytes.fromhex("0000 0006 01 03 006B 0003")
    client.writer.write(b"\x00\x01" + ask + b"\x00\x02" + ask + b"\x00\x03" + ask)
    assert [(await client.frame())[:2] for _ in range(3)] == [b"\x00\x01", b"\x00\x02", b"\x00\x03"]


async def test_a_request_may_come_byte_by_byte(raw: Connect, port: int) -> None:
    client = await raw(port)
    for byte in bytes.fromhex("0007 0000 0006 01 03 006B 0003"):
        client.writer.write(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert await client.frame() == bytes.fromhex("0007 0000 0009 01 03 06 022B 0000 0064")


@pytest.mark.parametrize("header", ["0001 0001 0006 01", "0001 0000 0001 01", "0001 0000 0200 01"])
async def test_a_header_that_is_not_modbus_ends_the_connection(raw: Connect, port: int, header: str) -> None:
    client = await raw(port)
    client.writer.write(bytes.fromhex(header) + b"\x03\x00\x6b\x00\x01")
    async with asyncio.timeout(30.0):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.reader.readexactly(1)


async def test_requests_are_counted_by_function(raw: Connect, port: int, unit: ModbusUnit) -> None:
    client = await raw(port)
    for pdu in ("03 00 6B 00 01", "03 00 6B 00 01", "06 00 6B 00 01"):
        await client.pdu(bytes.fromhex(pdu))
    assert unit.requests == {3: 2, 6: 1}


def own_value(index: int, point: Point) -> Any:
    """A value of its own for each point, so that a swapped pair shows."""
    number = 3 * index + 1
    return {"bool": index % 2, "string": f"TEXT{index}"}.get(point.type, number * point.scale + point.offset)


def raw_number(point: Point, data: bytes) -> float:
    """The number in an answer's bytes, before scale and offset."""
    words = struct.unpack(f">{len(data) // 2}H", data)
    if point.order == "cdab":
        data = struct.pack(f">{len(words)}H", *reversed(words))
    if point.type.startswith("float"):
        return float(struct.unpack({2: ">e", 4: ">f", 8: ">d"}[len(data)], data)[0])
    return int.from_bytes(data, "big", signed=point.type.startswith("int"))


@pytest.mark.parametrize("name", [n for n in shipped_profiles() if load_profile(n).protocol == "modbus"])
async def test_every_point_of_every_profile_is_where_the_profile_says(raw: Connect, name: str) -> None:
    profile = load_profile(name)
    values = {p.name: own_value(i, p) for i, p in enumerate(profile.points)}
    server = ModbusServer({9: ModbusUnit(profile, lambda: values)})
    try:
        client = await raw(await server.start("127.0.0.1", 0))
        for point in profile.points:
            assert point.address is not None
            function = {"holding": 3, "input": 4}[profile.table_of(point)]
            data = (await client.pdu(struct.pack(">BHH", function, point.address, point.words), unit=9))[2:]
            if point.type == "string":
                seen: Any = data.rstrip(b"\0").decode()
            elif point.type == "bool":
                seen = int.from_bytes(data, "big") >> (point.bit or 0) & 1
            else:
                seen = raw_number(point, data) * point.scale + point.offset
            off = point.scale / 2 if isinstance(seen, float) else 0
            assert seen == (pytest.approx(values[point.name], abs=off) if off else values[point.name]), point.name
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("request_pdu", "response_pdu"),
    [
        ("2B 0E 01 01", "2B 0E 01 81 00 00 02 01 01 6D 02 10 {revision}"),  # from the product on
        ("2B 0E 04 01", "2B 0E 04 81 00 00 01 01 01 6D"),  # one object
        ("2B 0E 04 03", "AB 02"),  # one that is not there
        ("2B 0E 05 00", "AB 03"),  # no such way to ask
        ("2B 0D 01 00", "AB 01"),  # CANopen
    ],
)
async def test_a_name_plate_byte_by_byte(
    raw: Connect, port: int, unit: ModbusUnit, request_pdu: str, response_pdu: str
) -> None:
    client = await raw(port)
    revision = unit.profile.hash.encode().hex(" ")
    wanted = bytes.fromhex(response_pdu.format(revision=revision))
    assert await client.pdu(bytes.fromhex(request_pdu)) == wanted


async def test_pymodbus_reads_the_name_plate(port: int, unit: ModbusUnit) -> None:
    async with AsyncModbusTcpClient("127.0.0.1", port=port) as client:
        answer = await client.read_device_information(read_code=1, object_id=0)
    assert answer.information == {0: b"bollard simulator", 1: b"m", 2: unit.profile.hash.encode()}
